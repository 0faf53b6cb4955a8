"""The command line: one file a command, `main` the entry. This package is the composition root, the only place that
knows every service; it puts them together and hands engines to a hub that runs them in its own process."""
