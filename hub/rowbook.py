"""The book for a few ticks at a time: what `hub.book` makes of a batch, one tick after the other.

It reads and writes the same store through views that give Python numbers, and gives the same outcomes to the bit.
Only for ticks that are taken in; a batch with more levels than the store has yet is refused whole, and is for
`Books.apply`, which widens the store.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from arbhub.columns import Floats
from arbhub.rows import Opportunity, Tick
from hub.asof import NO_COUNTERPART, OPPORTUNITY, SAME_VENUE
from hub.book import Books
from hub.levels import Levels

INF = float("inf")


class ResolvedRow(NamedTuple):
    """A tick after the book: its outcome, and the opportunity where there is one."""

    outcome: int
    opportunity: Opportunity | None


class RowBooks:
    """`books`, tick by tick. Follows the store whenever it grows."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._prices: tuple[Floats | None, Floats | None] = (None, None)
        self._follow()

    def _follow(self) -> None:
        """Look at the store's arrays of now. Whatever replaces any of them replaces a side's prices too."""
        s = self._books.store
        if self._prices[0] is s.bids.price and self._prices[1] is s.asks.price:
            return
        self._prices = s.bids.price, s.asks.price
        self._column, self._venue = s.column.tolist(), s.venue.tolist()
        self._columns = range(len(self._venue))
        self._usable, self._ts = _view(s.usable), _view(s.ts)
        self._run_legs, self._run_since = _view(s.run_legs), _view(s.run_since)
        self._bids, self._asks = _SideView(s.bids), _SideView(s.asks)

    def apply(self, ticks: Sequence[Tick], first_sequence: int) -> list[ResolvedRow] | None:
        """Take the ticks in, in order, and return what each of them offers; None, and nothing taken in, as above."""
        self._follow()
        for tick in ticks:
            if not self._fits(tick):
                return None
        return [self._resolved(tick, sequence) for sequence, tick in enumerate(ticks, first_sequence)]

    def peek(self, tick: Tick) -> ResolvedRow | None:
        """What one tick would offer, leaving the books as they are; None as above."""
        self._follow()
        if not self._fits(tick):
            return None
        instrument, column = tick.instrument, self._column[tick.venue]
        usable, ts_ns = self._usable[instrument, column], self._ts[instrument, column]
        legs, since_ns = self._run_legs[instrument], self._run_since[instrument]
        bids, asks = self._bids.levels(instrument, column), self._asks.levels(instrument, column)
        try:
            return self._resolved(tick, 0)
        finally:
            self._usable[instrument, column], self._ts[instrument, column] = usable, ts_ns
            self._run_legs[instrument], self._run_since[instrument] = legs, since_ns
            self._bids.put(instrument, column, *bids)
            self._asks.put(instrument, column, *asks)

    def _fits(self, tick: Tick) -> bool:
        levels = max(len(tick.bid_price), len(tick.ask_price))
        return levels <= self._books.depth and levels <= self._bids.width and levels <= self._asks.width

    def _resolved(self, tick: Tick, sequence: int) -> ResolvedRow:
        instrument, column, ts_ns = tick.instrument, self._column[tick.venue], tick.ts_ns
        self._usable[instrument, column] = well_formed(tick)
        self._ts[instrument, column] = ts_ns
        self._bids.put(instrument, column, tick.bid_price, tick.bid_size)
        self._asks.put(instrument, column, tick.ask_price, tick.ask_size)
        buy, ask, sell, bid, usable = self._best(instrument, ts_ns)
        offered = usable > 1 and buy != sell
        since_ns = self._since(instrument, ts_ns, buy * len(self._columns) + sell if offered and bid > ask else -1)
        if not offered:
            return ResolvedRow(SAME_VENUE if usable > 1 else NO_COUNTERPART, None)
        ask_price, ask_size = self._asks.levels(instrument, buy)
        bid_price, bid_size = self._bids.levels(instrument, sell)
        return ResolvedRow(
            OPPORTUNITY,
            Opportunity(
                sequence, ts_ns, instrument, 0, self._venue[buy], self._venue[sell],
                ask, ask_size[0], bid, bid_size[0],
                self._ts[instrument, buy], self._ts[instrument, sell], since_ns,
                ask_price, ask_size, bid_price, bid_size,
            ),
        )  # fmt: skip

    def _best(self, instrument: int, now_ns: int) -> tuple[int, float, int, float, int]:
        """The lowest ask's column and price, the highest bid's, and how many venues are usable."""
        oldest_ns = self._books.max_age_ns  # compared as floats, as the columns are
        usables, times, bids, asks = self._usable, self._ts, self._bids.price, self._asks.price
        buy = sell = usable = 0
        ask, bid = INF, -INF
        for column in self._columns:
            if usables[instrument, column] and float(now_ns - times[instrument, column]) <= oldest_ns:
                usable += 1
                offer, request = asks[instrument, column, 0], bids[instrument, column, 0]
                if offer < ask:
                    buy, ask = column, offer
                if request > bid:
                    sell, bid = column, request
        return buy, ask, sell, bid, usable

    def _since(self, instrument: int, ts_ns: int, legs: int) -> int:
        """Since when these legs have shown an edge without a break; now where they do not."""
        since_ns: int = ts_ns if legs < 0 or legs != self._run_legs[instrument] else self._run_since[instrument]
        self._run_legs[instrument], self._run_since[instrument] = legs, since_ns
        return since_ns


def _view(array: NDArray[Any]) -> Any:
    """The array's own memory, item by item as Python numbers; a memoryview's types know one dimension only."""
    return array.data


class _SideView:
    """One side of every stored book. `price` gives a price by (instrument, column, level)."""

    def __init__(self, levels: Levels) -> None:
        self._table = levels
        self.width = levels.price.shape[2]
        self._count, self.price, self._size = _view(levels.count), _view(levels.price), _view(levels.size)

    def put(self, instrument: int, column: int, prices: Sequence[float], sizes: Sequence[float]) -> None:
        """Replace a book's side; zeros beyond its last level."""
        self._count[instrument, column] = len(prices)
        if self.width == 1 and prices:
            self.price[instrument, column, 0], self._size[instrument, column, 0] = prices[0], sizes[0]
            return
        for table, values in ((self._table.price, prices), (self._table.size, sizes)):
            row = table[instrument, column]
            row[: len(values)] = values
            row[len(values) :] = 0.0

    def levels(self, instrument: int, column: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Prices and sizes of a book's side."""
        count = self._count[instrument, column]
        if count == 1:
            return (self.price[instrument, column, 0],), (self._size[instrument, column, 0],)
        prices, sizes = (t[instrument, column, :count].tolist() for t in (self._table.price, self._table.size))
        return tuple(prices), tuple(sizes)


def well_formed(tick: Tick) -> bool:
    """As `hub.book.well_formed`: positive, finite, in order, uncrossed, both sides there."""
    if not tick.bid_price or not tick.ask_price or not tick.bid_price[0] < tick.ask_price[0]:
        return False
    better = INF
    for price, size in zip(tick.bid_price, tick.bid_size, strict=True):
        if not (0.0 < price <= better and price < INF and 0.0 < size < INF):
            return False
        better = price
    better = 0.0
    for price, size in zip(tick.ask_price, tick.ask_size, strict=True):
        if not (price > 0.0 and better <= price < INF and 0.0 < size < INF):
            return False
        better = price
    return True
