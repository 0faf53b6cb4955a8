"""The command line: one file a command, `main` the entry. This package is the composition root, the only place that
knows every service; it puts them together and hands engines to a hub that runs them in its own process."""

import os

# gRPC's own log lines would stand between a person and the one sentence that says what is wrong. It reads this when
# it is first imported, so it has to be said before anything else here is.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
