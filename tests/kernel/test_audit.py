"""The audit trail: on disk in order, whole lines, readable by us alone, and nobody is held up by it."""

import asyncio
import stat
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from arbhub.security.audit import Audit
from arbhub.service import ServiceError


def lines(file: Path) -> list[dict[str, object]]:
    """What the trail says."""
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


async def test_an_act_is_a_line_in_log_and_file(tmp_path: Path) -> None:
    """With who, what, version, outcome and whatever else was said, on disk when `record` returns."""
    file = tmp_path / "audit.jsonl"
    audit = Audit(file, lambda: 1_700_000_000_000_000_000)
    with capture_logs() as logs:
        await audit.record(who="client from 127.0.0.1", what="reload", outcome="done", version="2-abc", ticks=7)
    said = {
        "audit": True,
        "who": "client from 127.0.0.1",
        "what": "reload",
        "version": "2-abc",
        "outcome": "done",
        "ticks": 7,
    }
    assert lines(file) == [{"at": "2023-11-14T22:13:20+00:00", **said}]
    assert logs == [{"event": "admin", "log_level": "info", **said}]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    audit.close()


async def test_lines_are_appended_in_order(tmp_path: Path) -> None:
    """What was there stays, and many acts at once are one after the other, each on a line of its own."""
    file = tmp_path / "audit.jsonl"
    for first in (0, 50):
        audit = Audit(file)
        acts = (audit.record(who="me", what="halt", outcome="done", n=n) for n in range(first, first + 50))
        await asyncio.gather(*acts)
        audit.close()
    assert [line["n"] for line in lines(file)] == list(range(100))


async def test_what_a_caller_says_is_one_line(tmp_path: Path) -> None:
    """Line ends and what terminals obey are taken out, and too much is cut."""
    audit = Audit(tmp_path / "audit.jsonl")
    await audit.record(who="me", what="halt", outcome="done", why="first\nsecond \x1b[2J" + "x" * 5000)
    (line,) = lines(tmp_path / "audit.jsonl")
    assert str(line["why"]).startswith("first\ufffdsecond \ufffd[2J")
    assert len(str(line["why"])) == 1000
    audit.close()


async def test_a_trail_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """The act goes on, the log says so, and what comes later is written again."""
    folder = tmp_path / "trail"
    folder.mkdir()
    audit = Audit(folder / "audit.jsonl")
    (folder / "audit.jsonl").unlink()
    (folder / "audit.jsonl").mkdir()
    with capture_logs() as logs:
        await audit.record(who="me", what="halt", outcome="done")
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("admin", "info"),
        ("the audit trail was not written", "error"),
    ]
    assert audit.failed == 1
    (folder / "audit.jsonl").rmdir()
    await audit.record(who="me", what="resume", outcome="done")
    assert [line["what"] for line in lines(folder / "audit.jsonl")] == ["resume"]
    audit.close()


async def test_a_full_disk_leaves_whole_lines() -> None:
    """A device that is always full refuses every line; nobody is stopped, and all are counted."""
    audit = Audit()
    audit._file = Path("/dev/full")
    await audit.record(who="me", what="halt", outcome="done")
    assert audit.failed == 1
    audit.close()


def test_a_place_that_cannot_be_is_said_at_the_start(tmp_path: Path) -> None:
    """Not at the first act."""
    with pytest.raises(ServiceError, match=r"hub.audit_file: .*/no/audit cannot be written: No such file"):
        Audit(tmp_path / "no" / "audit")
