"""The columns of a batch, in memory: parallel arrays, row i of each belonging together.

int64 for times, sequences and ids, float64 for prices, sizes and edges. Nothing here judges anything; the wire
form is in `arbhub.wire`. Arrays handed over in a column set are not written to afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

APPROVE, REJECT, ABSTAIN = 1, 2, 3  # arbhub.v1.Verdict; 0 is no answer
NO_VENUE = 0xFFFFFFFF
MAX_TS_NS = (1 << 62) - 1  # the year 2116; times within it have differences and sums that 64 bits hold
MAX_LEVELS = 1000  # of a side of a book; hub.depth allows no more

as_ieee754 = np.errstate(over="ignore", divide="ignore", invalid="ignore")
"""Decorates arithmetic on prices: they are positive and finite, of any magnitude, so a product may overflow and a
quotient of underflows be no number. What comes out is inf or NaN then, and the fold approves neither."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of n books, best level first: `price` and `size` have shape (n, levels).

    `count` (n,) says how many levels of a row are real; the rest are zeros.
    """

    count: Ints
    price: Floats
    size: Floats

    @classmethod
    def from_flat(cls, count: Ints, price: Floats, size: Floats, depth: int = MAX_LEVELS) -> "Side":
        """Rows of `count[i]` levels from their flattened values, cut to the best `depth` of each.

        Without a cut one huge book among many small ones would need memory for as many huge ones.
        """
        n, deepest = len(count), int(count.max(initial=1))
        if deepest <= depth and (count == deepest).all():
            return cls(count, price.reshape(n, deepest), size.reshape(n, deepest))
        level = np.arange(min(deepest, depth))
        real = level < count[:, None]
        at = ((np.cumsum(count) - count)[:, None] + level)[real]
        padded_price, padded_size = np.zeros(real.shape), np.zeros(real.shape)
        padded_price[real], padded_size[real] = price[at], size[at]
        return cls(np.minimum(count, depth), padded_price, padded_size)

    @classmethod
    def from_levels(cls, rows: Sequence[Sequence[tuple[float, float]]]) -> "Side":
        """Rows from (price, size) pairs."""
        count = np.array([len(row) for row in rows], np.int64)
        flat = [level for row in rows for level in row]
        pairs = np.array(flat, np.float64).reshape(-1, 2)
        return cls.from_flat(count, pairs[:, 0], pairs[:, 1])

    def flat(self) -> tuple[Floats, Floats]:
        """Prices and sizes of the real levels, row after row."""
        n, width = self.price.shape
        if (self.count == width).all():
            return self.price.reshape(n * width), self.size.reshape(n * width)
        real = np.arange(width) < self.count[:, None]
        return self.price[real], self.size[real]

    def arrays(self) -> tuple[Ints, Floats, Floats]:
        """Count, price and size."""
        return self.count, self.price, self.size

    def take(self, rows: Ints) -> "Side":
        """The rows given, in that order."""
        return Side(self.count[rows], self.price[rows], self.size[rows])

    def slice(self, start: int, stop: int) -> "Side":
        """Rows start to stop, as views."""
        return Side(self.count[start:stop], self.price[start:stop], self.size[start:stop])

    def truncated(self, depth: int) -> "Side":
        """The best `depth` levels of every row."""
        if self.price.shape[1] <= depth:
            return self
        return Side(np.minimum(self.count, depth), self.price[:, :depth], self.size[:, :depth])

    def row(self, index: int) -> list[tuple[float, float]]:
        """The real levels of one row."""
        n = int(self.count[index])
        return list(zip(self.price[index, :n].tolist(), self.size[index, :n].tolist(), strict=True))

    @classmethod
    def concatenate(cls, parts: "Sequence[Side]") -> "Side":
        """The rows of all parts, one after the other."""
        width = max(part.price.shape[1] for part in parts)
        price = np.concatenate([_widened(part.price, width) for part in parts])
        size = np.concatenate([_widened(part.size, width) for part in parts])
        return cls(np.concatenate([part.count for part in parts]), price, size)


def _widened(levels: Floats, width: int) -> Floats:
    missing = width - levels.shape[1]
    return np.pad(levels, ((0, 0), (0, missing))) if missing else levels


@dataclass(frozen=True, slots=True)
class Ticks:
    """n ticks, each replacing the book of one (instrument, venue). Ids as int64, `ts_event_ns` 0 if unknown."""

    ts_ns: Ints
    instrument: Ints
    venue: Ints
    bids: Side
    asks: Side
    ts_event_ns: Ints

    def __len__(self) -> int:
        return len(self.ts_ns)

    def take(self, rows: Ints) -> "Ticks":
        """The rows given, in that order."""
        return Ticks(*(getattr(self, f.name).take(rows) for f in fields(self)))

    def slice(self, start: int, stop: int) -> "Ticks":
        """Rows start to stop, as views."""
        return Ticks(
            self.ts_ns[start:stop],
            self.instrument[start:stop],
            self.venue[start:stop],
            self.bids.slice(start, stop),
            self.asks.slice(start, stop),
            self.ts_event_ns[start:stop],
        )

    def truncated(self, depth: int) -> "Ticks":
        """The same ticks with the best `depth` levels of each side."""
        bids, asks = self.bids.truncated(depth), self.asks.truncated(depth)
        if bids is self.bids and asks is self.asks:
            return self
        return Ticks(self.ts_ns, self.instrument, self.venue, bids, asks, self.ts_event_ns)

    @classmethod
    def concatenate(cls, parts: "Sequence[Ticks]") -> "Ticks":
        """The rows of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([p.ts_ns for p in parts]),
            np.concatenate([p.instrument for p in parts]),
            np.concatenate([p.venue for p in parts]),
            Side.concatenate([p.bids for p in parts]),
            Side.concatenate([p.asks for p in parts]),
            np.concatenate([p.ts_event_ns for p in parts]),
        )


