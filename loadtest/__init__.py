"""Load on a hub, measured from outside: it talks to services through the proto alone."""
