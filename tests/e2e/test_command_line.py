"""The command line with input that cannot be used: one clear sentence, and an exit code to act on."""

import gzip
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GOOD = b'{"ts_ns":5,"venue":"EX1","symbol":"BTC/BRL","bids":[[1.0,1.0]],"asks":[[2.0,1.0]]}'
BAD_LINES = {
    "not JSON": (b"{]", "JSON"),
    "a missing field": (b'{"ts_ns":6,"venue":"EX1","symbol":"BTC/BRL","bids":[]}', "asks"),
    "text for a number": (GOOD.replace(b"[[1.0", b'[["1.0"'), "bids"),
    "NaN": (GOOD.replace(b"[[1.0", b"[[NaN"), "JSON"),
    "1e999": (GOOD.replace(b"[[1.0", b"[[1e999"), "range"),
    "back in time": (GOOD.replace(b'"ts_ns":5', b'"ts_ns":4'), "back"),
}


def arbhub(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = (sys.executable, "-m", "arbhub", *map(str, words))
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with two venues' fees."""
    path = tmp_path / "arbhub.toml"
    path.write_text("[engines.fee.taker_bps]\nEX1 = 10.0\nEX2 = 10.0\n")
    return path


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(("line", "word"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_named_and_ends_the_replay(tmp_path: Path, config: Path, line: bytes, word: str) -> None:
    """The message is file:line: what is wrong, and the exit code is 2."""
    capture = tmp_path / "capture.jsonl.gz"
    capture.write_bytes(gzip.compress(GOOD + b"\n" + line + b"\n"))
    done = arbhub("replay", capture, "--config", config)
    assert done.returncode == 2
    assert f"{capture}:2: " in done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", [line for line, _ in BAD_LINES.values()], ids=BAD_LINES.keys())
def test_a_bad_line_can_be_skipped_and_is_counted(tmp_path: Path, config: Path, line: bytes) -> None:
    """With --skip-bad the other lines are decided and the report says how many were not."""
    capture = tmp_path / "capture.jsonl"
    capture.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    done = arbhub("replay", capture, "--config", config, "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert '"ticks": 2' in done.stdout
    assert '"skipped_lines": 1' in done.stdout


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("hub.dedline_ms=5", ["hub.dedline_ms", "deadline_ms"]),
        ('hub.deadline_ms="soon"', ["hub.deadline_ms", "number"]),
        ("engines.risk.on_timeout=abstain", ["engines.risk.on_timeout", "veto"]),
        ("engines.fee.budget_ms=20", ["engines.fee.budget_ms", "hub.deadline_ms"]),
    ],
)
def test_settings_that_cannot_be_used_are_named(config: Path, assignment: str, words: list[str]) -> None:
    """The message names where it stands, the key and what is allowed, and the exit code is 2."""
    done = arbhub("hub", "--config", config, "--set", assignment)
    assert done.returncode == 2
    assert all(word in done.stderr for word in ["--set", *words])


def test_a_bad_file_names_itself(tmp_path: Path) -> None:
    """`config check` says which file, which key, and exits with 2; a good file is said to be valid."""
    bad, good = tmp_path / "bad.toml", tmp_path / "good.toml"
    bad.write_text("[hub]\ndeadline_ms = -1\n")
    good.write_text("[hub]\ndeadline_ms = 5\n")
    done = arbhub("config", "check", bad)
    assert done.returncode == 2
    assert f"{bad}: hub.deadline_ms" in done.stderr
    assert arbhub("config", "check", good).returncode == 0


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("hub", "--set", "hub.http_listen="), "hub.listen"),
        (("hub", "--set", "hub.listen=127.0.0.1:0"), "hub.http_listen"),
        (("executor",), "executor.listen"),
        (("engine", "fee"), "engines.fee.place"),
        (("feed",), "feed.listen"),
        (("sandbox",), "sandbox.listen"),
    ],
)
def test_a_port_in_use_is_one_sentence(
    tmp_path: Path, config: Path, taken_port: int, command: tuple[str, ...], key: str
) -> None:
    """Every service says which address it cannot have."""
    own = ("--set", f"{key}=127.0.0.1:{taken_port}", "--set", f"executor.ledger_url=sqlite:///{tmp_path}/l.db")
    done = arbhub(*command, "--config", config, *own)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("arbhub: ")
    assert str(taken_port) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_unreachable_engine_is_one_sentence(tmp_path: Path, config: Path) -> None:
    """A replay says which engine it cannot reach, and where."""
    capture = tmp_path / "capture.jsonl"
    capture.write_bytes(GOOD + b"\n")
    done = arbhub("replay", capture, "--config", config, "--set", "engines.fee.place=127.0.0.1:1")
    assert done.returncode == 1
    assert "engine fee at 127.0.0.1:1 cannot be reached" in done.stderr


def test_a_ledger_that_is_none_is_one_sentence(tmp_path: Path, config: Path) -> None:
    """Neither a text file nor another program's database is taken for a ledger."""
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("this is a text file and not a database\n" * 100)
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE cats (name TEXT)")
    for path in (text, other):
        done = arbhub("executor", "--config", config, "--set", f"executor.ledger_url=sqlite:///{path}")
        assert done.returncode == 1
        assert str(path) in done.stderr
        assert "Traceback" not in done.stderr


def test_a_recording_that_is_none_is_one_sentence(tmp_path: Path, config: Path) -> None:
    """The sandbox names the file it cannot play back, whether it is something else or not there."""
    text = tmp_path / "text.gz"
    text.write_text("not a recording\n")
    for path in (text, tmp_path / "missing.gz"):
        options = ("--set", "sandbox.mode=playback", "--set", f'sandbox.playback.files."BTC/USDT"="{path}"')
        done = arbhub("sandbox", "--config", config, *options)
        assert done.returncode == 1
        assert str(path) in done.stderr
        assert "Traceback" not in done.stderr


def test_a_feed_without_venues_is_one_sentence(config: Path) -> None:
    """A feed that has nothing to read says which setting it lacks."""
    done = arbhub("feed", "--config", config, "--set", "feed.listen=127.0.0.1:0")
    assert done.returncode == 1
    assert "feed.venues" in done.stderr.splitlines()[-1]


def test_live_trading_is_refused(config: Path) -> None:
    """Until it is built, the executor says so and ends."""
    done = arbhub("executor", "--config", config, "--set", "executor.trading_mode=live")
    assert done.returncode == 1
    assert "live" in done.stderr


def test_every_command_explains_itself() -> None:
    """--help is there for each command of the contract."""
    for command in ("demo", "replay", "up", "hub", "engine", "feed", "executor", "sandbox", "config", "trades", "pnl"):
        done = arbhub(command, "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout
