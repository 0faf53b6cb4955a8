"""`arbhub top`: a hub on a terminal, live."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from arbhub.cli.app import app, settings_of
from arbhub.cli.top_rates import Rates, between
from arbhub.cli.top_view import lost, screen
from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.service import ServiceError, run_until_signal, until
from arbhub.settings.schema import Settings
from arbhub.v1 import hub_pb2
from arbhub.watching import Gone, watched

DAY_S = 86_400
OFF_TERMINAL = 100  # columns: nobody's window is there to fit


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to show: a state with what it came to in a second, or why there is none."""

    shown: RenderableType
    rates: Rates
    gone: str = ""


@app.command()
def top(
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Where the hub takes ticks (hub.listen). Default: --config's, or 127.0.0.1:7401.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="The hub's configuration: its hub.listen and [tls] are used."),
    ] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds from one screen to the next.")] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print one screen, of one interval, and end; exit 1 if there is no hub.")
    ] = False,
) -> None:
    """Show a running hub, live: is it trading, is it fast, is anything failing, what has it earned.

    Where the hub is gone it says so, and goes on by itself when the hub is back. Ctrl-C ends it. Into a pipe or a
    file it prints a screen an interval, one below the other, as 'top -b' does; with --once the first alone. It only
    watches: a hub without mutual TLS asks for no token here.
    """
    settings = settings_of(config, None) if config else Settings()
    place = address or settings.hub.listen
    console = Console()
    if not console.is_terminal:
        console = Console(width=OFF_TERMINAL)
    watching = Watching(place, interval, watched(place, interval, credentials_of(settings.tls, CLIENT)))
    show = _once if once else _live if console.is_terminal else _plain
    run_until_signal(lambda shutdown: until(shutdown, show(watching, console)))


class Watching:
    """One hub's states as screens, whatever they are shown on."""

    def __init__(self, address: str, interval_s: float, states: AsyncIterator[hub_pb2.Status | Gone]) -> None:
        self.address, self._interval_s, self._states = address, interval_s, states
        self._last: tuple[float, hub_pb2.Status] | None = None
        self._shown: RenderableType | None = None

    async def screens(self) -> AsyncIterator[Seen]:
        """A screen a state, and one each time that there is none."""
        async for seen in self._states:
            now = datetime.now(UTC)
            headline = f"arbhub {self.address}   {now:%H:%M:%S} UTC"
            if isinstance(seen, Gone):
                self._last = None  # what came meanwhile is no rate
                yield Seen(lost(headline, seen.why, self._shown), {}, seen.why)
            else:
                rates = self._rates(seen)
                self._shown = screen(seen, rates, headline, int(now.timestamp()) // DAY_S)
                yield Seen(self._shown, rates)

    def _rates(self, status: hub_pb2.Status) -> Rates:
        now_s, last = time.monotonic(), self._last
        self._last = now_s, status
        return between(last[1], status, now_s - last[0]) if last else {}


async def _live(watching: Watching, console: Console) -> None:
    """Over the whole terminal; what was shown last stays behind."""
    last: RenderableType = ""
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            async for seen in watching.screens():
                last = seen.shown
                live.update(last, refresh=True)
    finally:
        console.print(last)


async def _plain(watching: Watching, console: Console) -> None:
    gone = False
    async for seen in watching.screens():
        if seen.rates:
            console.print(seen.shown, "")
        elif seen.gone and not gone:
            console.print(f"no hub at {watching.address}: {seen.gone}", markup=False, highlight=False, soft_wrap=True)
        gone = bool(seen.gone)


async def _once(watching: Watching, console: Console) -> None:
    async for seen in watching.screens():
        if seen.gone:
            raise ServiceError(f"no answer from a hub at {watching.address}: {seen.gone}")
        if seen.rates:
            console.print(seen.shown)
            return
