"""What a tick costs: microseconds of CPU of hub and engines together, over instruments, venues and engines.

Counted by the kernel for each process, at a set rate. A run also connects, sends reference data and a first book of
everything, which grow with the market; so two runs of different length are compared, and what they share falls out:
(CPU of the long run - CPU of the short one) / (ticks of the long run - ticks of the short one).
"""

import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import psutil

from arbhub.processes import Service
from loadtest.bench.case import Case
from loadtest.bench.driving import Load, drive
from loadtest.bench.results import Figure, Row, exponent, remarks
from loadtest.bench.site import Running, Site, addresses, configuration, modules

MODULE = "loadtest.bench.wide"
SERVICES_S = 5.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the market and the table of engines are."""

    instruments: int = 200
    venues: int = 4
    engines: int = 4


Series = dict[str, list[tuple[float, float | None]]]
AXES = {
    "instruments": (10, 100, 1000, 10_000),
    "venues": (2, 4, 8, 16),
    "engines": (1, 2, 4, 6, 8),
}


@dataclass(frozen=True, kw_only=True)
class CostCase(Case):
    """One axis after another, the others as in `Shape()`."""

    axes: tuple[tuple[str, tuple[int, ...]], ...] = tuple(AXES.items())
    rate: float = 20_000.0
    short_s: float = 0.5
    long_s: float = 4.0

    @property
    def planned_s(self) -> float:
        """Three runs a shape."""
        return sum(SERVICES_S + 3 * Load(0, 0).takes_s + self.short_s + self.long_s for _ in self._shapes())

    def tiny(self) -> "CostCase":
        """One small market with one engine more than there are."""
        return replace(self, axes=(("engines", (5,)),), rate=400.0, short_s=0.2, long_s=0.5)

    def _shapes(self) -> list[Shape]:
        """Every one once."""
        return list(dict.fromkeys(shape_at(axis, value) for axis, values in self.axes for value in values))

    async def measure(self, site: Site) -> Row:
        """A series an axis, and how the cost grows with the number of instruments."""
        costs: dict[Shape, float] = {}
        reports = []
        for shape in self._shapes():
            cost_us, report = await self._cost(site, shape)
            costs[shape] = cost_us
            reports.append(report)
        points: Series = {
            axis: [(value, costs[shape_at(axis, value)]) for value in values] for axis, values in self.axes
        }
        return self.row(figures=_figures(costs, points), points=points, notes=remarks(reports), reports=reports)

    async def _cost(self, site: Site, shape: Shape) -> tuple[float, dict[str, Any]]:
        """Microseconds a tick, and the report of the long run."""
        load = Load(self.rate, self.short_s, 1, shape.instruments, shape.venues)
        async with wide_services(site, shape.engines) as running:
            site.tell(f"{shape.instruments:,} instruments, {shape.venues} venues, {shape.engines} engines")
            await drive(site, running, load)  # to whom the market is news has more to do
            spent, sent = [], []
            report: dict[str, Any] = {}
            for number, seconds in enumerate((self.short_s, self.long_s)):
                before = cpu_s(running)
                report = await drive(site, running, replace(load, seconds=seconds), seed=number)
                spent.append(cpu_s(running) - before)
                sent.append(report["sent"])
        return (spent[1] - spent[0]) / max(1, sent[1] - sent[0]) * 1e6, report


def _figures(costs: dict[Shape, float], points: Series) -> list[Figure]:
    """The usual shape's cost, and the power of the number of instruments with which the cost grows."""
    figures = [Figure("usual shape", "us", [costs[Shape()]])] if Shape() in costs else []
    growth = exponent(points.get("instruments", []))
    if not math.isnan(growth):
        figures.append(Figure("power of instruments", "", [growth], at_most=1.0))
    return figures


def shape_at(axis: str, value: int) -> Shape:
    """The usual shape but for one axis."""
    return replace(Shape(), **{axis: value})


@contextlib.asynccontextmanager
async def wide_services(site: Site, engines: int) -> AsyncIterator[Running]:
    """A hub and so many engine processes."""
    hub, *places = addresses(1 + engines)
    file = site.write("services.toml", configuration(hub, {}))
    words = ("--config", str(file), *(word for place in places for word in ("--place", place)))
    wanted = [Service(f"engine {n}", ("engine", str(n), *words), place) for n, place in enumerate(places)]
    async with modules(site, [(MODULE, each) for each in (*wanted, Service("hub", ("hub", *words), hub))]) as running:
        yield running


def cpu_s(running: Running) -> float:
    """Seconds of CPU that the services have used so far."""
    times = [psutil.Process(pid).cpu_times() for pid in running.pids().values()]
    return float(sum(t.user + t.system for t in times))
