"""`python -m loadtest.bench`: the same as `python -m loadtest bench`."""

import sys

import typer

from arbhub.service import ServiceError
from loadtest.bench.command import bench


def main() -> None:
    """Run the command; what the user can mend is one line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(bench)
    try:
        app()
    except (ServiceError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)  # noqa: T201  # the answer to a command
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
