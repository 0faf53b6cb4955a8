"""A full order book kept by differences, with the update numbers that let clients notice a missing one.

Pure. Prices and sizes are whole numbers of 1e-8 (what Binance shows), so no rounding ever tells a server's
and a client's book apart. Every update that is applied takes numbers `first_id..last_id` straight after the
last ones, unless its source says that some were lost before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

UNIT = 100_000_000
Levels = Mapping[int, int]
"""Size at each price, both in 1e-8; in a difference, size 0 removes the level."""


@dataclass(frozen=True, slots=True)
class Change:
    """What moves one book: differences, how many updates they stand for, how many were lost before them."""

    venue: str
    symbol: str
    bids: Levels
    asks: Levels
    updates: int = 1
    lost: int = 0


@dataclass(slots=True)
class Book:
    """Both sides and the number of the last update in them."""

    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    last_id: int = 0

    def apply(self, change: Change) -> tuple[int, int]:
        """Take a change in; return the first and last number it got."""
        _merge(self.bids, change.bids)
        _merge(self.asks, change.asks)
        first = self.last_id + 1 + change.lost
        self.last_id = first + change.updates - 1
        return first, self.last_id

    def best_bids(self, limit: int) -> list[tuple[int, int]]:
        """The highest `limit` bids, best first."""
        return sorted(self.bids.items(), reverse=True)[:limit]

    def best_asks(self, limit: int) -> list[tuple[int, int]]:
        """The lowest `limit` asks, best first."""
        return sorted(self.asks.items())[:limit]

    def mid(self) -> int:
        """The price half way between best bid and ask, rounded down."""
        return (max(self.bids) + min(self.asks)) // 2


def difference(current: Levels, target: Levels) -> dict[int, int]:
    """What turns `current` into `target`."""
    changed = {price: size for price, size in target.items() if current.get(price) != size}
    return changed | {price: 0 for price in current if price not in target}


def units(text: str | float) -> int:
    """A decimal number as a whole number of 1e-8."""
    return int(Decimal(str(text)) * UNIT)


def decimal(value: int) -> str:
    """A whole number of 1e-8 as Binance writes it, with eight decimals."""
    return f"{value // UNIT}.{value % UNIT:08d}"


def _merge(side: dict[int, int], levels: Levels) -> None:
    for price, size in levels.items():
        if size:
            side[price] = size
        else:
            side.pop(price, None)
