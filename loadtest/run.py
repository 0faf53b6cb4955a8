"""`python -m loadtest run`: load on a running hub, and what its answers took."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import uvloop
from rich.console import Console

from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.security.credentials import Credentials
from arbhub.service import settle_memory
from arbhub.settings.load import load
from arbhub.telemetry import configure_logs
from loadtest.driver import Way, drive
from loadtest.outcome import Outcome
from loadtest.processes import Usage
from loadtest.report import Setup, complaints, report
from loadtest.schedule import Arrivals, Market, Schedule, footprint_bytes, schedule
from loadtest.stalls import Found, Stalls
from loadtest.stream import StreamWay
from loadtest.unary import UnaryWay

MAX_BYTES = 3e9  # the machine that this is for has 5.3 GB, and the services need theirs


class Mode(StrEnum):
    """How ticks get to the hub."""

    STREAM = "stream"
    UNARY = "unary"


@dataclass(slots=True)
class Surroundings:
    """What else is watched during the measured part: the processes' use, and the machine's stalls if wanted."""

    usage: Usage
    stalls: Stalls | None
    found: Found | None = None

    def begin(self) -> None:
        """From here on."""
        self.usage.begin()
        if self.stalls:
            self.stalls.begin()

    def end(self) -> None:
        """Until here."""
        self.usage.end()
        if self.stalls:
            self.found = self.stalls.end()


def run(
    rate: Annotated[float, typer.Option(metavar="TICKS_PER_S", min=0.1, help="Ticks to send a second, on average.")],
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, max=3600, help="How long the measured part is.")],
    target: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The hub on this machine: HOST:PORT, or unix:/PATH.")
    ] = "127.0.0.1:7401",
    report_to: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.json", help="Write the report here too.")
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="stream: over one stream, as feeds do. unary: one Hub.Evaluate call a tick.")
    ] = Mode.STREAM,
    arrivals: Annotated[
        Arrivals, typer.Option(help="bursty: ten times the rate between bursts, for 100 ms of each second.")
    ] = Arrivals.POISSON,
    warm_up: Annotated[
        float, typer.Option(metavar="S", min=0, max=600, help="Send as long before, and leave it out of all figures.")
    ] = 1.0,
    instruments: Annotated[int, typer.Option(min=1, max=100_000)] = 200,
    venues: Annotated[int, typer.Option(min=1, max=64)] = 4,
    depth: Annotated[int, typer.Option(min=1, max=100, help="Levels a side.")] = 1,
    window: Annotated[
        int, typer.Option(min=1, max=64, help="Batches that may be unanswered: more of them for the highest rates.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed sends the same.")] = 1,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where [tls] says with which certificates to call the hub.")
    ] = None,
    stalls: Annotated[
        bool, typer.Option(help="Have a small process beside the run show the machine's own stalls.")
    ] = True,
) -> None:
    """Send ticks to a hub at a set rate, whatever it answers, and report what became of them.

    The loop is open: a tick's latency runs from when it was meant to be sent (latency_ms), so a hub that stalls cannot
    hide it, and the wait for the driver's window is in it. hub_latency_ms is the part between the hub's
    receipt and its answer.

    Sheds and timeouts are failures (failed is their share), never fast answers. How late the driver itself was, the
    wait for its window apart, is in driver_error_us (the median, beside the 99th percentile and the worst); kept_rate
    says whether it kept the rate. machine_stalls_ms is how long processes here had to wait for a core meanwhile.
    """
    setup = Setup(rate, seconds, warm_up, mode.value, arrivals.value, instruments, venues, depth, seed, window)
    market = Market(instruments, venues, depth)
    _affordable(setup, market)
    configure_logs(level="warning")
    credentials = credentials_of(load(config).tls, CLIENT)
    plan = schedule(arrivals, rate, seconds, market, seed, warm_up)
    with Console(stderr=True).status(f"{rate:g} ticks/s for {warm_up:g} + {seconds:g} s", refresh_per_second=1):
        result = _measured(setup, target, credentials, market, plan, stalls)
    if report_to:
        report_to.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    Console().print_json(orjson.dumps(result).decode())
    for problem in complaints(result):
        print(f"loadtest: {problem}", file=sys.stderr)  # noqa: T201  # the answer to a command


def _affordable(setup: Setup, market: Market) -> None:
    needed = footprint_bytes(setup.rate, setup.seconds + setup.warm_up, market)
    if needed > MAX_BYTES:
        raise typer.BadParameter(
            f"the ticks are made beforehand, and would take {needed / 1e9:.1f} GB, more than {MAX_BYTES / 1e9:g}: "
            "ask for a lower rate, less time, fewer instruments or a smaller depth"
        )


def _measured(
    setup: Setup, target: str, credentials: Credentials, market: Market, plan: Schedule, watch_stalls: bool
) -> dict[str, Any]:
    outcome = Outcome(plan)
    with contextlib.ExitStack() as stack:
        stalls = stack.enter_context(Stalls()) if watch_stalls else None
        around = Surroundings(Usage({"stalls": stalls.pid} if stalls else {}), stalls)
        way: Callable[[], Way] = partial(UnaryWay, target, market, plan, outcome, credentials)
        if setup.mode == Mode.STREAM:
            way = partial(StreamWay, target, market, plan, outcome, setup.window, credentials)
        uvloop.run(_driven(way, plan, outcome, around))
        return report(setup, outcome, around.usage, around.found)


async def _driven(way: Callable[[], Way], plan: Schedule, outcome: Outcome, around: Surroundings) -> None:
    made = way()
    settle_memory()
    await drive(made, plan, outcome, around)
