"""Telling people what happens to a hub: a client of the hub like any other, in a process of its own."""
