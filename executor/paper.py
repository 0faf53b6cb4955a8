"""The paper venue: books as the ticks give them, and what our own fills have taken out of them. Pure.

What was taken from a level stays taken until the level changes: its size is another than the one we took
from, or it is gone. So a snapshot that repeats a level does not refill it. Books are kept as they came;
levels are looked at only when an order or a taken level asks: until then a book is a mark in `LatestTicks`.
"""

import math
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from arbhub.columns import Side, Ticks
from arbhub.reference import Universe
from executor.latest import LatestTicks, rows_of
from executor.money import ZERO, affordable, exact
from executor.orders import Fill, Key, Order

Level = tuple[float, float]
Taken = dict[float, tuple[float, Decimal]]
"""price -> (the level's size when we took, how much we took in all)."""


@dataclass(slots=True)
class _Book:
    """One tick of one book: row `row` of both sides, and what we took from them. `stamp` counts up."""

    bids: Side
    asks: Side
    row: int
    stamp: int
    taken_bids: Taken = field(default_factory=dict)
    taken_asks: Taken = field(default_factory=dict)
    usable: bool | None = None


class PaperVenue:
    """The books of every venue, by (venue, symbol)."""

    def __init__(self) -> None:
        self._books: dict[Key, _Book] = {}
        self._worn: set[Key] = set()  # books that we have taken from
        self._stamp = 0
        self._universe = Universe()
        self._latest = LatestTicks(self._universe)

    def open(self, universe: Universe) -> None:
        """Ticks come with the ids of this universe from now on; the books stay."""
        for key in self._latest:
            self._book(key)
        self._universe, self._latest = universe, LatestTicks(universe)

    def replace(self, key: Key, bids: Side, asks: Side, row: int) -> None:
        """A tick: row `row` of these sides is the book now."""
        self._stamp += 1
        old = self._books.get(key)
        new = self._books[key] = _Book(bids, asks, row, self._stamp)
        if old is not None and key in self._worn:
            new.taken_bids = _unchanged(old.taken_bids, bids, row)
            new.taken_asks = _unchanged(old.taken_asks, asks, row)
            if not (new.taken_bids or new.taken_asks):
                self._worn.discard(key)

    def replace_all(self, ticks: Ticks, start: int, stop: int) -> None:
        """Ticks in order: rows start to stop, each as `replace` would take it."""
        self._stamp += 1
        self._latest.note(ticks, start, stop, self._stamp)
        if self._worn:  # what was taken may end with any tick between
            for row in rows_of(self._worn, self._universe, ticks, start, stop).tolist():
                key = self._universe.venues[ticks.venue[row]], self._universe.symbols[ticks.instrument[row]]
                self.replace(key, ticks.bids, ticks.asks, row)

    def fill(self, order: Order, fee: Decimal, budget: Decimal | None, ts_ns: int) -> list[Fill]:
        """`match` as fills made at `ts_ns`."""
        name = order.client_order_id, order.symbol, order.venue, order.buy
        got = self.match(order, fee, budget)
        return [
            Fill(name[0], n, *name[1:], price, quantity, quantity * price * fee, ts_ns)
            for n, (price, quantity) in enumerate(got)
        ]

    def match(self, order: Order, fee: Decimal, budget: Decimal | None) -> list[tuple[Decimal, Decimal]]:
        """Fill an order as (price, quantity) pairs, best level first up to its limit, and take the liquidity.

        `fee` is the taker fee as a fraction. `budget` is what the account has to pay with (quote currency to
        buy, base currency to sell), None without end.
        """
        book = self._book(order.key)
        if book is None or not _usable(book):
            return []
        side, taken = (book.asks, book.taken_asks) if order.buy else (book.bids, book.taken_bids)
        left, fills = order.quantity, []
        if budget is not None and not order.buy:
            left = min(left, max(budget, ZERO))
        for price_seen, size in side.row(book.row):
            price, before = exact(price_seen), taken.get(price_seen, (size, ZERO))[1]
            if left <= 0 or _beyond(order, price):
                break
            quantity = min(left, exact(size) - before)
            if budget is not None and order.buy:
                quantity = min(quantity, affordable(budget, price * (1 + fee)))
                budget -= quantity * price * (1 + fee)
            if quantity > 0:
                taken[price_seen] = size, before + quantity
                self._worn.add(order.key)
                fills.append((price, quantity))
                left -= quantity
        return fills

    def _book(self, key: Key) -> _Book | None:
        """The book as of its latest tick."""
        book, latest = self._books.get(key), self._latest.of(key)
        if latest is not None and (book is None or book.stamp < latest[0].stamp):
            self.replace(key, latest[0].ticks.bids, latest[0].ticks.asks, latest[1])
            book = self._books[key]
        return book


def _beyond(order: Order, price: Decimal) -> bool:
    if order.limit is None:
        return False
    return price > order.limit if order.buy else price < order.limit


def _unchanged(taken: Taken, side: Side, row: int) -> Taken:
    """What stays taken of a side that is now row `row` of `side`."""
    if not taken:
        return taken
    sizes = dict(side.row(row))
    return {price: entry for price, entry in taken.items() if sizes.get(price) == entry[0]}


def _usable(book: _Book) -> bool:
    if book.usable is None:
        bids, asks = book.bids.row(book.row), book.asks.row(book.row)
        book.usable = usable(bids, asks)
    return book.usable


def usable(bids: list[Level], asks: list[Level]) -> bool:
    """Both sides there, every price and size finite and positive, best first, and the best not crossed.

    An empty side is a venue gone silent.
    """
    if not (bids and asks):
        return False
    if not all(0 < value < math.inf for level in (*bids, *asks) for value in level):
        return False
    falling = all(better[0] > worse[0] for better, worse in pairwise(bids))
    rising = all(better[0] < worse[0] for better, worse in pairwise(asks))
    return falling and rising and bids[0][0] < asks[0][0]
