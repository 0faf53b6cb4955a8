"""`arbhub hub | engine NAME... | feed | executor | sandbox`: one service each, until SIGTERM or Ctrl-C."""

from typing import Annotated

import typer

from arbhub.cli.app import ConfigOption, SetOption, app, settings_of, startable
from arbhub.engine import Engine
from arbhub.service import run_until_signal
from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from arbhub.settings.source import Source
from arbhub.telemetry import configure_logs


def in_process_engines(settings: Settings) -> dict[str, Engine]:
    """The engines that the settings place in the hub's process, made."""
    from engines.table import ENGINES

    places = {name: section.place for name, section in settings.engines.table().items()}
    return {name: ENGINES[name]() for name, place in places.items() if place == IN_PROCESS}


@app.command()
def hub(config: ConfigOption, assignments: SetOption = None) -> None:
    """Run the hub: ticks in, one decision for each out, approved ones to the executor."""
    from executor.history import History
    from hub.http.app import Backing
    from hub.server import run

    settings = startable(config, assignments)
    configure_logs()
    source, backing = Source(config, tuple(assignments or ())), Backing(History(settings.executor.ledger_url.reveal()))
    engines = in_process_engines(settings)
    run_until_signal(lambda shutdown: run(settings, engines, shutdown, source=source, backing=backing))


@app.command()
def engine(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="spread, fee, liquidity, risk: all that share a place.")
    ],
    config: ConfigOption,
    assignments: SetOption = None,
) -> None:
    """Run one engine, or several that share a place, in a process of their own, at engines.NAME.place."""
    from engines.server import run

    settings = startable(config, assignments)
    configure_logs()
    run_until_signal(lambda shutdown: run(settings, names, shutdown))


@app.command()
def feed(config: ConfigOption, assignments: SetOption = None) -> None:
    """Run the feed: live venues through ccxt, or captures played back, to the hub."""
    from feeds.server import run

    settings = startable(config, assignments)
    configure_logs()
    run_until_signal(lambda shutdown: run(settings, shutdown))


@app.command()
def executor(config: ConfigOption, assignments: SetOption = None) -> None:
    """Run the executor: the last gate, paper trading and the ledger."""
    from executor.server import run

    settings = startable(config, assignments)
    configure_logs()
    run_until_signal(lambda shutdown: run(settings, shutdown))


@app.command()
def sandbox(config: ConfigOption, assignments: SetOption = None) -> None:
    """Run the sandbox: a local exchange that speaks Binance's market-data API for several venues."""
    from sandbox.server import run

    settings = settings_of(config, assignments)
    configure_logs()
    run_until_signal(lambda shutdown: run(settings.sandbox, shutdown))
