"""Rows on the wire: the same bytes as columns, and whatever is not laid out plainly is left to protobuf."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub import rowwire, wire
from arbhub.columns import Side, Ticks
from arbhub.rows import (
    MAX_ROWS,
    Decision,
    Opportunity,
    Tick,
    Verdict,
    decision_columns,
    opportunity_columns,
    opportunity_rows,
    tick_columns,
    verdict_columns,
    verdict_rows,
)
from arbhub.scan import batch_of, budgeted_batch_of, scan
from arbhub.v1.market_pb2 import TickColumns
from arbhub.v1.opportunity_pb2 import VerdictColumns
from arbhub.wire import batch_frame, submessage

TIMES, IDS = st.integers(-(1 << 62), 1 << 62), st.integers(0, (1 << 32) - 1)
PRICES = st.floats(allow_nan=False)
LEVELS = st.lists(st.tuples(PRICES, PRICES), max_size=4).map(lambda rows: tuple(zip(*rows, strict=True)) or ((), ()))
TICKS = st.tuples(TIMES, IDS, IDS, LEVELS, LEVELS, TIMES).map(
    lambda fields: Tick(*(*fields[:3], *fields[3], *fields[4], fields[5]))
)
OPPORTUNITIES = st.builds(
    lambda ints, ids, prices, times, asks, bids: Opportunity(*ints, *ids, *prices, *times, *asks, *bids),
    st.tuples(TIMES, TIMES),
    st.tuples(IDS, IDS, IDS, IDS),
    st.tuples(PRICES, PRICES, PRICES, PRICES),
    st.tuples(TIMES, TIMES, TIMES),
    LEVELS,
    LEVELS,
)
VERDICTS = st.tuples(IDS, IDS, PRICES, PRICES).map(lambda fields: Verdict(*fields))
LIMITED = st.tuples(IDS, IDS, PRICES, PRICES, PRICES, PRICES).map(lambda fields: Verdict(*fields))


def few(rows: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    """A batch that goes as rows."""
    return st.lists(rows, min_size=1, max_size=MAX_ROWS)


@given(few(TICKS))
def test_ticks(rows: list[Tick]) -> None:
    """Written as rows or as columns they are the same bytes, and read again the same rows."""
    encoded = rowwire.encode_ticks(rows)
    assert encoded == wire.encode_ticks(tick_columns(rows))
    assert rowwire.decode_ticks(encoded, 0, len(encoded)) == rows


@given(few(OPPORTUNITIES))
def test_opportunities(rows: list[Opportunity]) -> None:
    """The same, with depth and without it."""
    columns, depth = rowwire.encode_opportunities(rows), rowwire.encode_depth(rows)
    as_columns = opportunity_columns(rows)
    assert as_columns.depth is not None
    assert (columns, depth) == (wire.encode_opportunities(as_columns), wire.encode_depth(as_columns.depth))
    both, end = columns + depth, len(columns)
    assert rowwire.decode_opportunities(both, (2, 0, end), (3, end, len(both))) == rows
    without = rowwire.decode_opportunities(columns, (2, 0, end), None)
    assert without == [Opportunity(*row[:13]) for row in rows]
    assert opportunity_rows(as_columns) == rows
    assert opportunity_rows(replace(as_columns, depth=None)) == without


@given(st.one_of(few(VERDICTS), few(LIMITED)))
def test_verdicts(rows: list[Verdict]) -> None:
    """The same, with limits and without; and from columns to rows."""
    encoded = rowwire.encode_verdicts(rows)
    assert encoded == wire.encode_verdicts(verdict_columns(rows))
    assert rowwire.decode_verdicts(encoded, 0, len(encoded)) == rows
    assert verdict_rows(verdict_columns(rows)) == rows


def test_decisions() -> None:
    """The same bytes, of more columns than a tag of one byte can number."""
    row = Decision(1, 2, 3, True, 0, 1, 2, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 9, 8.5, math.inf)
    rows = [row, row._replace(sequence=2, approved=False, reason=4)]
    assert rowwire.encode_decisions(rows) == wire.encode_decisions(decision_columns(rows, [""]))


def one_tick(**changed: object) -> TickColumns:
    """A message of one tick."""
    content = {"ts_ns": [1], "instrument": [0], "venue": [0], "bid_levels": [1], "bid_price": [1.0], "bid_size": [1.0]}
    content |= {"ask_levels": [1], "ask_price": [2.0], "ask_size": [1.0], "ts_event_ns": [0]}
    return TickColumns(**content | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        one_tick(ts_ns=[]).SerializeToString(),
        one_tick(ts_ns=[1, 2]).SerializeToString(),
        one_tick(venue=[]).SerializeToString(),
        one_tick(bid_levels=[2]).SerializeToString(),
        one_tick(ask_size=[]).SerializeToString(),
        one_tick().SerializeToString()[:-1],
        one_tick().SerializeToString() + b"\x0a",
        one_tick().SerializeToString() * 2,  # joined, as protobuf allows
        submessage(1, b"\0" * 7) + one_tick(ts_ns=[]).SerializeToString(),
        one_tick().SerializeToString() + b"\x5d\0\0\0\0",  # a field that is not known here
        b"\xff" * 40,
    ],
)
def test_what_is_not_plain_is_left_to_protobuf(encoded: bytes) -> None:
    """Columns that do not fit, are cut off, joined or unknown: None, and no exception."""
    assert rowwire.decode_ticks(encoded, 0, len(encoded)) is None


@given(st.binary(max_size=60))
def test_garbage_is_no_rows_and_no_columns(garbage: bytes) -> None:
    """Whatever comes, reading it raises nothing; columns that are read are those that protobuf reads."""
    rowwire.decode_ticks(garbage, 0, len(garbage))
    rowwire.decode_verdicts(garbage, 0, len(garbage))
    rowwire.decode_opportunities(garbage, (2, 0, len(garbage)), (3, 0, len(garbage)))
    batch_of(garbage, 2)
    budgeted_batch_of(garbage, 2, 4)
    found = wire.verdicts_in(garbage, 0, len(garbage))
    if found is not None:
        message = VerdictColumns.FromString(garbage)
        for name in wire.VERDICT_NAMES:
            assert np.array_equal(getattr(found, name), np.array(getattr(message, name)), equal_nan=True)


def test_long_batches_are_columns_in_place() -> None:
    """Too long for rows: columns are read where they lie, as protobuf reads them."""
    n = 3 * MAX_ROWS
    side = Side(np.full(n, 2), np.arange(2.0 * n).reshape(n, 2), np.ones((n, 2)))
    ticks = Ticks(np.arange(n), np.arange(n), np.zeros(n, np.int64), side, side, np.zeros(n, np.int64))
    encoded = wire.encode_ticks(ticks)
    assert rowwire.decode_ticks(encoded, 0, len(encoded)) is None
    columns = wire.ticks_in(encoded, 0, len(encoded))
    assert columns is not None
    read, same = wire.decode_ticks(columns), wire.decode_ticks(TickColumns.FromString(encoded))
    assert wire.encode_ticks(read) == wire.encode_ticks(same) == encoded


def test_a_batch_is_found_in_its_frame() -> None:
    """Its id, however long, and where its fields lie; None for other frames and for a batch without an id."""
    for batch_id in (1, 127, 128, 1 << 40):
        frame = batch_frame(5, batch_id, submessage(2, b"ab") + submessage(3, b"c" * 200))
        found = batch_of(frame, 5)
        assert found is not None
        assert found[0] == batch_id
        assert [(number, frame[start:stop]) for number, start, stop in found[1]] == [(2, b"ab"), (3, b"c" * 200)]
        assert batch_of(frame, 4) is None
    assert batch_of(submessage(5, submessage(2, b"ab")), 5) is None
    assert scan(b"\x08", 0, 1) is None


def test_a_budget_is_found_behind_the_id() -> None:
    """With a budget, without one; None where it comes elsewhere, or another number comes."""
    columns = submessage(2, b"ab")
    for budget, encoded in ((0, b""), (1, b"\x20\x01"), (1 << 40, b"\x20" + wire.varint(1 << 40))):
        frame = batch_frame(5, 300, encoded + columns)
        found = budgeted_batch_of(frame, 5, 4)
        assert found is not None
        assert (found[0], found[1], [frame[start:stop] for _, start, stop in found[2]]) == (300, budget, [b"ab"])
    for other in (columns + b"\x20\x01", b"\x28\x01" + columns, b"\x20\x01\x20\x01" + columns):
        assert budgeted_batch_of(batch_frame(5, 300, other), 5, 4) is None
