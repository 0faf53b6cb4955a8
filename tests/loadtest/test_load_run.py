"""`python -m loadtest run` on a real hub: every tick answered once, and the report that the design names."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest_asyncio

from arbhub.cli.demo import free_ports
from arbhub.processes import Household, Service

KEYS = {"rate", "achieved", "seconds", "sent", "decided", "approved", "shed", "timeouts", "latency_ms"}
MORE_KEYS = {"driver_error_us", "cpu_s", "rss_mb"}


def load(target: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """One load run to its end."""
    command = (sys.executable, "-m", "loadtest", "run", "--target", target, "--report", str(folder / "report.json"))
    return subprocess.run((*command, *options), capture_output=True, text=True, timeout=60, check=False)


@pytest_asyncio.fixture(loop_scope="function")
async def hub(tmp_path: Path) -> AsyncIterator[str]:
    """A hub with its engines in its process and no executor; its address."""
    (port,) = free_ports(1)
    config = tmp_path / "hub.toml"
    config.write_text(f'[hub]\nlisten = "127.0.0.1:{port}"\n[executor]\nlisten = "127.0.0.1:1"\n')
    household = Household(tmp_path)
    try:
        await household.start([Service("hub", ("hub", "--config", str(config)), f"127.0.0.1:{port}")])
        await household.ready(45)
        yield f"127.0.0.1:{port}"
    finally:
        await household.end()


async def test_every_tick_that_is_sent_is_answered(hub: str, tmp_path: Path) -> None:
    """What was sent is what was decided and shed; latencies are there and in order; the hub's use is named."""
    done = await asyncio.to_thread(load, hub, tmp_path, "--rate", "2000", "--seconds", "1", "--depth", "3")
    assert done.returncode == 0, done.stderr
    report = orjson.loads((tmp_path / "report.json").read_bytes())
    assert report.keys() >= KEYS | MORE_KEYS
    assert report["sent"] == report["decided"] + report["shed"] > 1500
    assert report["lost"] == 0
    quantiles = [report["latency_ms"][name] for name in ("p50", "p90", "p99", "p99_9", "p99_99", "max")]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] > 0
    assert report["rss_mb"].keys() >= {"driver", "hub"}
    assert orjson.loads(done.stdout) == report


def test_without_a_hub_it_says_so(tmp_path: Path) -> None:
    """One sentence that names the address, and a report is not made."""
    done = load("127.0.0.1:1", tmp_path, "--rate", "10", "--seconds", "1")
    assert done.returncode == 1
    assert "no hub answers at 127.0.0.1:1" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "report.json").exists()
