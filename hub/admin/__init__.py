"""Changing a hub while it runs, and looking at it: acts, the port they are asked over, and what is remembered."""
