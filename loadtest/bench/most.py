"""The most ticks a second with a bounded tail: short probes find a rate, full runs confirm it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from arbhub.service import ServiceError
from loadtest.bench.case import START_S, Case
from loadtest.bench.driving import Load, drive
from loadtest.bench.latency import measured
from loadtest.bench.results import Figure, Row, latency, quantile, remarks
from loadtest.bench.search import highest
from loadtest.bench.site import Place, Running, Site, services

TAIL, TAIL_MS = "p99_99", 60.0
GRID = tuple(float(rate) for rate in range(100_000, 1_500_001, 25_000))
PROBES, CONFIRMATIONS = 7, 4
WINDOW = 3  # batches under way: hub, engines and driver work at the same time then
PROBE_WARM_UP_S = 1.0  # its services have seen the rates before


def in_time(report: dict[str, Any]) -> bool:
    """Whether the run kept the tail below the bound with next to no failures."""
    tail = quantile(report, TAIL)
    return tail is not None and tail < TAIL_MS


@dataclass(frozen=True, slots=True)
class Probe:
    """Asks whether services keep a rate: one short run, and another where that fails, as the machine may stall."""

    site: Site
    running: Running
    load: Load

    async def kept(self, rate: float) -> bool:
        """Whether one of two runs did."""
        for again in ("", ", again"):
            self.site.tell(f"trying {rate:,.0f} ticks/s{again}")
            if in_time(await drive(self.site, self.running, replace(self.load, rate=rate))):
                return True
        return False


@dataclass(frozen=True, kw_only=True)
class MostCase(Case):
    """Four engine processes, depth 1. `at_least` is what is asked, in ticks/s; the search begins at rates[first]."""

    at_least: float
    rates: tuple[float, ...] = GRID
    first: int = 8
    stride: int = 4
    probe_s: float = 4.0
    run_s: float = 10.0
    runs: int = 5

    @property
    def planned_s(self) -> float:
        """For a hub that reaches what is asked, and is confirmed at the first try."""
        probe = Load(self.at_least, self.probe_s, warm_up_s=PROBE_WARM_UP_S).takes_s
        run = Load(self.at_least, self.run_s).takes_s
        return START_S + min(PROBES, len(self.rates)) * probe + self.runs * run

    def tiny(self) -> "MostCase":
        """One rate."""
        return replace(self, rates=(200.0,), first=0, probe_s=0.3, run_s=0.3, runs=1, at_least=200.0)

    async def measure(self, site: Site) -> Row:
        """Search, then confirm; a rate that full runs do not confirm is followed by lower ones."""
        async with services(site, Place.PROCESSES) as running:
            probe = Probe(
                site, running, Load(self.rates[self.first], self.probe_s, window=WINDOW, warm_up_s=PROBE_WARM_UP_S)
            )
            found = await highest(self.rates, probe.kept, self.first, self.stride)
            if found is None:
                return self.row(figures=[self._figure(0.0)], notes=[f"not even {self.rates[0]:,.0f} ticks/s"])
            for rate in lower(self.rates, found, self.at_least):
                reports = await measured(site, running, Load(rate, self.run_s, window=WINDOW), self.runs)
                tail = latency(reports, TAIL, TAIL_MS)
                if tail.met:
                    return self.row(figures=[self._figure(rate), tail], notes=remarks(reports), reports=reports)
        raise ServiceError(f"probes kept {found:,.0f} ticks/s, but full runs confirmed no rate near it")

    def _figure(self, rate: float) -> Figure:
        return Figure("most", "ticks/s", [rate], at_least=self.at_least)


def lower(rates: Sequence[float], found: float, asked: float) -> list[float]:
    """The rates to confirm in turn: what was found, ones further and further below, and the one asked for at last."""
    at, step = list(rates).index(found), 1
    chosen: list[float] = []
    while at >= 0 and len(chosen) < CONFIRMATIONS:
        chosen.append(rates[at])
        at, step = at - step, step * 2
    return [*chosen, asked] if asked in rates and asked < chosen[-1] else chosen
