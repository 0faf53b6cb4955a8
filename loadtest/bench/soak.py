"""The hub's memory over ten minutes: `make soak`.

Ten minutes of ticks made beforehand would take gigabytes of the driver, so it runs once a minute, each time as a new
client of the same services: the hub sees a stream end and another begin, which leaks sooner than one long stream.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import Any

import psutil

from loadtest.bench.case import START_S, Case
from loadtest.bench.driving import Load, drive
from loadtest.bench.results import Figure, Row, remarks
from loadtest.bench.site import Place, Site, services

Samples = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class SoakCase(Case):
    """`pieces` runs of `load`; resident memory is looked at every `every_s`."""

    load: Load
    pieces: int
    at_most_mb: float
    at_most_growth: float
    """In percent, after the first piece."""
    every_s: float = 5.0

    @property
    def planned_s(self) -> float:
        """All pieces."""
        return START_S + self.pieces * self.load.takes_s

    def tiny(self) -> "SoakCase":
        """Two short pieces."""
        return replace(self, pieces=2, every_s=0.1, load=replace(self.load, rate=500.0, seconds=0.5, warm_up_s=0.2))

    async def measure(self, site: Site) -> Row:
        """The highest resident memory, and by how much it is above that at the end of the first piece."""
        reports: list[dict[str, Any]] = []
        async with services(site, Place.PROCESSES) as running:
            hub = psutil.Process(running.pids()["hub"])
            samples: Samples = []
            sampling = asyncio.create_task(_sample(hub, self.every_s, samples))
            try:
                first: list[float] = []
                for number in range(1, self.pieces + 1):
                    site.tell(f"part {number} of {self.pieces}, {_mb(hub):.0f} MB")
                    reports.append(await drive(site, running, self.load, seed=number))
                    samples.append((time.monotonic(), _mb(hub)))
                    first = first or [mb for _, mb in samples]
            finally:
                sampling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sampling
        return self.row(
            figures=self._figures(first, [mb for _, mb in samples]),
            notes=remarks(reports),
            points={"hub": [((at - samples[0][0]), mb) for at, mb in samples]},
            reports=reports,
        )

    def _figures(self, first: list[float], all_: list[float]) -> list[Figure]:
        growth = max(0.0, max(all_[len(first) :], default=0.0) / first[-1] - 1) * 100
        return [
            Figure("highest", "MB", [max(all_)], at_most=self.at_most_mb),
            Figure("growth after the first minute", "%", [growth], at_most=self.at_most_growth),
        ]


async def _sample(process: psutil.Process, every_s: float, samples: Samples) -> None:
    while True:
        samples.append((time.monotonic(), _mb(process)))
        await asyncio.sleep(every_s)


def _mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 1e6)
