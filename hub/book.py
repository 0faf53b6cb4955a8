"""The consolidated book: every (instrument, venue)'s quotes as of each tick, and the opportunity they make.

A batch is resolved at once, with the result of taking its ticks one by one: ticks are sorted by instrument
(stably), a running maximum per venue finds the last tick of that venue at or before each tick of the group, and
where there is none the stored book stands. Only `apply` changes what is stored; `peek` judges without a trace.

Venue columns stand in name order, so that the first of equal prices is the venue whose name sorts first.
Arrays: tops have shape (venues, n) within a batch and (instruments, venues) in store.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arbhub.columns import Bools, Depth, Floats, Ints, Opportunities, Side, Ticks
from arbhub.reference import Universe
from hub.levels import Scalar
from hub.store import NO_TICK, Store

OPPORTUNITY, NO_COUNTERPART, SAME_VENUE = 0, 1, 2


def well_formed(ticks: Ticks) -> Bools:
    """Whether each tick's levels make a book at all: positive, finite, in order, uncrossed, both sides there."""
    bids, asks = ticks.bids, ticks.asks
    fine = _sound(bids, np.greater_equal) & _sound(asks, np.less_equal)
    fine &= np.minimum(bids.count, asks.count) > 0
    fine &= bids.price[:, 0] < asks.price[:, 0]
    return fine


def _sound(side: Side, in_order: np.ufunc) -> Bools:
    """`in_order` has to hold between each level's price and that of the level before it, the better one."""
    price, size = side.price, side.size
    good = np.isfinite(np.maximum(price, size))  # NaN spreads through both
    np.logical_and(good, np.minimum(price, size) > 0, out=good)
    width = price.shape[1]
    if width == 1:
        return good[:, 0]
    good[:, 1:] &= in_order(price[:, :-1], price[:, 1:])
    np.logical_or(good, np.arange(width) >= side.count[:, None], out=good)
    sound: Bools = np.logical_and.reduce(good, axis=1)
    return sound


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


@dataclass(slots=True)
class _View:
    """All books as of each tick of a batch. Rows are ticks sorted by instrument; tables are (venues, n)."""

    ticks: Ticks
    order: Ints
    """Each row's tick."""
    row: Ints
    inst: Ints
    ts: Ints
    starts: Ints
    """The row at which each instrument begins."""
    ends: Ints
    """Its last row."""
    start: Ints
    """Where each row's instrument begins."""
    fine: Bools
    """Of each tick."""
    fresh: Bools
    """Where the venue's book is one of this batch, and not the stored one."""
    source: Ints
    """Its tick, where fresh; elsewhere n and more, a place of its own for each stored book."""
    ts_quoted: Ints
    usable: Bools
    bid: Floats
    ask: Floats


