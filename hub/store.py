"""What is stored of the market: every (instrument, venue)'s last book, and the run of each instrument's edge.

Venue columns stand in name order, so that the first of equal prices is the venue whose name sorts first. Tables
have shape (instruments, venues); they grow as the universe does, and are other arrays then.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arbhub.columns import Bools, Ints
from arbhub.reference import Universe
from hub.levels import Levels, moved

NO_TICK = -(1 << 62)


class Store:
    """`usable` knows no age. `run_legs` is buy column * venues + sell column, -1 where there is no edge."""

    def __init__(self) -> None:
        self.columns: list[str] = []  # venue of each column, in name order
        self.column: Ints = np.zeros(0, np.int64)  # venue id -> column
        self.venue: Ints = np.zeros(0, np.int64)  # column -> venue id
        self.usable: Bools = np.zeros((0, 0), np.bool_)
        self.ts: Ints = np.zeros((0, 0), np.int64)
        self.bids, self.asks = Levels(), Levels()
        self.run_legs: Ints = np.zeros(0, np.int64)
        self.run_since: Ints = np.zeros(0, np.int64)

    def tables(self) -> tuple[NDArray[Any], ...]:
        """All that a tick may change, instruments first."""
        return self.usable, self.ts, self.run_legs, self.run_since, *self.bids.arrays(), *self.asks.arrays()

    def resize(self, universe: Universe) -> None:
        """Make room for every instrument and venue of the universe."""
        names = sorted(universe.venues)
        shape = (len(universe.symbols), len(names))
        if shape == self.ts.shape:  # names only ever come
            return
        at: Ints = np.array([names.index(name) for name in self.columns], np.int64)
        self.usable, self.ts = moved(self.usable, shape, at, False), moved(self.ts, shape, at, NO_TICK)
        self.bids.resize(shape, at)
        self.asks.resize(shape, at)
        self._resize_runs(shape, at)
        self.columns = names
        self.venue = np.array([universe.venue_ids[name] for name in names], np.int64)
        self.column = np.argsort(self.venue, kind="stable")

    def _resize_runs(self, shape: tuple[int, int], at: Ints) -> None:
        """Legs are named by columns, which move as venues sort in between."""
        running = np.nonzero(self.run_legs >= 0)[0]
        legs, since = self.run_legs[running], self.run_since[running]
        self.run_legs, self.run_since = np.full(shape[0], -1), np.full(shape[0], NO_TICK)
        self.run_legs[running] = at[legs // len(at)] * shape[1] + at[legs % len(at)] if len(at) else -1
        self.run_since[running] = since
