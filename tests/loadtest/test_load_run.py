"""`python -m loadtest run` on a real hub: every tick answered once, and the report that the design names."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from arbhub.processes import Household, Service, free_ports
from loadtest.schedule import Arrivals, Market, schedule

DESIGN_KEYS = {"rate", "achieved", "seconds", "sent", "decided", "approved", "shed", "timeouts", "latency_ms"}
MORE_KEYS = {"driver_error_us", "cpu_s", "rss_mb", "peak_rss_mb", "failed", "kept_rate", "lost"}
QUANTILES = ["p50", "p90", "p99", "p99_9", "p99_99", "max"]


def load(target: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """One load run to its end."""
    command = (sys.executable, "-m", "loadtest", "run", "--target", target, "--report", str(folder / "report.json"))
    return subprocess.run((*command, *options), capture_output=True, text=True, timeout=100, check=False)


@pytest_asyncio.fixture(loop_scope="function")
async def hub(tmp_path: Path) -> AsyncIterator[str]:
    """A hub with its engines in its process and no executor; its address."""
    (port,) = free_ports(1)
    config = tmp_path / "hub.toml"
    config.write_text(
        f'[hub]\nlisten = "127.0.0.1:{port}"\nhttp_listen = ""\nadmin_listen = ""\nstate_dir = ""\n'
        '[executor]\nlisten = "127.0.0.1:1"\n'
    )
    household = Household(tmp_path)
    try:
        await household.start([Service("hub", ("hub", "--config", str(config)), f"127.0.0.1:{port}")])
        await household.ready(45)
        yield f"127.0.0.1:{port}"
    finally:
        await household.end()


async def loaded(hub: str, folder: Path, rate: int, *options: str) -> dict[str, Any]:
    """The report of a run of a second at a rate, which is what is printed too."""
    done = await asyncio.to_thread(load, hub, folder, "--rate", str(rate), "--seconds", "1", *options)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = orjson.loads((folder / "report.json").read_bytes())
    assert orjson.loads(done.stdout) == report
    return report


def in_order(quantiles: dict[str, float]) -> bool:
    """Whether they are those that the design names, and none is below the one before."""
    values = [quantiles[name] for name in QUANTILES]
    return values == sorted(values) and values[0] > 0


@pytest.mark.parametrize("arrivals", Arrivals)
async def test_every_tick_that_is_sent_is_answered(hub: str, tmp_path: Path, arrivals: Arrivals) -> None:
    """What was sent is what was decided and shed; latencies are there and in order; the hub's use is named."""
    report = await loaded(hub, tmp_path, 2000, "--depth", "3", "--arrivals", arrivals.value)
    assert report.keys() >= DESIGN_KEYS | MORE_KEYS
    plan = schedule(arrivals, 2000, 1, Market(depth=3), 1, warm_up_s=1)
    assert report["sent"] == len(plan.at_ns) - plan.measured  # the warm-up's are left out
    assert report["sent"] == report["decided"] + report["shed"]
    assert report["lost"] == 0
    assert report["rejected"].get("NO_COUNTERPART", 0) == 0
    assert in_order(report["latency_ms"])
    assert in_order(report["hub_latency_ms"])
    assert all(report["hub_latency_ms"][name] <= report["latency_ms"][name] for name in QUANTILES)
    assert report["rss_mb"].keys() >= {"driver", "hub"}
    assert report["cpu_s"].keys() >= {"driver", "hub", "stalls"}
    assert report["machine_stalls_ms"]["max"] >= report["machine_stalls_ms"]["p50"] >= 0


async def test_single_calls_are_answered_on_books_that_the_stream_brought(hub: str, tmp_path: Path) -> None:
    """Every call has an answer, and all find a counterpart though `Evaluate` updates no book."""
    report = await loaded(hub, tmp_path, 100, "--mode", "unary", "--warm-up", "0.2", "--no-stalls")
    assert report["sent"] == report["decided"] + report["expired"]
    assert report["decided"] > 0
    assert report["rejected"].get("NO_COUNTERPART", 0) == 0
    assert in_order(report["latency_ms"])
    assert in_order(report["hub_latency_ms"])
    assert report["machine_stalls_ms"] is None


def test_without_a_hub_it_says_so(tmp_path: Path) -> None:
    """One sentence that names the address, and a report is not made."""
    done = load("127.0.0.1:1", tmp_path, "--rate", "10", "--seconds", "1")
    assert done.returncode == 1
    assert "no hub answers at 127.0.0.1:1" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "report.json").exists()


def test_more_than_memory_holds_is_refused_beforehand(tmp_path: Path) -> None:
    """The ticks are made beforehand: a run whose ticks do not fit says so and what to lower."""
    done = load("127.0.0.1:1", tmp_path, "--rate", "1000000", "--seconds", "3600")
    assert done.returncode == 2
    assert "ask for a lower rate" in " ".join(done.stderr.split())
