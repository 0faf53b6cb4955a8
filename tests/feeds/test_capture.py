"""Captures: what is read, what is refused and in which words, and what is written."""

import gzip
import itertools
import math
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbhub.columns import MAX_TS_NS
from feeds.capture import CaptureError, SkippedLines, line, merge, read
from feeds.market import BookUpdate

GOOD = b'{"ts_ns": 5, "venue": "EX1", "symbol": "BTC/BRL", "bids": [[10.5, 1]], "asks": [[11, 2.0]]}\n'
FIELDS = '"venue": "EX1", "symbol": "BTC/BRL", "bids": [], "asks": []'

BAD_LINES = {
    "not JSON": (b"price went up\n", "not JSON: "),
    "two objects": (GOOD.strip() + GOOD, "not JSON: "),
    "cut": (GOOD[:40] + b"\n", "not JSON: "),
    "an array": (b"[1, 2]\n", "Expected `object`, got `array`"),
    "no time": (
        b'{"venue": "EX1", "symbol": "A/B", "bids": [], "asks": []}\n',
        "missing required field `ts_ns`",
    ),
    "no asks": (
        b'{"ts_ns": 5, "venue": "EX1", "symbol": "A/B", "bids": []}\n',
        "missing required field `asks`",
    ),
    "text for a price": (GOOD.replace(b"10.5", b'"10.5"'), "Expected `float`, got `str` - at `$.bids[0][0]`"),
    "bool for a size": (GOOD.replace(b"2.0", b"true"), "Expected `float`, got `bool` - at `$.asks[0][1]`"),
    "null for a price": (GOOD.replace(b"10.5", b"null"), "Expected `float`, got `null`"),
    "three in a level": (GOOD.replace(b"10.5", b"10.5, 3"), "Expected `array` of length 2"),
    "NaN": (GOOD.replace(b"10.5", b"NaN"), "not JSON: "),
    "infinity": (GOOD.replace(b"10.5", b"Infinity"), "not JSON: "),
    "1e999": (GOOD.replace(b"10.5", b"1e999"), "out of range - at `$.bids[0][0]`"),
    "text for the time": (GOOD.replace(b"5,", b'"5",', 1), "Expected `int`, got `str` - at `$.ts_ns`"),
    "fraction for the time": (GOOD.replace(b"5,", b"5.0,", 1), "Expected `int`, got `float` - at `$.ts_ns`"),
    "time over 64 bits": (GOOD.replace(b"5,", b"9223372036854775808,", 1), f"Expected `int` <= {MAX_TS_NS}"),
    "time that no difference can be made of": (
        GOOD.replace(b"5,", b"4611686018427387904,", 1),
        f"Expected `int` <= {MAX_TS_NS}",
    ),
    "time long gone": (GOOD.replace(b"5,", b"-4611686018427387904,", 1), f"Expected `int` >= {-MAX_TS_NS}"),
    "event time over 64 bits": (
        GOOD.replace(b"{", b'{"ts_event_ns": 1' + b"0" * 30 + b",", 1),
        "$.ts_event_ns",
    ),
    "no symbol": (GOOD.replace(b"BTC/BRL", b"BTCBRL"), "symbol 'BTCBRL' is not of the form"),
    "half a symbol": (GOOD.replace(b"BTC/BRL", b"BTC/"), "symbol 'BTC/' is not of the form"),
    "no venue": (GOOD.replace(b"EX1", b""), "length >= 1 - at `$.venue`"),
    "back in time": (GOOD.replace(b"5,", b"4,", 1), "ts_ns 4 goes back in time: a line before it has 5"),
    "not UTF-8": (GOOD.replace(b"EX1", b"EX\xff"), "not UTF-8: invalid start byte"),
    "half a surrogate": (GOOD.replace(b"EX1", b"\\ud800"), "not JSON: "),
    "nested without end": (GOOD.replace(b"{", b'{"more": ' + b"[" * 100_000, 1), "nested too deeply"),
    "blank": (b"  \n", "blank line"),
}


