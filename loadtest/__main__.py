"""`python -m loadtest`: load on a hub, measured from outside. A file a command; here they get their names."""

import sys

import typer

from arbhub.service import ServiceError
from arbhub.settings.load import SettingsError
from loadtest.bench.command import bench
from loadtest.run import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
app.command()(run)
app.command()(bench)


@app.callback()
def _group() -> None:
    """Load on a hub, measured from outside."""


def main() -> None:
    """Run the command; what the user can mend is one line."""
    try:
        app()
    except (ServiceError, SettingsError, OSError) as error:
        print(f"loadtest: {error}", file=sys.stderr)  # noqa: T201  # the answer to a command
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
