"""A few ticks, opportunities, verdicts or decisions, a tuple each: the other form of what `arbhub.columns` holds.

An array costs about a microsecond a touch whatever is in it, so a batch of one or two pays for hundreds of rows that
are not there. Such batches go as rows of Python numbers instead, through code that reads one row at a time. Both
forms mean the same, to the bit: what a row function cannot answer exactly as the columns would, it leaves to them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from arbhub.columns import Decisions, Depth, Opportunities, Side, Ticks, Verdicts

MAX_ROWS = 12  # of a batch that goes as rows; longer ones are faster as columns


class Tick(NamedTuple):
    """A tick; prices and sizes of its levels, best first."""

    ts_ns: int
    instrument: int
    venue: int
    bid_price: tuple[float, ...]
    bid_size: tuple[float, ...]
    ask_price: tuple[float, ...]
    ask_size: tuple[float, ...]
    ts_event_ns: int


class Opportunity(NamedTuple):
    """An opportunity; the levels of its buy venue's asks and its sell venue's bids, None where they are not told."""

    sequence: int
    ts_ns: int
    instrument: int
    candidate: int
    buy_venue: int
    sell_venue: int
    buy_ask: float
    buy_ask_size: float
    sell_bid: float
    sell_bid_size: float
    buy_ts_ns: int
    sell_ts_ns: int
    edge_since_ns: int
    ask_price: tuple[float, ...] | None = None
    ask_size: tuple[float, ...] = ()
    bid_price: tuple[float, ...] = ()
    bid_size: tuple[float, ...] = ()


class Verdict(NamedTuple):
    """A verdict. `reason` 0 is none, k the engine's k-th; the limits are None where the engine sets none."""

    verdict: int
    reason: int
    bps: float
    quantity: float
    buy_limit: float | None = None
    sell_limit: float | None = None


Answer = Verdicts | list[Verdict]
"""What an engine says of a batch, in either form."""


class Decision(NamedTuple):
    """A decision, its fields those of `Decisions` in that order; `reason` is the hub's code, 0: approved."""

    sequence: int
    ts_ns: int
    instrument: int
    approved: bool
    reason: int
    buy_venue: int
    sell_venue: int
    gross_edge_bps: float
    fee_bps: float
    slippage_bps: float
    net_edge_bps: float
    quantity: float
    buy_limit: float
    sell_limit: float
    expires_ns: int
    buy_ask: float
    sell_bid: float


def tick_columns(rows: Sequence[Tick]) -> Ticks:
    """The same ticks as columns."""
    return Ticks(
        np.array([r.ts_ns for r in rows], np.int64),
        np.array([r.instrument for r in rows], np.int64),
        np.array([r.venue for r in rows], np.int64),
        _side([(r.bid_price, r.bid_size) for r in rows]),
        _side([(r.ask_price, r.ask_size) for r in rows]),
        np.array([r.ts_event_ns for r in rows], np.int64),
    )


def opportunity_columns(rows: Sequence[Opportunity]) -> Opportunities:
    """The same opportunities as columns, with depth if every one has it."""
    ints, floats = np.int64, np.float64
    types = (*(ints,) * 6, *(floats,) * 4, *(ints,) * 3)
    table = list(zip(*(row[: len(types)] for row in rows), strict=True)) or [()] * len(types)
    depth = None
    if all(row.ask_price is not None for row in rows):
        asks = _side([(row.ask_price or (), row.ask_size) for row in rows])
        depth = Depth(asks, _side([(row.bid_price, row.bid_size) for row in rows]))
    columns: Iterator[Any] = (np.array(column, dtype) for column, dtype in zip(table, types, strict=True))
    return replace(Opportunities(*columns), depth=depth)


def opportunity_rows(o: Opportunities) -> list[Opportunity]:
    """The same opportunities as rows."""
    columns = [getattr(o, name).tolist() for name in Opportunity._fields[:13]]
    if o.depth is not None:
        columns += [*_levels(o.depth.asks), *_levels(o.depth.bids)]
    return [Opportunity(*row) for row in zip(*columns, strict=True)]


def verdict_columns(rows: Sequence[Verdict]) -> Verdicts:
    """The same verdicts as columns: of one engine, so that all of them set limits, or none."""
    limited = bool(rows) and rows[0].buy_limit is not None
    return Verdicts(
        np.array([r.verdict for r in rows], np.int64),
        np.array([r.reason for r in rows], np.int64),
        np.array([r.bps for r in rows], np.float64),
        np.array([r.quantity for r in rows], np.float64),
        np.array([r.buy_limit for r in rows], np.float64) if limited else None,
        np.array([r.sell_limit for r in rows], np.float64) if limited else None,
    )


def verdict_rows(v: Verdicts) -> list[Verdict]:
    """The same verdicts as rows."""
    columns = [v.verdict, v.reason, v.bps, v.quantity]
    if v.buy_limit is not None and v.sell_limit is not None:
        columns += [v.buy_limit, v.sell_limit]
    return [Verdict(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def decision_columns(rows: Sequence[Decision], reasons: Sequence[str]) -> Decisions:
    """The same decisions as columns."""
    ints, floats = np.int64, np.float64
    types = (ints, ints, ints, np.bool_, ints, ints, ints, *(floats,) * 7, ints, floats, floats)
    table = list(zip(*rows, strict=True)) or [()] * len(types)
    columns: Iterator[Any] = (np.array(column, dtype) for column, dtype in zip(table, types, strict=True))
    return replace(Decisions(*columns), reasons=reasons)


def decision_rows(decided: Decisions | list[Decision]) -> list[Decision]:
    """Decisions in whichever form as rows."""
    if isinstance(decided, list):
        return decided
    columns = (getattr(decided, name).tolist() for name in Decision._fields)
    return [Decision(*row) for row in zip(*columns, strict=True)]


def _side(rows: Sequence[tuple[tuple[float, ...], tuple[float, ...]]]) -> Side:
    count = np.array([len(prices) for prices, _ in rows], np.int64)
    price = np.array([p for prices, _ in rows for p in prices], np.float64)
    return Side.from_flat(count, price, np.array([s for _, sizes in rows for s in sizes], np.float64))


def _levels(side: Side) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Each row's prices, and each row's sizes."""
    prices, sizes = (
        [tuple(row[:n]) for n, row in zip(side.count.tolist(), table.tolist(), strict=True)]
        for table in (side.price, side.size)
    )
    return prices, sizes
