"""Latency over rate, for the chart: four engine processes, depth 1, from idle to overload."""

from dataclasses import dataclass, replace
from typing import Any

from loadtest.bench.case import START_S, Case
from loadtest.bench.driving import Load, drive
from loadtest.bench.results import Row, latency, remarks
from loadtest.bench.site import Place, Running, Site, services

QUANTILES = ("p50", "p99", "p99_99")
RATES = (1e3, 3e3, 1e4, 2e4, 5e4, 1e5, 2e5, 3e5, 4e5, 5e5)


@dataclass(frozen=True, kw_only=True)
class RatesCase(Case):
    """One run a rate. `measured` names cases of the same set-up, whose runs are taken where there are any."""

    rates: tuple[float, ...] = RATES
    measured: tuple[str, ...] = ()
    run_s: float = 5.0

    @property
    def planned_s(self) -> float:
        """As if the measured cases had been measured."""
        known = len(self.measured)
        return START_S + sum(Load(rate, self.run_s).takes_s for rate in self.rates[known:])

    def tiny(self) -> "RatesCase":
        """One rate, with nothing taken over."""
        return replace(self, rates=(200.0,), measured=(), run_s=0.3)

    async def measure(self, site: Site) -> Row:
        """A point a rate and quantile; where failures were too many there is none."""
        known = {run["rate"]: runs for key in self.measured if (runs := reports_of(site, key)) for run in runs}
        points: dict[str, list[tuple[float, float | None]]] = {name: [] for name in QUANTILES}
        single: list[dict[str, Any]] = []
        async with services(site, Place.PROCESSES) as running:
            for rate in self.rates:
                runs = known.get(rate) or [await self._run(site, running, rate)]
                single += [] if rate in known else runs
                for name in QUANTILES:
                    figure = latency(runs, name)
                    points[name].append((rate, figure.median if figure.span else None))
        return self.row(points=points, notes=remarks(single), reports=single)

    async def _run(self, site: Site, running: Running, rate: float) -> dict[str, Any]:
        site.tell(f"{rate:,.0f} ticks/s")
        return await drive(site, running, Load(rate, self.run_s))


def reports_of(site: Site, key: str) -> list[dict[str, Any]]:
    """The runs of a case measured before; none where there was none."""
    return site.rows[key].reports if key in site.rows else []
