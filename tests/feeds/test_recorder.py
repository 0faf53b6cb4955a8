"""Recordings: what is recorded replays as it was, whenever the files were begun and however they ended."""

import asyncio
import math
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from feed_probes import RememberingSink
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import MARKETDATA

from arbhub.reference import Listing, ReferenceData
from arbhub.settings.feed import FeedSettings, RecordSettings
from feeds import replay, source
from feeds.capture import CaptureError, SkippedLines, line, merge, read
from feeds.market import BookUpdate
from feeds.recorder import Recorder

SECOND = 1_000_000_000


def update(ts_ns: int, venue: str = "EX1", price: float = 10.0, silent: bool = False) -> BookUpdate:
    """A small book."""
    return BookUpdate(ts_ns, venue, "BTC/USDT", () if silent else ((price, 1.0),), ((price + 1, 2.0),), ts_ns - 7)


def record(updates: list[BookUpdate], directory: Path, **more: object) -> list[Path]:
    """Record the updates; the finished files by name."""
    with Recorder(RecordSettings.model_validate({"directory": directory, **more})) as recorder:
        recorder.reference(ReferenceData())
        for one in updates:
            recorder.publish(one)
    assert not list(directory.glob("*.part"))
    return sorted(directory.iterdir())


def test_one_file_holds_what_was_recorded(tmp_path: Path) -> None:
    """Without a reason to rotate, one file holds exactly the updates."""
    updates = [update(1, "EX1"), update(1, "EX2"), update(5, "EX1", silent=True)]
    (file,) = record(updates, tmp_path / "made" / "here")
    assert file.name == "19700101T000000.000000001Z-000.jsonl.gz"
    assert list(read(file)) == updates


def test_nothing_recorded_leaves_no_file(tmp_path: Path) -> None:
    """A recorder that is given no update writes no file."""
    assert record([], tmp_path) == []


@pytest.mark.parametrize("limit", [{"max_bytes": 300, "flush_seconds": 0.0}, {"max_seconds": 10.0}])
def test_rotation_by_size_and_time(tmp_path: Path, limit: dict[str, float]) -> None:
    """Files are bounded by size or time, sort by time, and together hold everything in order."""
    updates = [update(number * SECOND, f"EX{number % 3}", 10.0 + number) for number in range(60)]
    files = record(updates, tmp_path, **limit)
    assert len(files) > 3
    begun = [next(iter(read(file))).ts_ns for file in files]
    assert begun == sorted(begun)
    assert states(list(merge(files))) == states(updates)


def test_each_file_replays_alone(tmp_path: Path) -> None:
    """A file begins with all books as they stand, with the age they have, so that it needs no file before."""
    updates = [update(0, "EX1"), update(2 * SECOND, "EX2"), update(3 * SECOND, "EX3", silent=True)]
    later = update(11 * SECOND, "EX2", 12.0)
    files = record([*updates, later], tmp_path, max_seconds=10.0)
    silent = update(11 * SECOND, "EX3", silent=True)
    kept = [(one.ts_ns, one.venue, one.bids) for one in read(files[1])]
    assert kept == [(one.ts_ns, one.venue, one.bids) for one in (updates[0], updates[1], silent, later)]


def states(updates: list[BookUpdate]) -> list[dict[str, tuple[object, ...]]]:
    """The books after each update that changed one."""
    books: dict[str, tuple[object, ...]] = {}
    seen: list[dict[str, tuple[object, ...]]] = []
    for one in updates:
        books[one.venue] = (one.bids, one.asks)
        if not seen or seen[-1] != books:
            seen.append(dict(books))
    return seen


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(-3, 9), st.sampled_from("XYZ"), st.integers(1, 99), st.booleans())),
    st.sampled_from([1.0, 5.0, 1000.0]),
)
def test_recorded_is_replayed(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, str, int, bool]], max_seconds: float
) -> None:
    """Whatever is recorded, with a clock that may be set back, the files merged give the same books."""
    directory, now_ns, updates = tmp_path_factory.mktemp("recordings"), 10**18, []
    for seconds, venue, price, silent in moves:
        now_ns += seconds * SECOND
        updates.append(update(now_ns, venue, float(price), silent))
    files = record(updates, directory, max_seconds=max_seconds)
    assert states(list(merge(files))) == states(updates)


def test_a_clock_set_back_is_held(tmp_path: Path) -> None:
    """An update from before the last one gets the last one's time: a capture never goes back."""
    (file,) = record([update(9), update(5)], tmp_path)
    assert [one.ts_ns for one in read(file)] == [9, 9]


