"""Simulated books: a common random walk, and on each venue a deviation that keeps returning to zero.

Pure: random numbers come from the seed, time is an argument, so a seed and a number of steps give one market.
A step that is late is one step, not several: a process that was stopped goes on where it was.
"""

import math
from collections.abc import Iterator

import numpy as np

from arbhub.settings.sandbox import InstrumentSettings, SandboxSettings
from sandbox.book import Book, Change, Levels, difference, units

_KEPT = 0.8  # of the levels' sizes, from one step to the next


class Simulation:
    """Moves the books of every venue and instrument in the settings."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.books = {(venue, symbol): Book() for symbol in settings.instruments for venue in settings.venues}
        self._interval_ns = int(settings.interval_ms * 1e6)
        self._next_ns = 0
        self._markets = [
            _Market(settings, symbol, instrument, np.random.default_rng([settings.seed, number]))
            for number, (symbol, instrument) in enumerate(settings.instruments.items())
        ]
        for change in self.advance(0):
            self.books[change.venue, change.symbol].apply(change)

    def advance(self, elapsed_ns: int) -> Iterator[Change]:
        """What changes by `elapsed_ns` after the start; the caller applies it to `books`."""
        if elapsed_ns < self._next_ns:
            return
        self._next_ns = elapsed_ns - elapsed_ns % self._interval_ns + self._interval_ns
        for market in self._markets:
            yield from market.step(self.books)


class _Market:
    """One instrument on all venues."""

    def __init__(
        self,
        settings: SandboxSettings,
        symbol: str,
        instrument: InstrumentSettings,
        rng: np.random.Generator,
    ) -> None:
        simulation = settings.simulation
        seconds = settings.interval_ms / 1e3
        self.symbol, self.venues, self.simulation, self.rng = symbol, settings.venues, simulation, rng
        self.price = instrument.price
        self.tick = units(instrument.tick_size)
        self.lot = units(instrument.lot_size)
        # Levels stand on a fixed grid of whole ticks, so that a moving price adds and removes few of them.
        self.grid = max(1, round(units(instrument.price) * simulation.level_gap_bps / 1e4 / self.tick)) * self.tick
        self.volatility = simulation.volatility_bps / 1e4 * math.sqrt(seconds)
        self.decay = 0.5 ** (settings.interval_ms / simulation.edge_half_life_ms)
        self.shock_bps = simulation.edge_bps * math.sqrt(1 - self.decay**2)
        self.deviation_bps = simulation.edge_bps * rng.standard_normal(len(settings.venues))

    def step(self, books: dict[tuple[str, str], Book]) -> Iterator[Change]:
        """Move the prices once, and say how each venue's book follows."""
        self.price *= math.exp(self.volatility * self.rng.standard_normal())
        shocks = self.shock_bps * self.rng.standard_normal(len(self.venues))
        self.deviation_bps = self.deviation_bps * self.decay + shocks
        for venue, deviation_bps in zip(self.venues, self.deviation_bps, strict=True):
            book = books[venue, self.symbol]
            bids, asks = self._prices(self.price * (1 + float(deviation_bps) / 1e4))
            yield Change(
                venue,
                self.symbol,
                difference(book.bids, self._sizes(bids, book.bids)),
                difference(book.asks, self._sizes(asks, book.asks)),
            )

    def _prices(self, mid: float) -> tuple[list[int], list[int]]:
        """The prices of both sides round a mid-price, in 1e-8; no level is below the first of the grid."""
        half = mid * self.simulation.spread_bps / 2e4
        bid = max(1, units(mid - half) // self.grid)
        ask = max(bid + 1, -(-units(mid + half) // self.grid))
        count = self.simulation.levels
        bids = [price * self.grid for price in range(bid, max(0, bid - count), -1)]
        return bids, [price * self.grid for price in range(ask, ask + count)]

    def _sizes(self, prices: list[int], current: Levels) -> dict[int, int]:
        """A size for each price: mostly what it was, else drawn anew, in whole lots."""
        kept = self.rng.random(len(prices)) < _KEPT
        drawn = self.simulation.level_notional / self.price * self.rng.lognormal(-0.125, 0.5, len(prices))
        fresh = [max(1, units(float(size)) // self.lot) * self.lot for size in drawn]
        return {
            price: current[price] if keep and price in current else size
            for price, keep, size in zip(prices, kept, fresh, strict=True)
        }
