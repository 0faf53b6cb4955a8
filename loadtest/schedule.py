"""What is sent and when, made before the run so that making it costs the run nothing. Seeded: a run can be repeated.

Arrivals are a Poisson process: they know nothing of the answers, so a hub that stalls meets the ticks that came
meanwhile, as it would in the market.
"""

from dataclasses import dataclass

import numpy as np

from arbhub.columns import Floats, Ints, Side, Ticks
from arbhub.reference import Listing, ReferenceData

TAKER_BPS = 10.0
SPREAD = 1e-4  # half of it, as a fraction of the mid-price
NOISE = 3e-4  # standard deviation of a venue's mid-price: edges come and go


@dataclass(frozen=True, slots=True)
class Market:
    """How much of a market there is."""

    instruments: int = 200
    venues: int = 4
    depth: int = 1

    def reference(self) -> ReferenceData:
        """Every instrument on every venue, with a fee."""
        venues = tuple(f"EX{number + 1}" for number in range(self.venues))
        symbols = tuple(f"C{number}/USD" for number in range(self.instruments))
        listings = tuple(Listing(v, s, taker_bps=TAKER_BPS) for s in symbols for v in venues)
        return ReferenceData(venues, symbols, listings)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`at_ns` (n,) is when each tick is to be sent, from the beginning of the run; ticks' `ts_ns` are the same."""

    at_ns: Ints
    ticks: Ticks


def poisson(rate: float, seconds: float, market: Market, seed: int) -> Schedule:
    """Arrivals at `rate` a second over `seconds`, each a new book of some instrument on some venue."""
    random = np.random.default_rng(seed)
    count = random.poisson(rate * seconds)
    at_ns = np.sort(random.uniform(0, seconds * 1e9, count)).astype(np.int64)
    mid = 100.0 * (1 + random.normal(0, NOISE, count))
    ticks = Ticks(
        at_ns,
        random.integers(0, market.instruments, count),
        random.integers(0, market.venues, count),
        _side(mid, -1, market.depth, random),
        _side(mid, 1, market.depth, random),
        np.zeros(count, np.int64),
    )
    return Schedule(at_ns, ticks)


def _side(mid: Floats, direction: int, depth: int, random: np.random.Generator) -> Side:
    steps = direction * SPREAD * np.arange(1, depth + 1)
    price = mid[:, None] * (1 + steps)
    size = random.uniform(0.1, 10.0, (len(mid), depth))
    return Side(np.full(len(mid), depth, np.int64), price, size)
