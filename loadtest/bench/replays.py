"""Cases of replay: a dense generated capture, decided as fast as one core can.

The capture is the driver's market, recorded at RATE: hundreds of ticks in each 50 ms that an order takes on paper, so
that with approvals the reports of fills cut batches all the time. The speed is of deciding; reading the capture, which
takes several times as long, is apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from arbhub.service import ServiceError
from loadtest.bench.case import Case
from loadtest.bench.driving import reported
from loadtest.bench.results import Figure, Row
from loadtest.bench.site import Site
from loadtest.schedule import Arrivals, Market, Schedule, schedule

RATE = 16_000.0  # ticks a second of recorded time: 800 in 50 ms
BEGIN_NS = 1_700_000_000_000_000_000
CHUNK = 10_000
A_TICK_S = 15e-6  # to write a line and to read it again


@dataclass(frozen=True, kw_only=True)
class ReplayCase(Case):
    """`taker_bps` decides whether any edge is left after fees; `approved` is the least share that must be."""

    ticks: int
    taker_bps: float
    approved: float
    decide_s: float
    """About how long deciding takes."""
    at_least: float | None = None
    runs: int = 3

    @property
    def planned_s(self) -> float:
        """Writing, reading and deciding."""
        return self.ticks * A_TICK_S + self.runs * (self.ticks * A_TICK_S + self.decide_s + 2)

    def tiny(self) -> "ReplayCase":
        """A fifth of a second of recorded time."""
        return replace(self, ticks=3000, runs=1, decide_s=0.0)

    async def measure(self, site: Site) -> Row:
        """Write the capture, replay it several times, and check that it is the case it is meant to be."""
        site.tell(f"writing a capture of {self.ticks:,} ticks")
        capture = site.folder / "dense.jsonl"
        count = write(capture, self.ticks)
        fees = {f"EX{number + 1}": self.taker_bps for number in range(Market().venues)}
        config = site.write("replay.toml", {"engines": {"fee": {"taker_bps": fees}}})
        reports = []
        for number in range(1, self.runs + 1):
            site.tell(f"replay {number} of {self.runs}")
            reports.append(await reported(site, "arbhub", ["replay", str(capture), "--config", str(config)]))
        capture.unlink()
        share = reports[0]["approved"] / count
        if share < self.approved or (share > 0) > (self.approved > 0):
            raise ServiceError(f"the capture is not what it was meant to be: {share:.1%} of its ticks were approved")
        speeds: list[float | None] = [report["ticks"] / report["decide_s"] for report in reports]
        note = f"{count:,} ticks, {share:.0%} approved" if share else f"{count:,} ticks"
        return self.row(
            figures=[Figure("decided", "ticks/s", speeds, at_least=self.at_least)], notes=[note], reports=reports
        )


def write(capture: Path, ticks: int) -> int:
    """Write a capture of about so many ticks, top of book; gives how many."""
    plan = schedule(Arrivals.POISSON, RATE, ticks / RATE, Market(), seed=1)
    with capture.open("wb") as file:
        for start in range(0, len(plan.at_ns), CHUNK):
            file.writelines(lines(plan, start, start + CHUNK))
    return len(plan.at_ns)


def lines(plan: Schedule, start: int, end: int) -> Iterator[bytes]:
    """Ticks of the schedule as a capture's lines."""
    t, market = plan.ticks.slice(start, end), Market().reference()
    columns = (t.instrument, t.venue, t.bids.price, t.bids.size, t.asks.price, t.asks.size)
    rows = zip(plan.at_ns[start:end].tolist(), *(column.tolist() for column in columns), strict=True)
    for at_ns, instrument, venue, bid, bid_size, ask, ask_size in rows:
        update = {
            "ts_ns": BEGIN_NS + at_ns,
            "venue": market.venues[venue],
            "symbol": market.symbols[instrument],
            "bids": list(zip(bid, bid_size, strict=True)),
            "asks": list(zip(ask, ask_size, strict=True)),
        }
        yield orjson.dumps(update, option=orjson.OPT_APPEND_NEWLINE)