def write(path: Path, *lines: bytes, packed: bool = False) -> Path:
    """A capture of these lines."""
    content = b"".join(lines)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_reads_every_field(tmp_path: Path, packed: bool) -> None:
    """A capture is read alike plain and gzipped, whatever its name, and unknown fields are ignored."""
    extra = GOOD.replace(b"{", b'{"note": [1, {}], "ts_event_ns": -3, ', 1)
    got = list(read(write(tmp_path / "capture", GOOD, extra, packed=packed)))
    assert got[0] == BookUpdate(5, "EX1", "BTC/BRL", ((10.5, 1.0),), ((11.0, 2.0),))
    assert got[1] == BookUpdate(5, "EX1", "BTC/BRL", ((10.5, 1.0),), ((11.0, 2.0),), -3)


def test_the_hub_judges_books(tmp_path: Path) -> None:
    """Crossed, zero, negative and one-sided books are read as they are: they are the hub's to refuse."""
    odd = GOOD.replace(b"10.5", b"12"), GOOD.replace(b"10.5", b"-0.0"), GOOD.replace(b"[[11, 2.0]]", b"[]")
    assert [update.bids[0][0] for update in read(write(tmp_path / "capture", *odd))] == [12.0, 0.0, 10.5]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_line_is_named(tmp_path: Path, name: str, packed: bool) -> None:
    """A bad line raises with file, line and reason, after the good lines before it."""
    text, reason = BAD_LINES[name]
    path = write(tmp_path / "capture", GOOD, GOOD, text, GOOD, packed=packed)
    updates = read(path)
    assert len(list(itertools.islice(updates, 2))) == 2
    with pytest.raises(CaptureError) as caught:
        next(updates)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_line_is_skipped_and_counted(tmp_path: Path, name: str) -> None:
    """Where bad lines are to be skipped, the others are read and the bad one is counted."""
    skipped = SkippedLines()
    path = write(tmp_path / "capture", GOOD, BAD_LINES[name][0], GOOD)
    assert len(list(read(path, skipped))) == 2
    assert skipped.count == 1
    assert str(skipped.first).startswith(f"{path}:2: ")


def test_a_skipped_line_sets_no_time(tmp_path: Path) -> None:
    """Time goes on from the last line that was accepted, not from one that was skipped."""
    skipped = SkippedLines()
    times = [5, 3, 4, 5, 6]
    lines = [GOOD.replace(b"5,", f"{time},".encode(), 1) for time in times]
    assert [update.ts_ns for update in read(write(tmp_path / "capture", *lines), skipped)] == [5, 5, 6]
    assert skipped.count == 2


def test_blank_lines_at_the_end_are_nothing(tmp_path: Path) -> None:
    """Blank lines after the last line, or none at all, and an empty file are no errors."""
    assert len(list(read(write(tmp_path / "capture", GOOD, b"\n", b" \n")))) == 1
    assert len(list(read(write(tmp_path / "capture", GOOD.rstrip())))) == 1
    assert list(read(write(tmp_path / "capture"))) == []


@pytest.mark.parametrize("cut", [1, 8, 9, 20])
def test_cut_gzip_is_named(tmp_path: Path, cut: int) -> None:
    """A gzip file that ends too early, in its checksum or before, is one bad line."""
    path = tmp_path / "capture"
    path.write_bytes(gzip.compress(GOOD * 3)[:-cut])
    with pytest.raises(CaptureError, match=r"capture:\d+: the gzip data end too early"):
        list(read(path))
    skipped = SkippedLines()
    list(read(path, skipped))
    assert skipped.count == 1


