"""Columns over the wire: what protobuf itself would write, whole round trips, and columns that do not fit."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from arbhub.columns import MAX_LEVELS, Decisions, Depth, Floats, Ints, Opportunities, Side, Ticks, Verdicts
from arbhub.v1.decision_pb2 import DecisionColumns
from arbhub.v1.market_pb2 import TickColumns
from arbhub.v1.opportunity_pb2 import DepthColumns, OpportunityColumns, VerdictColumns
from arbhub.wire import (
    ColumnError,
    decode_decisions,
    decode_opportunities,
    decode_ticks,
    decode_verdicts,
    encode_decisions,
    encode_depth,
    encode_opportunities,
    encode_ticks,
    encode_verdicts,
    packed,
    submessage,
    varint,
)


def ints(n: int, low: int = -(2**63), high: int = 2**63 - 1) -> st.SearchStrategy[Ints]:
    """A column of n integers."""
    return st.lists(st.integers(low, high), min_size=n, max_size=n).map(lambda c: np.array(c, np.int64))


def ids(n: int) -> st.SearchStrategy[Ints]:
    """A column of n ids."""
    return ints(n, 0, 2**32 - 1)


def floats(n: int) -> st.SearchStrategy[Floats]:
    """A column of n numbers, NaN and infinity among them."""
    return st.lists(st.floats(), min_size=n, max_size=n).map(lambda c: np.array(c, np.float64))


@st.composite
def sides(draw: st.DrawFn, n: int) -> Side:
    """n sides of 0..4 levels."""
    levels = st.lists(st.tuples(st.floats(), st.floats()), max_size=4)
    return Side.from_levels(draw(st.lists(levels, min_size=n, max_size=n)))


@st.composite
def tick_sets(draw: st.DrawFn, n: int) -> Ticks:
    """n ticks of any figures."""
    return Ticks(draw(ints(n)), draw(ids(n)), draw(ids(n)), draw(sides(n)), draw(sides(n)), draw(ints(n)))


@st.composite
def opportunity_sets(draw: st.DrawFn, n: int) -> Opportunities:
    """n opportunities of any figures, with depth."""
    columns: list[Any] = [draw(kind(n)) for kind in (ints, ints, *(ids,) * 4, *(floats,) * 4, *(ints,) * 3)]
    columns.append(Depth(draw(sides(n)), draw(sides(n))))
    return Opportunities(*columns)


@st.composite
def verdict_sets(draw: st.DrawFn, n: int) -> Verdicts:
    """n verdicts of any figures, with limits."""
    return Verdicts(draw(ids(n)), draw(ids(n)), *[draw(floats(n)) for _ in range(4)])


@st.composite
def decision_sets(draw: st.DrawFn, n: int) -> Decisions:
    """n decisions of any figures."""
    kinds = (ints, ints, ids, ids, ids, ids, ids, *(floats,) * 7, ints, floats, floats)
    columns: list[Any] = [draw(kind(n)) for kind in kinds]
    columns[3] = columns[3] % 2 == 1  # approved
    return Decisions(*columns)


def bits(columns: object) -> list[object]:
    """Every array of a column set as its bytes, sides by their real levels."""
    if columns is None or isinstance(columns, tuple):
        return [columns]
    if isinstance(columns, np.ndarray):
        return [columns.dtype, columns.tobytes()]
    if isinstance(columns, Side):
        return [columns.count.tobytes(), *(values.tobytes() for values in columns.flat())]
    return [bits(getattr(columns, name)) for name in columns.__dataclass_fields__]  # type: ignore[attr-defined]


def by_protobuf(message_type: type[Message], arrays: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """The columns, in the order of their fields, as protobuf serialises them."""
    names = [field.name for field in message_type.DESCRIPTOR.fields]
    columns = {name: array.tolist() for name, array in zip(names, arrays, strict=True)}
    return message_type(**columns).SerializeToString()


def joined(left: Floats | None, right: Floats | None) -> Floats | None:
    """Two columns as one."""
    return None if left is None or right is None else np.concatenate([left, right])


SIZES = st.sampled_from((0, 1, 2, 5))


@given(SIZES.flatmap(tick_sets))
def test_ticks(t: Ticks) -> None:
    """Ticks are written as protobuf writes them, and come back as they were."""
    arrays = (t.ts_ns, t.instrument, t.venue, t.bids.count, *t.bids.flat(), t.asks.count, *t.asks.flat())
    encoded = encode_ticks(t)
    assert encoded == by_protobuf(TickColumns, (*arrays, t.ts_event_ns))
    assert bits(decode_ticks(TickColumns.FromString(encoded))) == bits(t)


@given(SIZES.flatmap(opportunity_sets))
def test_opportunities(o: Opportunities) -> None:
    """Opportunities and their depth likewise; without depth they come back without."""
    arrays = [getattr(o, name) for name in o.__dataclass_fields__ if name != "depth"]
    assert o.depth is not None
    depth = (o.depth.asks.count, *o.depth.asks.flat(), o.depth.bids.count, *o.depth.bids.flat())
    encoded, levels = encode_opportunities(o), encode_depth(o.depth)
    assert (encoded, levels) == (by_protobuf(OpportunityColumns, arrays), by_protobuf(DepthColumns, depth))
    message = OpportunityColumns.FromString(encoded)
    back = decode_opportunities(message, DepthColumns.FromString(levels))
    assert bits(back)[:-1] == bits(o)[:-1]
    assert bits(back.depth) == (bits(o.depth) if len(o) else [None])
    assert decode_opportunities(message, DepthColumns()).depth is None


@given(SIZES.flatmap(verdict_sets), st.booleans())
def test_verdicts(v: Verdicts, limited: bool) -> None:
    """Verdicts likewise, with limits and without."""
    v = v if limited and len(v) else Verdicts(v.verdict, v.reason, v.bps, v.quantity)
    limits = [np.zeros(0) if c is None else c for c in (v.buy_limit, v.sell_limit)]
    encoded = encode_verdicts(v)
    assert encoded == by_protobuf(VerdictColumns, (v.verdict, v.reason, v.bps, v.quantity, *limits))
    assert bits(decode_verdicts(VerdictColumns.FromString(encoded))) == bits(v)


@given(SIZES.flatmap(decision_sets))
def test_decisions(d: Decisions) -> None:
    """Decisions likewise; their reasons travel beside the columns."""
    arrays = [getattr(d, name) for name in d.__dataclass_fields__ if name != "reasons"]
    arrays[3] = d.approved.astype(np.int64)
    encoded = encode_decisions(d)
    assert encoded == by_protobuf(DecisionColumns, arrays)
    back = decode_decisions(DecisionColumns.FromString(encoded), ["SHED"])
    assert bits(back)[:-1] == bits(d)[:-1]
    assert back.reasons == ("", "SHED")


@given(tick_sets(2), tick_sets(3), verdict_sets(2), verdict_sets(3), opportunity_sets(2), opportunity_sets(1))
def test_joined_bytes_are_joined_batches(
    t1: Ticks, t2: Ticks, v1: Verdicts, v2: Verdicts, o1: Opportunities, o2: Opportunities
) -> None:
    """Column bytes of two batches one after the other are read as the rows of both."""
    ticks = decode_ticks(TickColumns.FromString(encode_ticks(t1) + encode_ticks(t2)))
    assert bits(ticks) == bits(Ticks.concatenate([t1, t2]))
    verdicts = decode_verdicts(VerdictColumns.FromString(encode_verdicts(v1) + encode_verdicts(v2)))
    both = [joined(getattr(v1, name), getattr(v2, name)) for name in v1.__dataclass_fields__]
    assert bits(verdicts) == bits(Verdicts(*both))  # type: ignore[arg-type]  # whatever each column is
    assert o1.depth is not None
    assert o2.depth is not None
    opportunities = decode_opportunities(
        OpportunityColumns.FromString(encode_opportunities(o1) + encode_opportunities(o2)),
        DepthColumns.FromString(encode_depth(o1.depth) + encode_depth(o2.depth)),
    )
    assert bits(opportunities.take(np.arange(2))) == bits(o1)
    assert bits(opportunities.take(np.array([2]))) == bits(o2)


def read_depth(m: DepthColumns) -> Opportunities:
    """The depth of two opportunities."""
    columns: dict[str, Any] = {field.name: [1, 1] for field in OpportunityColumns.DESCRIPTOR.fields}
    return decode_opportunities(OpportunityColumns(**columns), m)


READERS: list[tuple[type[Message], Callable[[Any], object]]] = [
    (TickColumns, decode_ticks),
    (OpportunityColumns, lambda m: decode_opportunities(m, DepthColumns())),
    (DepthColumns, read_depth),
    (VerdictColumns, decode_verdicts),
    (DecisionColumns, lambda m: decode_decisions(m, ())),
]
CASES = [(kind, read, field.name) for kind, read in READERS for field in kind.DESCRIPTOR.fields]


@pytest.mark.parametrize("length", [0, 1, 3])
@pytest.mark.parametrize(("kind", "read", "column"), CASES, ids=[f"{k.__name__}-{c}" for k, _, c in CASES])
def test_a_column_of_another_length_is_named(
    kind: type[Message], read: Callable[[Message], object], column: str, length: int
) -> None:
    """Each column in turn has fewer or more values than the two rows of the others: the error names it."""
    columns = {field.name: [1, 1] for field in kind.DESCRIPTOR.fields} | {column: [1] * length}
    if (column, length) == ("ts_event_ns", 0):
        read(kind(**columns))  # the one column that may be left out
        return
    with pytest.raises(ColumnError, match=rf"\b{column}\b"):
        read(kind(**columns))


def test_limits_come_together_or_not_at_all() -> None:
    """An engine that sets no limits leaves both columns out."""
    columns: dict[str, Any] = {field.name: [1, 1] for field in VerdictColumns.DESCRIPTOR.fields}
    verdicts = decode_verdicts(VerdictColumns(**columns | {"buy_limit": [], "sell_limit": []}))
    assert (verdicts.buy_limit, verdicts.sell_limit) == (None, None)


def test_level_counts_that_do_not_add_up() -> None:
    """Level counts are checked against what is there before any memory is taken for them."""
    columns: dict[str, Any] = {field.name: [1, 1] for field in TickColumns.DESCRIPTOR.fields}
    with pytest.raises(ColumnError, match="bid_price has 2 values where bid_levels adds up to 4294967296"):
        decode_ticks(TickColumns(**columns | {"bid_levels": [1, 2**32 - 1]}))


def test_a_huge_book_among_small_ones_is_cut() -> None:
    """Levels no hub may keep are not kept: one book of 100,000 levels makes no others as wide."""
    count = np.array([2, 100_000, 1])
    values = np.arange(float(count.sum()))
    side = Side.from_flat(count, values, -values)
    assert (side.price.shape, side.count.tolist()) == ((3, MAX_LEVELS), [2, MAX_LEVELS, 1])
    assert side.row(0) == [(0.0, -0.0), (1.0, -1.0)]
    assert side.row(1)[-1] == (2.0 + MAX_LEVELS - 1, -(2.0 + MAX_LEVELS - 1))
    assert side.row(2) == [(100_002.0, -100_002.0)]


@given(SIZES.flatmap(sides), st.integers(1, 5))
def test_sides_cut_to_a_depth(side: Side, depth: int) -> None:
    """Cutting on the way in and cutting afterwards leave the same best levels, and zeros beside them."""
    cut, early = side.truncated(depth), Side.from_flat(side.count, *side.flat(), depth)
    for row in range(len(side.count)):
        assert repr(cut.row(row)) == repr(early.row(row)) == repr(side.row(row)[:depth])
    assert (early.price[np.arange(early.price.shape[1]) >= early.count[:, None]] == 0).all()


@given(st.integers(0, 2**64 - 1), st.integers(1, 500), st.binary(max_size=300))
def test_frames(batch_id: int, number: int, content: bytes) -> None:
    """Varints and submessages are read back by protobuf's rules: seven bits a byte, lowest first."""
    encoded = varint(batch_id)
    assert sum((byte & 0x7F) << 7 * i for i, byte in enumerate(encoded)) == batch_id
    assert [byte >> 7 for byte in encoded] == [1] * (len(encoded) - 1) + [0]
    assert submessage(number, content) == varint(number * 8 + 2) + varint(len(content)) + content
    assert packed(number, np.zeros(0), np.dtype("<f8")) == b""
