"""The case that compares designs: the most ticks a second of serial, of gather, and of arbhub.

All three are asked alike: the open-loop driver, 200 instruments, 4 venues, four engine processes, and the rate counts
as kept where p99.99 stays below 60 ms with failures below 1 in 10,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from arbhub.processes import Service
from loadtest.bench.case import START_S, Case
from loadtest.bench.driving import Load
from loadtest.bench.most import GRID, PROBE_WARM_UP_S, Probe
from loadtest.bench.results import Figure, Row
from loadtest.bench.search import geometric, highest
from loadtest.bench.site import Place, Site, addresses, configuration, modules, services

MODULE = "loadtest.baselines"
PER_DOUBLING = 8
LOW = tuple(geometric(50.0, 25_000.0, PER_DOUBLING))
PROBES = 11  # of a baseline, those that are tried again included


@dataclass(frozen=True, kw_only=True)
class DesignsCase(Case):
    """`most` is the key of the case that has arbhub's figure; where it was not measured, arbhub is probed too."""

    most: str
    at_least: float
    """Times what gather can do."""
    baselines: tuple[str, ...] = ("serial", "gather")
    low: Sequence[float] = LOW
    high: Sequence[float] = GRID
    probe_s: float = 3.0

    @property
    def planned_s(self) -> float:
        """As if arbhub's figure were there."""
        return len(self.baselines) * (
            START_S + min(PROBES, len(self.low)) * Load(1000, self.probe_s, warm_up_s=PROBE_WARM_UP_S).takes_s
        )

    def tiny(self) -> "DesignsCase":
        """One baseline, one rate."""
        return replace(self, baselines=("gather",), low=(20.0,), high=(200.0,), probe_s=0.3)

    async def measure(self, site: Site) -> Row:
        """A bar a design, and how many times gather's arbhub's is."""
        found = {name: await self._baseline(site, name) for name in self.baselines}
        known = [f.median for f in site.rows[self.most].figures if f.name == "most"] if self.most in site.rows else []
        found["arbhub"] = known[0] if known and known[0] else await self._arbhub(site)
        ratio = found["arbhub"] / found["gather"] if found["gather"] else None
        figures = [Figure(name, "ticks/s", [rate]) for name, rate in found.items()]
        figures.append(Figure("arbhub/gather", "x", [ratio], at_least=self.at_least))
        return self.row(figures=figures)

    async def _baseline(self, site: Site, design: str) -> float:
        (listen,) = addresses(1)
        file = site.write("baseline.toml", configuration(listen, {}))
        service = Service(design, (design, "--listen", listen, "--config", str(file)), listen)
        load = Load(self.low[0], self.probe_s, warm_up_s=PROBE_WARM_UP_S)
        named = replace(site, tell=lambda text: site.tell(f"{design}, {text}"))
        async with modules(site, [(MODULE, service)]) as running:
            return await highest(self.low, Probe(named, running, load).kept, 0, PER_DOUBLING) or 0.0

    async def _arbhub(self, site: Site) -> float:
        load = Load(self.high[0], self.probe_s, warm_up_s=PROBE_WARM_UP_S)
        named = replace(site, tell=lambda text: site.tell(f"arbhub, {text}"))
        async with services(site, Place.PROCESSES) as running:
            return await highest(self.high, Probe(named, running, load).kept, 8, 4) or 0.0
