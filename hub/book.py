"""The consolidated book: every (instrument, venue)'s quotes as of each tick, and the opportunity they make.

What a batch makes of the books is found tick by tick, in `hub.asof`; here are the books themselves, and columns made
of what was found. Only `apply` changes what is stored; `peek` judges without a trace.
"""

from dataclasses import dataclass

import numpy as np

from arbhub.columns import Bools, Depth, Ints, Opportunities, Side, Ticks
from arbhub.reference import Universe
from hub.asof import ASK, BID, BUY, BUY_TS, OPPORTUNITY, SELL, SELL_TS, SINCE, find_well_formed, take_in
from hub.store import NO_TICK, Store


def well_formed(ticks: Ticks) -> Bools:
    """Whether each tick's levels make a book at all: positive, finite, in order, uncrossed, both sides there."""
    fine, bids, asks = np.empty(len(ticks), np.bool_), ticks.bids, ticks.asks
    find_well_formed(bids.arrays(), asks.arrays(), fine)
    return fine


@dataclass(frozen=True, slots=True)
class Resolved:
    """A batch after the book: `outcome` (n,) for every tick, the opportunities and the ticks they stand at."""

    outcome: Ints
    rows: Ints
    opportunities: Opportunities

    def slice(self, start: int, stop: int) -> "Resolved":
        """Ticks start to stop, as views."""
        first, last = np.searchsorted(self.rows, (start, stop))
        rows = self.rows[first:last] - start
        return Resolved(self.outcome[start:stop], rows, self.opportunities.slice(int(first), int(last)))


class Books:
    """The stored books, the run of each instrument's edge, and what a batch makes of them."""

    def __init__(self, universe: Universe, max_quote_age_ms: float, depth: int) -> None:
        self.universe = universe
        self.depth = depth
        self.store = Store()
        self.max_age_ns = max_quote_age_ms * 1e6
        self.resize()

    def resize(self) -> None:
        """Follow the universe: call after it has merged new reference data."""
        self.store.resize(self.universe)

    def apply(self, ticks: Ticks, first_sequence: int, *, depth: bool) -> Resolved:
        """Take the ticks in, in order, and return what each of them offers; `depth` asks for both legs' levels."""
        return self._resolve(ticks, first_sequence, depth=depth)

    def peek(self, tick: Ticks, *, depth: bool) -> Resolved:
        """What one tick would offer, leaving the books as they are."""
        self._make_room(tick)
        tables = self.store.tables()
        kept = [table[tick.instrument] for table in tables]
        try:
            return self._resolve(tick, 0, depth=depth)
        finally:
            for table, rows in zip(tables, kept, strict=True):
                table[tick.instrument] = rows

    def ticks(self) -> Ticks:
        """Every stored book as a tick, in the order of time; one that is not usable comes as an empty one."""
        inst, column = np.nonzero(self.store.ts != NO_TICK)
        order = np.argsort(self.store.ts[inst, column], kind="stable")
        inst, column = inst[order], column[order]
        usable = self.store.usable[inst, column]
        return Ticks(
            self.store.ts[inst, column],
            inst,
            self.store.venue[column],
            self.store.bids.rows(inst, column, usable),
            self.store.asks.rows(inst, column, usable),
            np.zeros(len(inst), np.int64),
        )

    def tops(self, now_ns: int) -> list[tuple[str, str, float, float, float, bool]]:
        """(venue, symbol, bid, ask, age in ms, usable) of every book ever ticked, for a person to look at."""
        found = []
        for i, c in zip(*np.nonzero(self.store.ts != NO_TICK), strict=True):
            age_ns = max(0, now_ns - int(self.store.ts[i, c]))
            bid, ask = (float(levels.price[i, c, 0]) for levels in (self.store.bids, self.store.asks))
            usable = bool(self.store.usable[i, c]) and age_ns <= self.max_age_ns
            found.append((self.store.columns[c], self.universe.symbols[i], bid, ask, age_ns / 1e6, usable))
        return found

    def _make_room(self, ticks: Ticks) -> None:
        self.store.bids.widen(min(self.depth, ticks.bids.price.shape[1]))
        self.store.asks.widen(min(self.depth, ticks.asks.price.shape[1]))

    def _resolve(self, ticks: Ticks, first_sequence: int, *, depth: bool) -> Resolved:
        self._make_room(ticks)
        n, s, ticks = len(ticks), self.store, ticks.truncated(self.depth)
        outcome, whole, price = np.empty(n, np.int64), np.empty((5, n), np.int64), np.empty((2, n))
        asks, bids = s.asks.blank(n), s.bids.blank(n)
        found = take_in(
            (ticks.ts_ns, ticks.instrument, s.column.take(ticks.venue), well_formed(ticks)),
            ticks.bids.arrays(),
            ticks.asks.arrays(),
            (s.usable, s.ts, s.run_legs, s.run_since),
            s.bids.arrays(),
            s.asks.arrays(),
            self.max_age_ns,
            (outcome, whole, price),
            asks.arrays(),
            bids.arrays(),
        )
        rows = np.arange(n) if found == n else np.flatnonzero(outcome == OPPORTUNITY)
        whole, price = whole[:, :found], price[:, :found]
        levels = Depth(_first(found, asks), _first(found, bids))
        opportunities = Opportunities(
            sequence=first_sequence + rows,
            ts_ns=ticks.ts_ns if found == n else ticks.ts_ns.take(rows),
            instrument=ticks.instrument if found == n else ticks.instrument.take(rows),
            candidate=np.zeros(found, np.int64),
            buy_venue=s.venue.take(whole[BUY]),
            sell_venue=s.venue.take(whole[SELL]),
            buy_ask=price[ASK],
            buy_ask_size=levels.asks.size[:, 0],
            sell_bid=price[BID],
            sell_bid_size=levels.bids.size[:, 0],
            buy_ts_ns=whole[BUY_TS],
            sell_ts_ns=whole[SELL_TS],
            edge_since_ns=whole[SINCE],
            depth=levels if depth else None,
        )
        return Resolved(outcome, rows, opportunities)


def _first(found: int, side: Side) -> Side:
    """The books found, no wider than they need to be."""
    deepest = int(side.count[:found].max(initial=1))
    return Side(side.count[:found], side.price[:found, :deepest], side.size[:found, :deepest])
