"""The consolidated book: every (instrument, venue)'s quotes as of each tick, and the opportunity they make.

A batch is resolved at once, with the result of taking its ticks one by one: ticks are sorted by instrument
(stably), a running maximum per venue finds the last tick of that venue at or before each tick of the group, and
where there is none the stored book stands. Only `apply` changes what is stored; `peek` judges without a trace.

Venue columns stand in name order, so that the first of equal prices is the venue whose name sorts first.
Arrays: tops have shape (venues, n) within a batch and (instruments, venues) in store.
"""

from dataclasses import dataclass

import numpy as np

from arbhub.columns import Bools, Depth, Floats, Ints, Opportunities, Side, Ticks
from arbhub.reference import Universe

OPPORTUNITY, NO_COUNTERPART, SAME_VENUE = 0, 1, 2
NO_TICK = -(1 << 62)


def well_formed(ticks: Ticks) -> Bools:
    """Whether each tick's levels make a book at all: positive, finite, in order, uncrossed, both sides there."""
    bids, asks = ticks.bids, ticks.asks
    with np.errstate(invalid="ignore"):
        ok: Bools = (bids.count > 0) & (asks.count > 0) & (bids.price[:, 0] < asks.price[:, 0])
        return ok & _sound(bids, -1) & _sound(asks, 1)


def _sound(side: Side, direction: int) -> Bools:
    width = side.price.shape[1]
    good = (side.price > 0) & (side.price < np.inf) & (side.size > 0) & (side.size < np.inf)
    if width == 1:
        return good[:, 0] | (side.count == 0)
    absent = np.arange(width) >= side.count[:, None]
    good[:, 1:] &= (side.price[:, 1:] - side.price[:, :-1]) * direction >= 0
    return np.asarray((good | absent).all(axis=1))


@dataclass(frozen=True, slots=True)
class Resolved:
    """A batch after the book: `outcome` (n,) for every tick, the opportunities and the ticks they stand at."""

    outcome: Ints
    rows: Ints
    opportunities: Opportunities


