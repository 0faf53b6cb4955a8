"""An independent, slow and plain model of what arbhub decides, and streams to try both on."""