KILLED = """
import os, signal, sys
from arbhub.settings.feed import RecordSettings
from feeds.market import BookUpdate
from feeds.recorder import Recorder
recorder = Recorder(RecordSettings(directory=sys.argv[1], flush_seconds=1.0))
for second in range(100):
    recorder.publish(BookUpdate(second * 10**9, "EX1", "BTC/USDT", ((float(second), 1.0),), ()))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_no_more_than_the_last_flush(tmp_path: Path) -> None:
    """After kill -9 the unfinished file is readable up to the last flush; the next recorder leaves it."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".jsonl.gz.part")
    skipped = SkippedLines()
    assert [one.ts_ns // SECOND for one in read(left, skipped)] == list(range(100))
    assert skipped.count == 1
    content = left.read_bytes()
    with structlog.testing.capture_logs() as logs, Recorder(RecordSettings(directory=tmp_path)) as recorder:
        recorder.publish(update(0))
    assert left.read_bytes() == content
    assert [entry["file"] for entry in logs] == [str(left)]
    assert [one.name for one in sorted(tmp_path.iterdir())] == [
        left.name,
        left.name.replace("-000.jsonl.gz.part", "-001.jsonl.gz"),
    ]


def test_a_disk_that_fails_ends_the_recording_only(tmp_path: Path) -> None:
    """Where the next file cannot be made, that is logged once and whoever publishes is not disturbed."""
    directory = tmp_path / "recordings"
    with structlog.testing.capture_logs() as logs, Recorder(RecordSettings(directory=directory)) as recorder:
        directory.rmdir()
        recorder.publish(update(1))
        recorder.publish(update(2))
    assert [entry["event"] for entry in logs] == ["recording has ended"]


async def test_replay_states_what_occurs_first(tmp_path: Path) -> None:
    """A replay states the venues, symbols and listings of all captures, then publishes them unchanged."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(line(update(5, "EX2")) + line(update(6, "EX2")))
    second.write_bytes(line(update(5, "EX1")))
    sink = RememberingSink()
    assert await replay.play([first, second], sink, pace=math.inf, restamp=False) == 3
    assert sink.stated == [
        ReferenceData(("EX2", "EX1"), ("BTC/USDT",), (Listing("EX2", "BTC/USDT"), Listing("EX1", "BTC/USDT")))
    ]
    assert sink.updates == [update(5, "EX2"), update(5, "EX1"), update(6, "EX2")]


async def test_replay_moves_stamps_to_the_present(tmp_path: Path) -> None:
    """Restamped updates are of now, in order, with the venue's time as long before as it was."""
    path = tmp_path / "capture"
    path.write_bytes(b"".join(line(update(number)) for number in range(5)))
    sink = RememberingSink()
    await replay.play([path], sink, pace=math.inf)
    stamps = [one.ts_ns for one in sink.updates]
    assert stamps == sorted(stamps)
    assert stamps[0] > 10**18
    assert {one.ts_ns - (one.ts_event_ns or 0) for one in sink.updates} == {7}


async def test_replay_keeps_the_pace(tmp_path: Path) -> None:
    """Updates that are an hour apart are not published together, and waiting for one can be cancelled."""
    path = tmp_path / "capture"
    path.write_bytes(line(update(0)) + line(update(3600 * SECOND)))
    sink = RememberingSink()
    task = asyncio.create_task(replay.play([path], sink, pace=2.0))
    await sink.until(lambda: len(sink.updates) == 1, "the first update")
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(replay.play([path], sink, pace=1e6), 20)
    assert len(sink.updates) == 3


async def test_source_replays_and_records(tmp_path: Path) -> None:
    """A feed that replays one capture and records it writes the same capture, less the lines it skipped."""
    capture, directory = tmp_path / "capture", tmp_path / "recordings"
    capture.write_bytes(line(update(1)) + b"nonsense\n" + line(update(2, "EX2")))
    content = {
        "source": "replay",
        "captures": [str(capture)],
        "pace": math.inf,
        "restamp": False,
        "record": {"directory": str(directory)},
    }
    sink = RememberingSink()
    with pytest.raises(CaptureError, match="capture:2: not JSON"):
        await source.run(FeedSettings.model_validate(content), 20, sink)
    assert sink.updates == []
    with structlog.testing.capture_logs() as logs:
        await source.run(FeedSettings.model_validate(content | {"skip_bad": True}), 20, sink)
    assert sink.updates == [update(1), update(2, "EX2")]
    assert list(read(next(directory.iterdir()))) == sink.updates
    assert [(entry["updates"], entry["skipped"]) for entry in logs] == [(2, 1)]


RECORDED = MARKETDATA / "btcbrl-two-venues.jsonl.gz"


@pytest.mark.skipif(not RECORDED.exists(), reason=f"no recorded market data at {RECORDED}")
def test_a_real_capture_survives_recording(tmp_path: Path) -> None:
    """A real capture of two venues is read whole, and recorded again it is the same, line for line."""
    updates = list(read(RECORDED))
    assert len(updates) == 25_767
    (file,) = record(updates, tmp_path, max_seconds=1e6)
    assert list(read(file)) == updates
