"""The entry point: every command registered, and how what goes wrong is said.

Exit codes: 0 done, 1 a service could not run, 2 the configuration or the input cannot be used, 130 interrupted.
Errors that are the user's to mend are a line each, without a traceback; whatever else is raised is a bug and has one.
"""

import sys

from arbhub.cli import admin, backup, certs, config, demo, ledger, notify, replay, services, top, up
from arbhub.cli.app import app
from arbhub.service import ServiceError
from arbhub.settings.load import SettingsError
from arbhub.settings.secret import masked
from feeds.capture import CaptureError

# Importing them registers them.
COMMANDS = (admin, backup, certs, config, demo, ledger, notify, replay, services, top, up)


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except (SettingsError, CaptureError) as error:
        _fail(str(error), 2)
    except (ServiceError, OSError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(text: str, code: int) -> None:
    for line in text.splitlines():
        print(f"arbhub: {masked(line)}", file=sys.stderr)  # noqa: T201  # the answer to a command
    raise SystemExit(code)
