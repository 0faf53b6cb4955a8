"""The HTTP port of a hub: `port` serves what `app` routes."""