@dataclass(slots=True)
class _Pairs:
    """Each row's legs, as columns, and best prices; they mean something where `offered`."""

    buy: Ints
    sell: Ints
    ask: Floats
    bid: Floats
    offered: Bools


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
        return self._resolve(ticks, first_sequence, depth=depth, store=True)

    def peek(self, tick: Ticks, *, depth: bool) -> Resolved:
        """What one tick would offer, leaving the books as they are."""
        return self._resolve(tick, 0, depth=depth, store=False)

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

    def _resolve(self, ticks: Ticks, first_sequence: int, *, depth: bool, store: bool) -> Resolved:
        if not len(ticks):
            return Resolved(_NO_INTS, _NO_INTS, _NO_OPPORTUNITIES)
        view = self._view(ticks.truncated(self.depth))
        pairs = _choose(view)
        since = self._runs(view, pairs, store=store)
        outcome, row_of = np.empty_like(view.order), np.empty_like(view.order)
        outcome[view.order], row_of[view.order] = _outcome(view, pairs), view.row
        rows = np.nonzero(outcome == OPPORTUNITY)[0]
        opportunities = self._opportunities(view, pairs, since, row_of[rows], first_sequence, depth=depth)
        if store:
            self._store(view)
        return Resolved(outcome, rows, opportunities)

    def _view(self, ticks: Ticks) -> _View:
        n, width = len(ticks), len(self.store.columns)
        order = _by_instrument(ticks.instrument, len(self.store.ts))
        inst, ts, row = ticks.instrument.take(order), ticks.ts_ns.take(order), np.arange(n)
        first = _firsts(inst)
        starts = first.nonzero()[0]
        ends = np.append(starts[1:], n) - 1
        group = np.add.accumulate(first, dtype=np.int64) - 1
        start = starts.take(group)
        ticked = self.store.column.take(ticks.venue.take(order)) == self.store.numbers
        last = np.maximum.accumulate(np.where(ticked, row, -1), axis=1)
        fresh: Bools = last >= start
        fine = well_formed(ticks)
        # The books that may count: the batch's own, and behind them what is stored of each group's instrument.
        held = inst.take(starts)
        source = np.where(fresh, order.take(last, mode="wrap"), (group * width + n) + self.store.numbers)
        ts_quoted = _behind(ticks.ts_ns, self.store.ts, held).take(source)
        usable = _behind(fine, self.store.usable, held).take(source)
        usable &= ts - ts_quoted <= self.max_age_ns
        bid = _behind(ticks.bids.price[:, 0], self.store.bids.price[:, :, 0], held).take(source)
        ask = _behind(ticks.asks.price[:, 0], self.store.asks.price[:, :, 0], held).take(source)
        return _View(ticks, order, row, inst, ts, starts, ends, start, fine, fresh, source, ts_quoted, usable, bid, ask)

    def _runs(self, view: _View, pairs: _Pairs, *, store: bool) -> Ints:
        """Since when each row's legs have shown an edge without a break; the row's own time where they do not."""
        row, inst, starts, end = view.row, view.inst, view.starts, view.ends
        edge = pairs.offered & (pairs.bid > pairs.ask)
        legs = np.where(edge, pairs.buy * len(self.store.columns) + pairs.sell, -1)
        before = np.empty_like(legs)
        before[1:] = legs[:-1]
        before[starts] = self.store.run_legs[inst[starts]]
        begins = (legs != before) | ~edge
        begun = np.maximum.accumulate(np.where(begins, row, -1))
        since = np.where(begun >= view.start, view.ts[begun], self.store.run_since[inst])
        if store:
            self.store.run_legs[inst[end]], self.store.run_since[inst[end]] = legs[end], since[end]
        return since

    def _opportunities(
        self, view: _View, pairs: _Pairs, since: Ints, at: Ints, first_sequence: int, *, depth: bool
    ) -> Opportunities:
        """Those of the rows `at`."""
        buy, sell, inst = pairs.buy.take(at), pairs.sell.take(at), view.inst.take(at)
        # Places in the tables, which are taken from as if they were flat: that is several times faster.
        n = len(view.row)
        buy_at, sell_at = buy * n + at, sell * n + at
        buy_source, sell_source = view.source.take(buy_at), view.source.take(sell_at)
        asks = self.store.asks.as_of(inst, buy, view.ticks.asks, buy_source)
        bids = self.store.bids.as_of(inst, sell, view.ticks.bids, sell_source)
        return Opportunities(
            sequence=first_sequence + view.order.take(at),
            ts_ns=view.ts.take(at),
            instrument=inst,
            candidate=np.zeros(len(at), np.int64),
            buy_venue=self.store.venue.take(buy),
            sell_venue=self.store.venue.take(sell),
            buy_ask=pairs.ask.take(at),
            buy_ask_size=asks.size[:, 0],
            sell_bid=pairs.bid.take(at),
            sell_bid_size=bids.size[:, 0],
            buy_ts_ns=view.ts_quoted.take(buy_at),
            sell_ts_ns=view.ts_quoted.take(sell_at),
            edge_since_ns=since.take(at),
            depth=Depth(asks, bids) if depth else None,
        )

    def _store(self, view: _View) -> None:
        """Keep each instrument's books as of its last row, where they are new."""
        column, group = view.fresh[:, view.ends].nonzero()
        at = view.ends[group]
        inst, tick = view.inst[at], view.source[column, at]
        self.store.usable[inst, column], self.store.ts[inst, column] = view.fine[tick], view.ticks.ts_ns[tick]
        self.store.bids.put(inst, column, view.ticks.bids.take(tick))
        self.store.asks.put(inst, column, view.ticks.asks.take(tick))


def _choose(view: _View) -> _Pairs:
    """The usable venue with the lowest ask and the one with the highest bid; of equals the first in name order."""
    buy = np.where(view.usable, view.ask, np.inf).argmin(axis=0)
    sell = np.where(view.usable, view.bid, -np.inf).argmax(axis=0)
    # With fewer than two usable venues both fall on one: no pair is offered then either.
    n = len(view.row)
    ask, bid = view.ask.take(buy * n + view.row), view.bid.take(sell * n + view.row)
    return _Pairs(buy, sell, ask, bid, buy != sell)


def _outcome(view: _View, pairs: _Pairs) -> Ints:
    """Of each row."""
    outcome = np.where(pairs.offered, OPPORTUNITY, SAME_VENUE)
    if np.count_nonzero(pairs.offered) < len(outcome):
        outcome[view.usable.sum(axis=0) < 2] = NO_COUNTERPART
    return outcome


def _by_instrument(instrument: Ints, known: int) -> Ints:
    """The rows sorted by instrument, those of one in order. Narrow numbers are sorted by radix: five times faster."""
    narrow = len(instrument) > 64 and known <= 1 << 16
    return (instrument.astype(np.uint16) if narrow else instrument).argsort(kind="stable")


def _behind(new: NDArray[Scalar], stored: NDArray[Scalar], held: Ints) -> NDArray[Scalar]:
    """The ticks' values and behind them the stored ones of the instruments `held`, of every venue."""
    return np.concatenate((new, stored[held].ravel()))


def _firsts(inst: Ints) -> Bools:
    """Whether each row of a sorted column is the first of its group."""
    first = np.empty(len(inst), np.bool_)
    first[:1] = True
    np.not_equal(inst[1:], inst[:-1], out=first[1:])
    return first


_NO_INTS: Ints = np.zeros(0, np.int64)
_NO_FLOATS: Floats = np.zeros(0)
_NO_SIDE = Side(_NO_INTS, np.zeros((0, 1)), np.zeros((0, 1)))
_NO_OPPORTUNITIES = Opportunities(
    *(_NO_INTS,) * 6, *(_NO_FLOATS,) * 4, *(_NO_INTS,) * 3, depth=Depth(_NO_SIDE, _NO_SIDE)
)