class Books:
    """The stored books and the run of each instrument's edge."""

    def __init__(self, universe: Universe, max_quote_age_ms: float, depth: int) -> None:
        self.universe = universe
        self.depth = depth
        self._max_age_ns = max_quote_age_ms * 1e6
        self._columns: list[str] = []  # venue of each column, in name order
        self._column: Ints = np.zeros(0, np.int64)  # venue id -> column
        self._venue: Ints = np.zeros(0, np.int64)  # column -> venue id
        self._usable = np.zeros((0, 0), np.bool_)
        self._ts: Ints = np.zeros((0, 0), np.int64)
        self._counts: Ints = np.zeros((0, 0, 2), np.int64)
        self._levels: Floats = np.zeros((0, 0, 2, 2, 1))  # (instruments, venues, bid/ask, price/size, level)
        self._run_legs: Ints = np.zeros(0, np.int64)  # legs of the running edge, -1: none
        self._run_since: Ints = np.zeros(0, np.int64)
        self.resize()

    def resize(self) -> None:
        """Follow the universe: call after it has merged new reference data."""
        names = sorted(self.universe.venues)
        shape = (len(self.universe.symbols), len(names))
        if names == self._columns and shape[0] == len(self._run_legs):
            return
        old_rows, at = len(self._run_legs), [names.index(name) for name in self._columns]
        for name, fill in (("_usable", False), ("_ts", NO_TICK), ("_counts", 0), ("_levels", 0.0)):
            old = getattr(self, name)
            new = np.full((*shape, *old.shape[2:]), fill, old.dtype)
            new[:old_rows, at] = old
            setattr(self, name, new)
        # Legs are named by columns, which may have moved: an edge across that moment counts as a new one.
        self._run_legs = np.full(shape[0], -1, np.int64)
        self._run_since = np.full(shape[0], NO_TICK, np.int64)
        self._columns = names
        self._venue = np.array([self.universe.venue_ids[name] for name in names], np.int64)
        self._column = np.argsort(self._venue, kind="stable")

    def apply(self, ticks: Ticks, first_sequence: int, *, depth: bool) -> Resolved:
        """Take the ticks in, in order, and return what each of them offers; `depth` asks for both legs' levels."""
        return self._resolve(ticks, first_sequence, depth=depth, store=True)

    def peek(self, tick: Ticks, *, depth: bool) -> Resolved:
        """What one tick would offer, leaving the books as they are."""
        return self._resolve(tick, 0, depth=depth, store=False)

    def tops(self, now_ns: int) -> list[tuple[str, str, float, float, float, bool]]:
        """(venue, symbol, bid, ask, age in ms, usable) of every book ever ticked, for a person to look at."""
        found = []
        for i, c in zip(*np.nonzero(self._ts != NO_TICK), strict=True):
            age_ns = max(0, now_ns - int(self._ts[i, c]))
            bid, ask = (float(self._levels[i, c, side, 0, 0]) for side in (0, 1))
            usable = bool(self._usable[i, c]) and age_ns <= self._max_age_ns
            found.append((self._columns[c], self.universe.symbols[i], bid, ask, age_ns / 1e6, usable))
        return found

    def _resolve(self, ticks: Ticks, first_sequence: int, *, depth: bool, store: bool) -> Resolved:
        bids, asks = ticks.bids.truncated(self.depth), ticks.asks.truncated(self.depth)
        cut = Ticks(ticks.ts_ns, ticks.instrument, ticks.venue, bids, asks, ticks.ts_event_ns)
        fine = well_formed(cut)
        n = len(ticks)
        order = np.argsort(ticks.instrument, kind="stable")
        inst, ts = ticks.instrument[order], ticks.ts_ns[order]
        start = _group_starts(inst)
        last = self._last_ticks(self._column[ticks.venue[order]], start)
        fresh = last >= 0
        source = order[np.maximum(last, 0)]
        usable, quote_ts = self._quotes(fine, ticks.ts_ns, source, fresh, inst)
        age = ts - quote_ts
        usable &= age <= self._max_age_ns
        bid = np.where(fresh, bids.price[source, 0], self._levels[inst, :, 0, 0, 0].T)
        ask = np.where(fresh, asks.price[source, 0], self._levels[inst, :, 1, 0, 0].T)
        buy = np.where(usable, ask, np.inf).argmin(axis=0)
        sell = np.where(usable, bid, -np.inf).argmax(axis=0)
        row = np.arange(n)
        outcome = np.where(buy == sell, SAME_VENUE, OPPORTUNITY)
        outcome[usable.sum(axis=0) < 2] = NO_COUNTERPART
        offered = outcome == OPPORTUNITY
        buy_ask, sell_bid = ask[buy, row], bid[sell, row]
        legs = np.where(offered & (sell_bid > buy_ask), buy * len(self._columns) + sell, -1)
        since = self._runs(inst, ts, start, legs, store=store)
        at = np.nonzero(offered)[0]
        at = at[np.argsort(order[at], kind="stable")]  # back into the order of ticks
        legs_at = _Legs(cut, self._counts, self._levels, inst[at], source[:, at], fresh[:, at])
        buy_at, sell_at, k = buy[at], sell[at], np.arange(len(at))
        opportunities = Opportunities(
            sequence=first_sequence + order[at],
            ts_ns=ts[at],
            instrument=inst[at],
            candidate=np.zeros(len(at), np.int64),
            buy_venue=self._venue[buy_at],
            sell_venue=self._venue[sell_at],
            buy_ask=buy_ask[at],
            buy_ask_size=legs_at.top_size(1, buy_at),
            sell_bid=sell_bid[at],
            sell_bid_size=legs_at.top_size(0, sell_at),
            buy_ts_ns=quote_ts[:, at][buy_at, k],
            sell_ts_ns=quote_ts[:, at][sell_at, k],
            edge_since_ns=since[at],
            depth=Depth(legs_at.side(1, buy_at), legs_at.side(0, sell_at)) if depth else None,
        )
        if store:
            self._store(cut, fine, inst, order, last, start)
        back = np.empty(n, np.int64)
        back[order] = outcome
        return Resolved(back, order[at], opportunities)

    def _last_ticks(self, column: Ints, start: Ints) -> Ints:
        """(venues, n): the sorted position of each venue's last tick in the row's group so far, -1: none."""
        position = np.arange(len(column))
        seen = np.where(column == np.arange(len(self._columns))[:, None], position, -1)
        last: Ints = np.maximum.accumulate(seen, axis=1)
        last[last < start] = -1
        return last

    def _quotes(self, fine: Bools, ts: Ints, source: Ints, fresh: Bools, inst: Ints) -> tuple[Bools, Ints]:
        usable = np.where(fresh, fine[source], self._usable[inst].T)
        return usable, np.where(fresh, ts[source], self._ts[inst].T)

    def _runs(self, inst: Ints, ts: Ints, start: Ints, legs: Ints, *, store: bool) -> Ints:
        """Since when each row's legs have shown an edge without a break; the row's own time where they do not."""
        position = np.arange(len(inst))
        first = position == start
        before = np.empty_like(legs)
        before[1:] = legs[:-1]
        before[first] = self._run_legs[inst[first]]
        begins = (legs != before) | (legs < 0)
        begun = np.maximum.accumulate(np.where(begins, position, -1))
        since = np.where(begun >= start, ts[np.maximum(begun, 0)], self._run_since[inst])
        if store:
            end = np.append(first[1:], True)
            self._run_legs[inst[end]], self._run_since[inst[end]] = legs[end], since[end]
        return since

    def _store(self, ticks: Ticks, fine: Bools, inst: Ints, order: Ints, last: Ints, start: Ints) -> None:
        end = np.append(start[1:] != start[:-1], True)
        column, group = np.nonzero(last[:, end] >= 0)
        row = order[last[:, end][column, group]]
        at = (inst[end][group], column)
        self._usable[at], self._ts[at] = fine[row], ticks.ts_ns[row]
        self._counts[at] = np.stack([ticks.bids.count[row], ticks.asks.count[row]], axis=1)
        width = max(ticks.bids.price.shape[1], ticks.asks.price.shape[1])
        self._widen(width)
        for number, side in enumerate((ticks.bids, ticks.asks)):
            levels = side.price.shape[1]
            self._levels[(*at, number, 0)] = _padded(side.price[row], self._levels.shape[-1], levels)
            self._levels[(*at, number, 1)] = _padded(side.size[row], self._levels.shape[-1], levels)

    def _widen(self, width: int) -> None:
        missing = width - self._levels.shape[-1]
        if missing > 0:
            self._levels = np.pad(self._levels, ((0, 0),) * 4 + ((0, missing),))