@dataclass(frozen=True, slots=True)
class Depth:
    """Both legs' depth: the buy venue's asks and the sell venue's bids."""

    asks: Side
    bids: Side

    def take(self, rows: Ints) -> "Depth":
        """The rows given, in that order."""
        return Depth(self.asks.take(rows), self.bids.take(rows))

    def slice(self, start: int, stop: int) -> "Depth":
        """Rows start to stop, as views."""
        return Depth(self.asks.slice(start, stop), self.bids.slice(start, stop))


@dataclass(frozen=True, slots=True)
class Opportunities:
    """n opportunities. Prices in quote currency, sizes in base currency, `edge_since_ns` as in the design."""

    sequence: Ints
    ts_ns: Ints
    instrument: Ints
    candidate: Ints
    buy_venue: Ints
    sell_venue: Ints
    buy_ask: Floats
    buy_ask_size: Floats
    sell_bid: Floats
    sell_bid_size: Floats
    buy_ts_ns: Ints
    sell_ts_ns: Ints
    edge_since_ns: Ints
    depth: Depth | None = None

    def __len__(self) -> int:
        return len(self.sequence)

    def take(self, rows: Ints) -> "Opportunities":
        """The rows given, in that order."""
        taken = (column.take(rows) for column in _OPPORTUNITY_COLUMNS(self))
        return Opportunities(*[*taken, self.depth.take(rows) if self.depth else None])

    def slice(self, start: int, stop: int) -> "Opportunities":
        """Rows start to stop, as views."""
        cut = (column[start:stop] for column in _OPPORTUNITY_COLUMNS(self))
        return Opportunities(*[*cut, self.depth.slice(start, stop) if self.depth else None])


_OPPORTUNITY_COLUMNS = attrgetter(*(f.name for f in fields(Opportunities) if f.name != "depth"))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """n verdicts. `reason` 0 is none, k the engine's k-th; limits are None where the engine sets none."""

    verdict: Ints
    reason: Ints
    bps: Floats
    quantity: Floats
    buy_limit: Floats | None = None
    sell_limit: Floats | None = None

    def __len__(self) -> int:
        return len(self.verdict)

    def take(self, rows: Ints) -> "Verdicts":
        """The rows given, in that order."""
        cut = (None if c is None else c.take(rows) for c in (self.buy_limit, self.sell_limit))
        return Verdicts(self.verdict[rows], self.reason[rows], self.bps[rows], self.quantity[rows], *cut)

    def slice(self, start: int, stop: int) -> "Verdicts":
        """Rows start to stop, as views."""
        at = slice(start, stop)
        cut = (None if c is None else c[at] for c in (self.buy_limit, self.sell_limit))
        return Verdicts(self.verdict[at], self.reason[at], self.bps[at], self.quantity[at], *cut)


@dataclass(frozen=True, slots=True)
class Decisions:
    """n decisions. `reason` indexes `reasons` (0: approved). NaN and NO_VENUE where there is no opportunity."""

    sequence: Ints
    ts_ns: Ints
    instrument: Ints
    approved: Bools
    reason: Ints
    buy_venue: Ints
    sell_venue: Ints
    gross_edge_bps: Floats
    fee_bps: Floats
    slippage_bps: Floats
    net_edge_bps: Floats
    quantity: Floats
    buy_limit: Floats
    sell_limit: Floats
    expires_ns: Ints
    buy_ask: Floats
    sell_bid: Floats
    reasons: Sequence[str] = field(default=("",))

    def __len__(self) -> int:
        return len(self.sequence)

    def by_reason(self) -> dict[str, int]:
        """How many there are of each reason; the approved ones under ""."""
        counts = np.bincount(self.reason, minlength=1)
        return {self.reasons[code]: int(counts[code]) for code in np.nonzero(counts)[0].tolist()}

    def take(self, rows: Ints) -> "Decisions":
        """The rows given, in that order; the reasons stay as they are."""
        return Decisions(*[*(column.take(rows) for column in _DECISION_COLUMNS(self)), self.reasons])

    def slice(self, start: int, stop: int) -> "Decisions":
        """Rows start to stop, as views; the reasons stay as they are."""
        return Decisions(*[*(column[start:stop] for column in _DECISION_COLUMNS(self)), self.reasons])


_DECISION_COLUMNS = attrgetter(*(f.name for f in fields(Decisions) if f.name != "reasons"))
