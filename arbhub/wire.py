"""Columns to wire bytes and back.

A packed fixed-width field is its tag, its length and the array's little-endian bytes, so a column is written
without a Python object a value; protobuf reads them back. Because every column is a repeated field, encoded
column sets join by concatenation. `ColumnError` names the column that does not fit.
"""

import sys
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from arbhub.columns import Decisions, Depth, Floats, Ints, Opportunities, Side, Ticks, Verdicts
from arbhub.scan import Columns, columns_in
from arbhub.v1 import decision_pb2, market_pb2, opportunity_pb2

if sys.byteorder != "little":
    raise ImportError("arbhub writes arrays to the wire as they lie in memory and needs a little-endian machine")

Array = NDArray[np.int64] | NDArray[np.float64] | NDArray[np.bool_]
Dtype = np.dtype[np.int64] | np.dtype[np.uint32] | np.dtype[np.float64]
Scalar = TypeVar("Scalar", np.int64, np.float64)
INT64, UINT32, DOUBLE = np.dtype("<i8"), np.dtype("<u4"), np.dtype("<f8")
TICK_COLUMNS = (INT64, UINT32, UINT32, UINT32, DOUBLE, DOUBLE, UINT32, DOUBLE, DOUBLE, INT64)
OPPORTUNITY_COLUMNS = (INT64, INT64, *(UINT32,) * 4, *(DOUBLE,) * 4, *(INT64,) * 3)
DEPTH_COLUMNS = (UINT32, DOUBLE, DOUBLE) * 2
VERDICT_COLUMNS = (UINT32, UINT32, *(DOUBLE,) * 4)
DECISION_COLUMNS = (INT64, INT64, *(UINT32,) * 5, *(DOUBLE,) * 7, INT64, DOUBLE, DOUBLE)
TICK_NAMES, OPPORTUNITY_NAMES, DEPTH_NAMES, VERDICT_NAMES, DECISION_NAMES = (
    tuple(field.name for field in message.DESCRIPTOR.fields)
    for message in (
        market_pb2.TickColumns,
        opportunity_pb2.OpportunityColumns,
        opportunity_pb2.DepthColumns,
        opportunity_pb2.VerdictColumns,
        decision_pb2.DecisionColumns,
    )
)
_OF_OPPORTUNITIES, _OF_DECISIONS = attrgetter(*OPPORTUNITY_NAMES), attrgetter(*DECISION_NAMES)
_ABSENT: Floats = np.zeros(0)


class ColumnError(ValueError):
    """A column whose length does not fit the others, or a value that cannot stand in it."""


