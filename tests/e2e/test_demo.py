"""`arbhub demo` and `arbhub up` as a person runs them: they trade, they end when told, and leave nothing behind."""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import tomli_w
from running_arbhub import PATIENCE_S, states

from arbhub.cli.demo import on_free_ports


@contextlib.contextmanager
def started(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command under way; killed at the end if it still is."""
    command = (sys.executable, "-m", "arbhub", *map(str, words))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def left_behind(mark: str) -> list[str]:
    """Command lines of running processes that have `mark` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if mark in line:
                found.append(line)
    return found


def folder_named(process: subprocess.Popen[str]) -> str:
    """The demo's folder, from the first line it prints."""
    assert process.stdout is not None
    found = re.search(r"/\S+arbhub-demo-\w+", process.stdout.readline())
    assert found
    return found.group()


def test_the_demo_trades_and_ends(tmp_path: Path) -> None:
    """Off a terminal it prints plain lines and a summary with fills, writes its report, and exits with 0."""
    report = tmp_path / "report.json"
    with started("demo", "--seconds", "6", "--report", report) as process:
        folder = folder_named(process)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert re.search(r"ticks \d+  approved \d+  fills \d+", out)
    assert re.search(r"fills: \d+, the last: (buy|sell) ", out)
    state = orjson.loads(report.read_bytes())
    assert int(state["fills"]) > 0
    assert int(state["ticks"]) == int(state["approved"]) + sum(map(int, state["rejected"].values()))
    assert not Path(folder).exists()
    assert left_behind(folder) == []


@pytest.mark.parametrize("when", ["while it starts", "while it trades"])
def test_ctrl_c_ends_the_demo_cleanly(when: str) -> None:
    """At any time an interrupt ends it with 0 and a summary, and no process is left."""
    with started("demo", "--seconds", "60") as process:
        folder = folder_named(process)
        assert process.stdout is not None
        while when == "while it trades" and "approved" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "realised on paper" in out
    assert "Traceback" not in err
    assert left_behind(folder) == []


async def test_up_runs_everything_with_engines_in_the_hub(tmp_path: Path) -> None:
    """`arbhub up` trades with four processes, and SIGTERM ends them all."""
    content = on_free_ports(tmp_path)
    config = tmp_path / "up.toml"
    config.write_text(tomli_w.dumps(content))
    with started("up", "--config", config) as process:
        async for status in states(content["hub"]["listen"], PATIENCE_S):
            if status.fills > 0:
                break
        assert {engine.place for engine in status.engines} == {"in-process"}
        assert len(left_behind(str(config))) == 5
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert left_behind(str(config)) == []


def test_up_ends_when_a_service_does(tmp_path: Path) -> None:
    """A service that cannot run ends the others, and is named."""
    content = on_free_ports(tmp_path)
    content["executor"]["ledger_url"] = f"sqlite:///{tmp_path}"
    config = tmp_path / "up.toml"
    config.write_text(tomli_w.dumps(content))
    with started("up", "--config", config) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "executor ended" in err.splitlines()[-1]
    assert left_behind(str(config)) == []
