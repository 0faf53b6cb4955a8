"""Rows to wire bytes and back: the same messages as `arbhub.wire`, for batches of a few.

Written with one `struct` a column set, whose format, the fields' tags and lengths included, is known by the number
of rows. Read so too where a message is laid out as we write it; every reader here gives None for whatever is not,
sound or not, and leaves it to protobuf.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from arbhub.rows import MAX_ROWS, Decision, Opportunity, Tick, Verdict
from arbhub.scan import Span, column_spans
from arbhub.wire import (
    DECISION_COLUMNS,
    DEPTH_COLUMNS,
    DOUBLE,
    INT64,
    OPPORTUNITY_COLUMNS,
    TICK_COLUMNS,
    UINT32,
    VERDICT_COLUMNS,
    Dtype,
    head,
    submessage,
)

CODES = {INT64: "q", UINT32: "I", DOUBLE: "d"}


class Layout:
    """Column sets with one value a row in each column. `types` are the columns', from field 1 on."""

    def __init__(self, types: Sequence[Dtype]) -> None:
        self._types = types
        self._forms = [self._form(rows) for rows in range(MAX_ROWS + 1)]

    def _form(self, rows: int) -> tuple[Struct, tuple[bytes, ...]]:
        heads = tuple(head(number, rows * dtype.itemsize) for number, dtype in enumerate(self._types, 1))
        columns = (f"{len(h)}s{rows}{CODES[dtype]}" for h, dtype in zip(heads, self._types, strict=True))
        return Struct("<" + "".join(columns)), heads

    def encode(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """The rows' leading fields, in the order of the columns; at least one row."""
        form, heads = self._forms[len(rows)]
        values: list[Any] = []
        for before, column in zip(heads, zip(*rows, strict=True), strict=False):
            values.append(before)
            values += column
        return form.pack(*values)

    def decode(self, buffer: bytes, start: int, stop: int) -> list[tuple[Any, ...]] | None:
        """The rows of a column set, None where it is laid out in another way."""
        width = self._types[0].itemsize
        rows = buffer[start + 1] // width if stop - start > 1 else 0
        if not 0 < rows <= MAX_ROWS:
            return None
        form, heads = self._forms[rows]
        if form.size != stop - start:
            return None
        values, step = form.unpack_from(buffer, start), rows + 1
        if values[::step] != heads:
            return None
        if rows == 1:
            return [values[1::2]]
        return list(zip(*(values[at + 1 : at + step] for at in range(0, len(values), step)), strict=True))


OPPORTUNITIES, DECISIONS = Layout(OPPORTUNITY_COLUMNS), Layout(DECISION_COLUMNS)
ONE_LEVEL_TICKS, ONE_LEVEL_DEPTH = Layout(TICK_COLUMNS), Layout(DEPTH_COLUMNS)  # most batches have one level a side
VERDICTS, LIMITED_VERDICTS = Layout(VERDICT_COLUMNS[:4]), Layout(VERDICT_COLUMNS)


def decode_ticks(frame: bytes, start: int, stop: int) -> list[Tick] | None:
    """From TickColumns, whatever its depth; None where columns do not fit each other either."""
    if stop - start < 2 or frame[start + 1] > MAX_ROWS * INT64.itemsize:  # so long is the first column, the times
        return None
    table = ONE_LEVEL_TICKS.decode(frame, start, stop)
    if table is not None and all(row[3] == row[6] == 1 for row in table):
        return [Tick(t, i, v, (b,), (bs,), (a,), (as_,), e) for t, i, v, _, b, bs, _, a, as_, e in table]
    columns = _columns(frame, start, stop, TICK_COLUMNS)
    if columns is None or not 0 < len(columns[0]) <= MAX_ROWS:
        return None
    ts, instrument, venue, bid_levels, bid_price, bid_size, ask_levels, ask_price, ask_size, ts_event = columns
    bids, asks = _cut(bid_price, bid_size, bid_levels), _cut(ask_price, ask_size, ask_levels)
    if bids is None or asks is None:
        return None
    n = len(ts)
    if not n == len(instrument) == len(venue) == len(bids) == len(asks) == len(ts_event):
        return None
    rows = zip(ts, instrument, venue, bids, asks, ts_event, strict=True)
    return [Tick(t, i, v, bid[0], bid[1], ask[0], ask[1], e) for t, i, v, bid, ask, e in rows]


def decode_opportunities(frame: bytes, columns: Span, depth: Span | None) -> list[Opportunity] | None:
    """From OpportunityColumns, with the depth where there is any."""
    rows = OPPORTUNITIES.decode(frame, columns[1], columns[2])
    if rows is None:
        return None
    if depth is None or depth[1] == depth[2]:
        return [Opportunity(*row) for row in rows]
    table = ONE_LEVEL_DEPTH.decode(frame, depth[1], depth[2])
    if table is not None and len(table) == len(rows) and all(one[0] == one[3] == 1 for one in table):
        both = zip(rows, table, strict=True)
        return [Opportunity(*(*row, (a,), (as_,), (b,), (bs,))) for row, (_, a, as_, _, b, bs) in both]
    levels = _columns(frame, depth[1], depth[2], DEPTH_COLUMNS)
    if levels is None:
        return None
    asks, bids = _cut(levels[1], levels[2], levels[0]), _cut(levels[4], levels[5], levels[3])
    if asks is None or bids is None or not len(rows) == len(asks) == len(bids):
        return None
    return [Opportunity(*(*row, *ask, *bid)) for row, ask, bid in zip(rows, asks, bids, strict=True)]


def decode_verdicts(frame: bytes, start: int, stop: int) -> list[Verdict] | None:
    """From VerdictColumns."""
    rows = VERDICTS.decode(frame, start, stop)
    if rows is None:
        rows = LIMITED_VERDICTS.decode(frame, start, stop)
    return None if rows is None else [Verdict(*row) for row in rows]


def encode_opportunities(rows: Sequence[Opportunity]) -> bytes:
    """As OpportunityColumns, without the depth."""
    return OPPORTUNITIES.encode([row[:13] for row in rows])


def encode_depth(rows: Sequence[Opportunity]) -> bytes:
    """As DepthColumns."""
    if all(len(row.ask_size) == len(row.bid_size) == 1 for row in rows):
        return ONE_LEVEL_DEPTH.encode(
            [(1, *(row.ask_price or ()), *row.ask_size, 1, *row.bid_price, *row.bid_size) for row in rows]
        )
    return b"".join(
        (
            _side(1, [row.ask_price or () for row in rows], [row.ask_size for row in rows]),
            _side(4, [row.bid_price for row in rows], [row.bid_size for row in rows]),
        )
    )


def encode_ticks(rows: Sequence[Tick]) -> bytes:
    """As TickColumns."""
    return b"".join(
        (
            _packed(1, INT64, [row.ts_ns for row in rows]),
            _packed(2, UINT32, [row.instrument for row in rows]),
            _packed(3, UINT32, [row.venue for row in rows]),
            _side(4, [row.bid_price for row in rows], [row.bid_size for row in rows]),
            _side(7, [row.ask_price for row in rows], [row.ask_size for row in rows]),
            _packed(10, INT64, [row.ts_event_ns for row in rows]),
        )
    )


def encode_verdicts(rows: Sequence[Verdict]) -> bytes:
    """As VerdictColumns."""
    if rows[0].buy_limit is None:
        return VERDICTS.encode([row[:4] for row in rows])
    return LIMITED_VERDICTS.encode(rows)


def encode_decisions(rows: Sequence[Decision]) -> bytes:
    """As DecisionColumns."""
    return DECISIONS.encode(rows)


@lru_cache(maxsize=4096)
def _struct(dtype: Dtype, values: int) -> Struct:
    return Struct(f"<{values}{CODES[dtype]}")


def _columns(buffer: bytes, start: int, stop: int, types: Sequence[Dtype]) -> list[tuple[Any, ...]] | None:
    """The packed columns from field 1 on, those that are left out empty; None where there is anything else."""
    spans = column_spans(buffer, start, stop, types)
    if spans is None:
        return None
    columns: list[tuple[Any, ...]] = [()] * len(types)
    for number, begin, values in spans:
        columns[number - 1] = _struct(types[number - 1], values).unpack_from(buffer, begin)
    return columns


def _packed(number: int, dtype: Dtype, values: Sequence[Any]) -> bytes:
    return submessage(number, _struct(dtype, len(values)).pack(*values)) if values else b""


def _side(number: int, prices: Sequence[tuple[float, ...]], sizes: Sequence[tuple[float, ...]]) -> bytes:
    price, size = ([value for row in rows for value in row] for rows in (prices, sizes))
    counts = _packed(number, UINT32, [len(row) for row in prices])
    return b"".join((counts, _packed(number + 1, DOUBLE, price), _packed(number + 2, DOUBLE, size)))


Levels = tuple[tuple[float, ...], tuple[float, ...]]


def _cut(prices: tuple[float, ...], sizes: tuple[float, ...], counts: tuple[int, ...]) -> list[Levels] | None:
    """Each row's prices and sizes; None where the counts do not add up to them."""
    if not sum(counts) == len(prices) == len(sizes):
        return None
    if len(counts) == 1:
        return [(prices, sizes)]
    rows, at = [], 0
    for count in counts:
        rows.append((prices[at : at + count], sizes[at : at + count]))
        at += count
    return rows
