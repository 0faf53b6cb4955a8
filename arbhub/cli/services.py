"""`arbhub hub | engine NAME... | feed | executor | sandbox`: one service each, until SIGTERM or Ctrl-C.

All of them but the sandbox serve in turn with others where --turn names a file. What takes time at a start and needs
no turn, imports above all, is done before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from arbhub.cli.app import ConfigOption, SetOption, app, settings_of, startable
from arbhub.engine import Engine
from arbhub.security.certificates import credentials_of
from arbhub.service import run_until_signal
from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from arbhub.settings.source import Source
from arbhub.telemetry import configure_logs
from arbhub.turn import Turn, in_turn

TurnOption = Annotated[
    Path | None,
    typer.Option(
        "--turn",
        metavar="FILE",
        help="Serve only while holding this file's lock: where another process holds it, stand ready until that ends.",
    ),
]


def in_process_engines(settings: Settings) -> dict[str, Engine]:
    """The engines that the settings place in the hub's process, made."""
    from engines.table import ENGINES

    places = {name: section.place for name, section in settings.engines.table().items()}
    return {name: ENGINES[name]() for name, place in places.items() if place == IN_PROCESS}


def _serve(
    run: Callable[[asyncio.Event], Awaitable[object]], settings: Settings, service: str, listen: str, turn: Path | None
) -> None:
    if turn is None:
        run_until_signal(run)
        return
    ours = Turn(turn, listen, credentials_of(settings.tls, service))
    run_until_signal(lambda shutdown: in_turn(ours, shutdown, run))


@app.command()
def hub(config: ConfigOption, assignments: SetOption = None, turn: TurnOption = None) -> None:
    """Run the hub: ticks in, one decision for each out, approved ones to the executor."""
    from executor.history import History
    from hub.http.app import Backing
    from hub.server import run

    settings = startable(config, assignments)
    configure_logs()
    source, backing = Source(config, tuple(assignments or ())), Backing(History(settings.executor.ledger_url.reveal()))
    engines = in_process_engines(settings)
    serve = partial(run, settings, engines, source=source, backing=backing)
    _serve(serve, settings, "hub", settings.hub.listen, turn)


@app.command()
def engine(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="spread, fee, liquidity, risk: all that share a place.")
    ],
    config: ConfigOption,
    assignments: SetOption = None,
    turn: TurnOption = None,
) -> None:
    """Run one engine, or several that share a place, in a process of their own, at engines.NAME.place."""
    from engines.hosting import hosted_by
    from engines.server import run

    settings = startable(config, assignments)
    configure_logs()
    place, _ = hosted_by(settings, names)
    _serve(partial(run, settings, names), settings, "engine", place, turn)


@app.command()
def feed(config: ConfigOption, assignments: SetOption = None, turn: TurnOption = None) -> None:
    """Run the feed: live venues through ccxt, or captures played back, to the hub."""
    from feeds.server import run

    settings = startable(config, assignments)
    configure_logs()
    if turn is not None and settings.feed.source == "ccxt":
        import feeds.live  # noqa: F401  # half a second that the source would take in its turn
    _serve(partial(run, settings), settings, "feed", settings.feed.listen, turn)


@app.command()
def executor(config: ConfigOption, assignments: SetOption = None, turn: TurnOption = None) -> None:
    """Run the executor: the last gate, paper trading and the ledger."""
    from executor.server import run

    settings = startable(config, assignments)
    configure_logs()
    _serve(partial(run, settings), settings, "executor", settings.executor.listen, turn)


@app.command()
def sandbox(config: ConfigOption, assignments: SetOption = None) -> None:
    """Run the sandbox: a local exchange that speaks Binance's market-data API for several venues."""
    from sandbox.server import run

    settings = settings_of(config, assignments)
    configure_logs()
    run_until_signal(lambda shutdown: run(settings.sandbox, shutdown))
