"""Cases of latency at a set rate: fresh services, and the medians of several runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from loadtest.bench.case import START_S, Case
from loadtest.bench.driving import Load, drive
from loadtest.bench.results import Row, latency, remarks
from loadtest.bench.site import Place, Running, Site, services


@dataclass(frozen=True, kw_only=True)
class LatencyCase(Case):
    """`shown` are the quantiles of the table, `at_most` what is asked of them in ms."""

    place: Place
    load: Load
    runs: int = 5
    shown: tuple[str, ...] = ("p50", "p99_99")
    at_most: Mapping[str, float] = field(default_factory=dict)

    @property
    def planned_s(self) -> float:
        """All runs."""
        return START_S + self.runs * self.load.takes_s

    def tiny(self) -> "LatencyCase":
        """One short run at a rate that any machine keeps."""
        return replace(self, runs=1, load=replace(self.load, rate=300.0, seconds=0.5, warm_up_s=0.2))

    async def measure(self, site: Site) -> Row:
        """The quantiles of each run."""
        async with services(site, self.place) as running:
            reports = await measured(site, running, self.load, self.runs)
        figures = [latency(reports, name, self.at_most.get(name)) for name in self.shown]
        return self.row(figures=figures, notes=remarks(reports), reports=reports)


async def measured(site: Site, running: Running, load: Load, runs: int) -> list[dict[str, Any]]:
    """The reports of several runs, each of other ticks."""
    reports = []
    for number in range(1, runs + 1):
        site.tell(f"{load.rate:,.0f} ticks/s, run {number} of {runs}")
        reports.append(await drive(site, running, load, seed=number))
    return reports
