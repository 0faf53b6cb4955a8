"""Control frames: state and reports come back from the wire as they went."""

from hypothesis import given
from hypothesis import strategies as st

from arbhub.control import decode_report, decode_snapshot, encode_report, encode_snapshot
from arbhub.state import FillRow, LedgerValues, Pnl, Report, Snapshot
from arbhub.v1 import ledger_pb2

NAMES, SYMBOLS = st.sampled_from(("EX1", "EX2", "é")), st.sampled_from(("BTC/BRL", "ETH/BRL"))
NUMBERS = st.floats(allow_nan=False)
TIMES = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.integers(0, 2**32 - 1)
VALUES = st.builds(
    LedgerValues,
    st.dictionaries(st.tuples(NAMES, SYMBOLS), st.tuples(NUMBERS, NUMBERS)),
    st.dictionaries(st.tuples(NAMES, NAMES), NUMBERS),
    st.dictionaries(NAMES, st.builds(Pnl, TIMES, NUMBERS, NUMBERS, NUMBERS)),
    st.dictionaries(SYMBOLS, st.tuples(COUNTS, TIMES)),
    st.lists(TIMES, max_size=3).map(tuple),
    st.integers(0, 3),
)
FILLS = st.builds(FillRow, NAMES, SYMBOLS, NAMES, st.booleans(), NUMBERS, NUMBERS, NUMBERS)
REPORTS = st.builds(
    Report,
    st.integers(1, 3),
    st.integers(0, 2**63),
    TIMES,
    TIMES,
    SYMBOLS,
    NAMES,
    st.lists(FILLS, max_size=3).map(tuple),
    VALUES,
    NUMBERS,
)


@given(st.builds(Snapshot, st.integers(0, 2**63), st.booleans(), VALUES, st.dictionaries(NAMES, NUMBERS, max_size=2)))
def test_snapshots(snapshot: Snapshot) -> None:
    """The whole state, by name."""
    message = ledger_pb2.StateSnapshot.FromString(encode_snapshot(snapshot).SerializeToString())
    assert decode_snapshot(message) == snapshot


@given(REPORTS)
def test_reports(report: Report) -> None:
    """A report with its fills and new values."""
    message = ledger_pb2.Report.FromString(encode_report(report).SerializeToString())
    assert decode_report(message) == report
