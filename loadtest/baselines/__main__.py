"""`python -m loadtest.baselines serial | gather`: a design that the hub replaces, with its four engine processes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from arbhub.service import ServiceError, run_until_signal
from arbhub.settings.load import SettingsError, load
from arbhub.telemetry import configure_logs

Listen = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to serve.")]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="The hub's configuration; none: the defaults.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Over the file.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _group() -> None:
    """The designs that the hub replaces, over the same engines: FOR COMPARISON ONLY, never to trade with.

    Each serves the hub's stream with its engine processes, until SIGTERM or Ctrl-C ends them all. Measure one with
    python -m loadtest run --target HOST:PORT.
    """


@app.command()
def serial(listen: Listen = "127.0.0.1:7401", config: Config = None, assignments: Assignments = None) -> None:
    """For comparison only: one unary call an engine for each tick, one after another."""
    _serve("serial", listen, config, assignments)


@app.command()
def gather(listen: Listen = "127.0.0.1:7401", config: Config = None, assignments: Assignments = None) -> None:
    """For comparison only: one unary call an engine for each tick, all at once."""
    _serve("gather", listen, config, assignments)


def _serve(design: str, listen: str, config: Path | None, assignments: list[str] | None) -> None:
    from loadtest.baselines.server import run

    settings = load(config, assignments or ())
    configure_logs()
    run_until_signal(lambda shutdown: run(design, listen, settings, shutdown))


@app.command(hidden=True)
def engine(name: str, listen: Listen) -> None:
    """One engine's process, which the others start."""
    from loadtest.baselines.engine import run

    configure_logs(level="warning")
    run_until_signal(lambda shutdown: run(name, listen, shutdown))


def main() -> None:
    """Run the command; what the user can mend is a line each."""
    try:
        app()
    except (ServiceError, SettingsError) as error:
        print(f"baselines: {error}", file=sys.stderr)  # noqa: T201  # the answer to a command
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
