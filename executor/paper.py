"""The paper venue: books as the ticks give them, and what our own fills have taken out of them. Pure.

What was taken from a level stays taken until the level changes: its size is another than the one we took
from, or it is gone. So a snapshot that repeats a level does not refill it. Books are kept as they came;
levels are looked at only when an order or a taken level asks.
"""

import math
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from arbhub.columns import Side
from executor.money import ZERO, affordable, exact
from executor.orders import Key, Order

Level = tuple[float, float]
Taken = dict[float, tuple[float, Decimal]]
"""price -> (the level's size when we took, how much we took in all)."""


@dataclass(slots=True)
class _Book:
    """The latest tick of one book: row `row` of both sides, and what we took from them."""

    bids: Side
    asks: Side
    row: int
    taken_bids: Taken = field(default_factory=dict)
    taken_asks: Taken = field(default_factory=dict)
    usable: bool | None = None


class PaperVenue:
    """The books of every venue, by (venue, symbol)."""

    def __init__(self) -> None:
        self._books: dict[Key, _Book] = {}

    def replace(self, key: Key, bids: Side, asks: Side, row: int) -> None:
        """A tick: row `row` of these sides is the book now."""
        old = self._books.get(key)
        new = self._books[key] = _Book(bids, asks, row)
        if old and old.taken_bids:
            new.taken_bids = _unchanged(old.taken_bids, bids.row(row))
        if old and old.taken_asks:
            new.taken_asks = _unchanged(old.taken_asks, asks.row(row))

    def match(self, order: Order, fee: Decimal, budget: Decimal | None) -> list[tuple[Decimal, Decimal]]:
        """Fill an order as (price, quantity) pairs, best level first up to its limit, and take the liquidity.

        `fee` is the taker fee as a fraction. `budget` is what the account has to pay with (quote currency to
        buy, base currency to sell), None without end.
        """
        book = self._books.get(order.key)
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
                fills.append((price, quantity))
                left -= quantity
        return fills


def _beyond(order: Order, price: Decimal) -> bool:
    if order.limit is None:
        return False
    return price > order.limit if order.buy else price < order.limit


def _unchanged(taken: Taken, levels: list[Level]) -> Taken:
    """What stays taken of a side that is now `levels`."""
    sizes = dict(levels)
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