def test_what_is_readable_of_a_cut_gzip_is_read(tmp_path: Path) -> None:
    """All lines up to the last flush before the cut come out before the error."""
    path = tmp_path / "capture"
    with path.open("wb") as raw:
        packed = gzip.GzipFile(mode="wb", fileobj=raw)
        packed.write(GOOD * 1000)
        packed.flush()
        raw.flush()
        kept = path.read_bytes()
        packed.write(GOOD)
        packed.close()
    path.write_bytes(kept)
    skipped = SkippedLines()
    assert len(list(read(path, skipped))) == 1000
    assert str(skipped.first) == f"{path}:1001: the gzip data end too early: the file is cut"


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    """Gzip data that do not unpack, or whose checksum is wrong, are one error."""
    whole = gzip.compress(GOOD * 3)
    for damaged in (whole[:-8] + bytes(8), whole[:12] + bytes(8) + whole[20:]):
        path = tmp_path / "capture"
        path.write_bytes(damaged)
        with pytest.raises(CaptureError, match=r"capture:\d+: (the gzip data are damaged|not JSON)"):
            list(read(path))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and a directory are errors that name the path, even where bad lines are skipped."""
    with pytest.raises(CaptureError, match="missing: No such file"):
        list(read(tmp_path / "missing", SkippedLines()))
    with pytest.raises(CaptureError, match=f"{tmp_path.name}: Is a directory"):
        list(read(tmp_path, SkippedLines()))


def test_merge_is_by_time_then_argument_then_line(tmp_path: Path) -> None:
    """Several captures come out as one, ties by argument, then line."""

    def capture(name: str, *times: int) -> Path:
        updates = [BookUpdate(time, f"{name}{number}", "A/B", (), ()) for number, time in enumerate(times)]
        return write(tmp_path / name, *map(line, updates))

    first, second = capture("b", 1, 5, 5, 9), capture("a", 0, 5, 5, 7)
    names = [update.venue for update in merge([first, second])]
    assert names == ["a0", "b0", "b1", "b2", "a1", "a2", "a3", "b3"]


finite_numbers = st.floats(allow_nan=False, allow_infinity=False)
sides = st.lists(st.tuples(finite_numbers, finite_numbers), max_size=4).map(tuple)
times = st.integers(-MAX_TS_NS, MAX_TS_NS)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
updates = st.builds(
    BookUpdate,
    times,
    words,
    st.tuples(words, words).map(lambda pair: "/".join(part.replace("/", "|") for part in pair)),
    sides,
    sides,
    st.none() | times,
)


@settings(deadline=None)
@given(st.lists(updates, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, written: list[BookUpdate]) -> None:
    """Any updates in time order are read back as they were written, to the bit."""
    written.sort(key=lambda update: update.ts_ns)
    path = write(tmp_path_factory.mktemp("capture") / "capture", *map(line, written))
    assert list(read(path)) == written


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([GOOD.strip(), GOOD[:30]]), max_size=6))
def test_anything_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    """Whatever is in a file, reading it ends in updates and counted lines, never in another exception."""
    content = b"\n".join(lines)
    path = write(tmp_path_factory.mktemp("capture") / "capture", content)
    skipped = SkippedLines()
    read_lines = len(list(read(path, skipped)))
    if not content.startswith(b"\x1f\x8b"):  # what says that it is gzip has no lines until it is one
        assert read_lines >= sum(text == GOOD.strip() for text in content.split(b"\n"))


def test_a_line_has_the_format_of_the_contract() -> None:
    """A written line holds the fields of the contract, the venue's time only if there is one."""
    update = BookUpdate(7, "EX1", "BTC/BRL", ((10.5, 1.0),), ())
    assert line(update) == b'{"ts_ns":7,"venue":"EX1","symbol":"BTC/BRL","bids":[[10.5,1.0]],"asks":[]}\n'
    assert orjson.loads(line(BookUpdate(7, "null", "A/B", (), (), 8)))["ts_event_ns"] == 8


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_line_holds_what_is_no_number(number: float) -> None:
    """A book with NaN or infinity is not written: it could not be read again."""
    with pytest.raises(ValueError, match="book of A/B on EX1"):
        line(BookUpdate(7, "EX1", "A/B", ((1.0, 1.0),), ((2.0, number),)))