def varint(value: int) -> bytes:
    """The base-128 encoding of a non-negative integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(maxsize=1 << 14)
def head(number: int, length: int) -> bytes:
    """What stands before the content of field `number`, of so many bytes."""
    return varint(number << 3 | 2) + varint(length)


def nested(number: int, parts: Sequence[bytes]) -> list[bytes]:
    """An encoded message, in parts, as field `number` of another: long ones are copied once, when all is joined."""
    return [head(number, sum(map(len, parts))), *parts]


def submessage(number: int, *parts: bytes) -> bytes:
    """The same, joined."""
    return b"".join(nested(number, parts))


def batch_frame(number: int, batch_id: int, *parts: bytes) -> bytes:
    """An encoded batch as field `number` of a frame; the id is field 1 of every batch message."""
    return submessage(number, b"\x08", varint(batch_id), *parts)


def packed(number: int, array: Array, dtype: Dtype) -> bytes:
    """An array as the packed field `number`; nothing where it is empty."""
    return submessage(number, array.astype(dtype, copy=False).tobytes()) if len(array) else b""


def _columns(types: Iterable[np.dtype], arrays: Iterable[np.ndarray]) -> list[bytes]:
    """Two parts a column, both empty where it is."""
    parts = []
    for number, (dtype, array) in enumerate(zip(types, arrays, strict=True), 1):
        encoded = (array if array.dtype == dtype else array.astype(dtype)).tobytes()
        parts.append(head(number, len(encoded)) if encoded else b"")
        parts.append(encoded)
    return parts


def tick_parts(t: Ticks) -> list[bytes]:
    """As TickColumns, a head and the values of each column."""
    bids, asks = t.bids.flat(), t.asks.flat()
    columns = (t.ts_ns, t.instrument, t.venue, t.bids.count, *bids, t.asks.count, *asks, t.ts_event_ns)
    return _columns(TICK_COLUMNS, columns)


def opportunity_parts(o: Opportunities) -> list[bytes]:
    """As OpportunityColumns, without the depth; parts as above."""
    return _columns(OPPORTUNITY_COLUMNS, _OF_OPPORTUNITIES(o))


def depth_parts(d: Depth) -> list[bytes]:
    """As DepthColumns; parts as above."""
    return _columns(DEPTH_COLUMNS, (d.asks.count, *d.asks.flat(), d.bids.count, *d.bids.flat()))


def decision_parts(d: Decisions) -> list[bytes]:
    """As DecisionColumns; parts as above."""
    return _columns(DECISION_COLUMNS, _OF_DECISIONS(d))


def encode_ticks(t: Ticks) -> bytes:
    """As TickColumns."""
    return b"".join(tick_parts(t))


def encode_opportunities(o: Opportunities) -> bytes:
    """As OpportunityColumns, without the depth."""
    return b"".join(opportunity_parts(o))


def encode_depth(d: Depth) -> bytes:
    """As DepthColumns."""
    return b"".join(depth_parts(d))


def encode_verdicts(v: Verdicts) -> bytes:
    """As VerdictColumns."""
    none = np.zeros(0)
    limits = (none if c is None else c for c in (v.buy_limit, v.sell_limit))
    return b"".join(_columns(VERDICT_COLUMNS, (v.verdict, v.reason, v.bps, v.quantity, *limits)))


def encode_decisions(d: Decisions) -> bytes:
    """As DecisionColumns."""
    return b"".join(decision_parts(d))


def needed(reads: Iterable[Sequence[str]]) -> frozenset[str]:
    """The columns of opportunities that engines need together, each of which reads those named, or all."""
    whole = frozenset(OPPORTUNITY_NAMES)
    return frozenset({OPPORTUNITY_NAMES[0]}.union(*(whole.intersection(names) or whole for names in reads)))


def parts_of(encoded: Sequence[bytes], columns: Container[str]) -> list[bytes]:
    """Of all `opportunity_parts` those of the columns named."""
    both = zip(OPPORTUNITY_NAMES, encoded[::2], encoded[1::2], strict=True)
    return [part for name, *column in both if name in columns for part in column]


def ticks_in(frame: bytes, start: int, stop: int) -> Columns | None:
    """Encoded TickColumns, for `decode_ticks`."""
    return columns_in(frame, start, stop, TICK_NAMES, TICK_COLUMNS)


def opportunities_in(frame: bytes, start: int, stop: int) -> Columns | None:
    """Encoded OpportunityColumns, for `decode_opportunities`."""
    return columns_in(frame, start, stop, OPPORTUNITY_NAMES, OPPORTUNITY_COLUMNS)


def depth_in(frame: bytes, start: int, stop: int) -> Columns | None:
    """Encoded DepthColumns, for `decode_opportunities`."""
    return columns_in(frame, start, stop, DEPTH_NAMES, DEPTH_COLUMNS)


def verdicts_in(frame: bytes, start: int, stop: int) -> Columns | None:
    """Encoded VerdictColumns, for `decode_verdicts`."""
    return columns_in(frame, start, stop, VERDICT_NAMES, VERDICT_COLUMNS)


def decode_ticks(m: market_pb2.TickColumns | Columns) -> Ticks:
    """From TickColumns; ColumnError where the columns do not fit each other."""
    read = _Reader(m, m, "ts_ns")
    return Ticks(
        read.ints("ts_ns"),
        read.ints("instrument"),
        read.ints("venue"),
        read.side("bid_levels", "bid_price", "bid_size"),
        read.side("ask_levels", "ask_price", "ask_size"),
        read.ints("ts_event_ns") if len(m.ts_event_ns) else np.zeros(read.rows, np.int64),
    )


def decode_opportunities(
    m: opportunity_pb2.OpportunityColumns | Columns,
    depth: opportunity_pb2.DepthColumns | Columns | None,
    only: Container[str] = OPPORTUNITY_NAMES,
) -> Opportunities:
    """From OpportunityColumns, with the depth where there is any; ColumnError as above.

    Columns that are not in `only` may be missing, and are empty then: what is made of them fails, or has no row.
    """
    read, both = _Reader(m, m, "sequence"), None
    told = any(map(len, vars(depth).values())) if isinstance(depth, Columns) else depth and depth.ListFields()
    if depth is not None and told:
        levels = _Reader(depth, m, "sequence")
        both = Depth(
            levels.side("ask_levels", "ask_price", "ask_size"),
            levels.side("bid_levels", "bid_price", "bid_size"),
        )
    columns: list[Any] = []
    for name, dtype in zip(OPPORTUNITY_NAMES, OPPORTUNITY_COLUMNS, strict=True):
        if name not in only and not len(getattr(m, name)):
            columns.append(_ABSENT)
        else:
            columns.append(read.floats(name) if dtype is DOUBLE else read.ints(name))
    return Opportunities(*[*columns, both])


def decode_verdicts(m: opportunity_pb2.VerdictColumns | Columns) -> Verdicts:
    """From VerdictColumns; ColumnError as above."""
    read = _Reader(m, m, "verdict")
    limited = bool(len(m.buy_limit) or len(m.sell_limit))
    return Verdicts(
        read.ints("verdict"),
        read.ints("reason"),
        read.floats("bps"),
        read.floats("quantity"),
        read.floats("buy_limit") if limited else None,
        read.floats("sell_limit") if limited else None,
    )


def decode_decisions(m: decision_pb2.DecisionColumns, reasons: Iterable[str]) -> Decisions:
    """From DecisionColumns and the batch's reasons; ColumnError as above."""
    read = _Reader(m, m, "sequence")
    return Decisions(
        sequence=read.ints("sequence"),
        ts_ns=read.ints("ts_ns"),
        instrument=read.ints("instrument"),
        approved=read.ints("approved") != 0,
        reason=read.ints("reason"),
        buy_venue=read.ints("buy_venue"),
        sell_venue=read.ints("sell_venue"),
        gross_edge_bps=read.floats("gross_edge_bps"),
        fee_bps=read.floats("fee_bps"),
        slippage_bps=read.floats("slippage_bps"),
        net_edge_bps=read.floats("net_edge_bps"),
        quantity=read.floats("quantity"),
        buy_limit=read.floats("buy_limit"),
        sell_limit=read.floats("sell_limit"),
        expires_ns=read.ints("expires_ns"),
        buy_ask=read.floats("buy_ask"),
        sell_bid=read.floats("sell_bid"),
        reasons=("", *reasons),
    )


