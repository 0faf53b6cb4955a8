"""What is sent and when, made before the run so that making it costs the run nothing. Seeded: a run can be repeated.

Arrivals know nothing of the answers, so a hub that stalls meets the ticks that came meanwhile, as it would in the
market. A schedule's rows are in three parts: the opening, one book for every instrument on every venue, sent before
the clock starts; the warm-up; and the measured part. So no tick lacks a counterpart because the run is young.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from arbhub.columns import Floats, Ints, Side, Ticks
from arbhub.reference import Listing, ReferenceData

TAKER_BPS = 10.0
SPREAD = 1e-4  # half of it, as a fraction of the mid-price
NOISE = 3e-4  # standard deviation of a venue's mid-price: edges come and go
BURST = 10.0  # times the rate between bursts
BURST_S = 0.1  # of every second, at its beginning


class Arrivals(StrEnum):
    """How the arrivals of a run are spread over its time."""

    POISSON = "poisson"
    BURSTY = "bursty"


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
    """`at_ns` (n,) is when each tick is to be sent, from the clock's start; ticks' `ts_ns` are the same.

    Rows before `timed` are the opening, with `at_ns` 0; rows from `measured` on are those that figures are made of.
    """

    at_ns: Ints
    ticks: Ticks
    timed: int
    measured: int
    measured_at_ns: int


def schedule(
    arrivals: Arrivals, rate: float, seconds: float, market: Market, seed: int, warm_up_s: float = 0.0
) -> Schedule:
    """Arrivals at `rate` a second on average, over the warm-up and then over `seconds`, each a new book somewhere."""
    # A generator each: the same seed measures the same arrivals however long the warm-up is.
    warming, measuring, drawing = (np.random.default_rng([seed, part]) for part in range(3))
    measured_at_ns = int(warm_up_s * 1e9)
    warm_up_ns = _ARRIVALS[arrivals](rate, warm_up_s, warming)
    measured_ns = measured_at_ns + _ARRIVALS[arrivals](rate, seconds, measuring)
    opening = market.instruments * market.venues
    at_ns = np.concatenate([np.zeros(opening, np.int64), warm_up_ns, measured_ns])
    timed = len(at_ns) - opening
    venue, instrument = np.divmod(np.arange(opening), market.instruments)
    instrument = np.concatenate([instrument, drawing.integers(0, market.instruments, timed)])
    venue = np.concatenate([venue, drawing.integers(0, market.venues, timed)])
    mid = 100.0 * (1 + drawing.normal(0, NOISE, len(at_ns)))
    bids, asks = _side(mid, -1, market.depth, drawing), _side(mid, 1, market.depth, drawing)
    ticks = Ticks(at_ns, instrument, venue, bids, asks, np.zeros(len(at_ns), np.int64))
    return Schedule(at_ns, ticks, opening, opening + len(warm_up_ns), measured_at_ns)


def footprint_bytes(rate: float, seconds: float, market: Market) -> float:
    """About how much memory a schedule of so many seconds, and what becomes of its ticks, will take."""
    count = market.instruments * market.venues + rate * seconds
    return count * (100 + 32 * market.depth)


def _poisson(rate: float, seconds: float, random: np.random.Generator) -> Ints:
    count = random.poisson(rate * seconds)
    at_ns: Ints = np.sort(random.uniform(0, seconds * 1e9, count)).astype(np.int64)
    return at_ns


def _bursty(rate: float, seconds: float, random: np.random.Generator) -> Ints:
    """Poisson within bursts and between them: uniform in the expected count so far, which is then turned into time."""
    begins = np.arange(np.ceil(seconds))
    knots_s = np.append(np.column_stack([begins, begins + BURST_S]).ravel(), np.inf).clip(max=seconds)
    weights = np.diff(knots_s) * np.resize([BURST, 1.0], len(knots_s) - 1)
    expected = np.append(0.0, np.cumsum(weights))
    count = random.poisson(rate * seconds)
    drawn = np.sort(random.uniform(0, expected[-1], count))
    at_ns: Ints = (np.interp(drawn, expected, knots_s) * 1e9).astype(np.int64)
    return at_ns


_ARRIVALS: dict[Arrivals, Callable[[float, float, np.random.Generator], Ints]] = {
    Arrivals.POISSON: _poisson,
    Arrivals.BURSTY: _bursty,
}


def _side(mid: Floats, direction: int, depth: int, random: np.random.Generator) -> Side:
    steps = direction * SPREAD * np.arange(1, depth + 1)
    price = mid[:, None] * (1 + steps)
    size = random.uniform(0.1, 10.0, (len(mid), depth))
    return Side(np.full(len(mid), depth, np.int64), price, size)