def _padded(levels: Floats, width: int, have: int) -> Floats:
    return levels if have == width else np.pad(levels, ((0, 0), (0, width - have)))


def _group_starts(inst: Ints) -> Ints:
    """For each row of a sorted column the position at which its group starts."""
    first = np.empty(len(inst), np.bool_)
    first[:1] = True
    np.not_equal(inst[1:], inst[:-1], out=first[1:])
    starts: Ints = np.maximum.accumulate(np.where(first, np.arange(len(inst)), 0))
    return starts


@dataclass(frozen=True, slots=True)
class _Legs:
    """Reads a leg's levels from the batch's ticks or from the store, whichever holds them as of the row."""

    ticks: Ticks
    counts: Ints
    levels: Floats
    inst: Ints
    source: Ints
    fresh: Bools

    def top_size(self, number: int, column: Ints) -> Floats:
        k = np.arange(len(column))
        side = self.ticks.asks if number else self.ticks.bids
        stored = self.levels[self.inst, column, number, 1, 0]
        return np.where(self.fresh[column, k], side.size[self.source[column, k], 0], stored)

    def side(self, number: int, column: Ints) -> Side:
        k = np.arange(len(column))
        side = self.ticks.asks if number else self.ticks.bids
        fresh, row = self.fresh[column, k], self.source[column, k]
        count = np.where(fresh, side.count[row], self.counts[self.inst, column, number])
        width = max(int(count.max(initial=1)), 1)
        price, size = np.zeros((len(column), width)), np.zeros((len(column), width))
        old, new = ~fresh, min(width, side.price.shape[1])
        have = min(width, self.levels.shape[-1])
        price[fresh, :new], size[fresh, :new] = side.price[row[fresh], :new], side.size[row[fresh], :new]
        price[old, :have] = self.levels[self.inst[old], column[old], number, 0, :have]
        size[old, :have] = self.levels[self.inst[old], column[old], number, 1, :have]
        return Side(count, price, size)