class _Reader:
    """Reads a message's columns as arrays and holds them to the length of one: `rows_of` in `counted`."""

    def __init__(self, message: Message | Columns, counted: Message | Columns, rows_of: str) -> None:
        self._message, self._rows_of = message, rows_of
        self.rows = len(getattr(counted, rows_of))

    def ints(self, column: str) -> Ints:
        return self._sized(column, np.asarray(getattr(self._message, column)).astype(np.int64, copy=False))

    def floats(self, column: str) -> Floats:
        return self._sized(column, np.asarray(getattr(self._message, column), np.float64))

    def side(self, count: str, price: str, size: str) -> Side:
        counts = self.ints(count)
        return Side.from_flat(counts, self._levels(price, count, counts), self._levels(size, count, counts))

    def _levels(self, column: str, count: str, counts: Ints) -> Floats:
        total, values = int(counts.sum()), np.asarray(getattr(self._message, column), np.float64)
        if len(values) != total:
            raise ColumnError(f"column {column} has {len(values)} values where {count} adds up to {total}")
        return values

    def _sized(self, column: str, values: NDArray[Scalar]) -> NDArray[Scalar]:
        if len(values) != self.rows:
            raise ColumnError(f"column {column} has {len(values)} values where {self._rows_of} has {self.rows}")
        return values
