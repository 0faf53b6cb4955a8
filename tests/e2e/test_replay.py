"""`arbhub replay` as a user runs it: the worked example, and results that no cut of the stream changes."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
from recordings import MARKETDATA
from reference.model import ModelSettings, decide
from reference.streams import dense_capture, read_capture, write_capture

from arbhub.processes import Household, Service, free_ports

WORKED_EXAMPLE = MARKETDATA / "btcbrl-two-venues.jsonl.gz"
NAMES = ("spread", "fee", "liquidity", "risk")
TIGHT = (
    "risk.max_notional_per_order=40000",
    "risk.max_position=0.5",
    "risk.max_exposure=100000",
    "risk.max_orders_per_s=200",
    "risk.max_open_per_instrument=3",
    "risk.cooldown_ms=5",
    "risk.max_drawdown=40",
    "risk.max_daily_loss=60",
    "executor.balances.EX1.BRL=200000",
    "executor.balances.EX1.BTC=3",
    "executor.balances.EX2.BRL=150000",
    "executor.balances.EX2.BTC=2",
    "executor.balances.EX3.BRL=100000",
    "executor.balances.EX3.BTC=1",
    "executor.balances.EX3.ETH=20",
)


def replay(capture: Path, folder: Path, *options: str) -> tuple[dict[str, object], bytes]:
    """The report and the decisions file of a run with these options."""
    report, decisions = folder / "report.json", folder / "decisions.jsonl"
    config = folder / "config.toml"
    if not config.exists():
        config.write_text("[engines.fee.taker_bps]\nEX1 = 2.0\nEX2 = 2.0\nEX3 = 2.0\n")
    command = (sys.executable, "-m", "arbhub", "replay", capture, "--config", config)
    written = ("--report", report, "--decisions", decisions)
    subprocess.run((*command, *written, *options), check=True, capture_output=True, timeout=100)
    return orjson.loads(report.read_bytes()), decisions.read_bytes()


def assignments(*settings: str) -> list[str]:
    """As --set options."""
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture with hundreds of ticks in a latency window and many approvals."""
    path = tmp_path_factory.mktemp("dense") / "dense.jsonl.gz"
    write_capture(path, dense_capture(11, 1500, edge_bps=8.0))
    return path


@pytest_asyncio.fixture(loop_scope="function", params=[1, 4], ids=["four processes", "one process"])
async def engine_places(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[str]]:
    """Engine processes with so many engines each, as the settings that name the engines' places."""
    hosts = [NAMES[start : start + request.param] for start in range(0, len(NAMES), request.param)]
    served = dict(zip((f"127.0.0.1:{port}" for port in free_ports(len(hosts))), hosts, strict=True))
    places = [f"engines.{name}.place={place}" for place, names in served.items() for name in names]
    config = tmp_path / "engines.toml"
    config.write_text("")
    words = ("--config", str(config), *assignments(*places))
    household = Household(tmp_path)
    try:
        await household.start(
            Service(" ".join(names), ("engine", *names, *words), place) for place, names in served.items()
        )
        await household.ready(45)
        yield places
    finally:
        await household.end()


@pytest.mark.skipif(not WORKED_EXAMPLE.exists(), reason=f"the recording {WORKED_EXAMPLE} is not here")
def test_the_worked_example_comes_out(tmp_path: Path) -> None:
    """The design's figures: counts exactly, sums to a millionth."""
    fees = assignments("engines.fee.taker_bps.EX1=10", "engines.fee.taker_bps.EX2=10")
    report, decisions = replay(WORKED_EXAMPLE, tmp_path, *fees)
    counts = {name: report[name] for name in ("ticks", "opportunities", "gross_positive", "approved")}
    assert counts == {"ticks": 25_767, "opportunities": 20_396, "gross_positive": 9_602, "approved": 1_217}
    assert report["sum_net_edge_bps"] == pytest.approx(8_637.088383585155, rel=1e-6)
    assert report["sum_quantity"] == pytest.approx(122.26131416270869, rel=1e-6)
    assert len(decisions.splitlines()) == 25_767


@pytest.mark.parametrize("limits", [(), TIGHT], ids=["without limits", "with tight limits"])
def test_the_batch_size_changes_nothing(dense: Path, tmp_path: Path, limits: tuple[str, ...]) -> None:
    """Decisions files of batches of 1, 7 and 1,000 are the same to the byte, and so is what was traded."""
    runs = [replay(dense, tmp_path, *assignments(*limits), "--batch", str(n)) for n in (1, 7, 1000)]
    assert runs[0][1] == runs[1][1] == runs[2][1]
    for report, _ in runs:
        report.pop("wall_s"), report.pop("decide_s")
    assert runs[0][0] == runs[1][0] == runs[2][0]
    assert int(str(runs[0][0]["approved"])) > 100


async def test_engines_in_processes_decide_the_same(dense: Path, tmp_path: Path, engine_places: list[str]) -> None:
    """With one engine process or four the decisions file is the same to the byte as with engines in-process."""
    options = assignments(*TIGHT)
    _, here = await asyncio.to_thread(replay, dense, tmp_path, *options)
    _, there = await asyncio.to_thread(replay, dense, tmp_path, *options, *assignments(*engine_places))
    assert here == there


async def test_replicas_decide_the_same(dense: Path, tmp_path: Path) -> None:
    """Spread over three processes of the engines that need no state, every line is the same to the byte."""
    stateless, replicas = NAMES[:3], [f"127.0.0.1:{port}" for port in free_ports(3)]
    config = tmp_path / "engines.toml"
    config.write_text("")
    household = Household(tmp_path)
    try:
        for place in replicas:
            own = assignments(*(f"engines.{name}.place={place}" for name in stateless))
            await household.start(
                [Service(f"engines {place}", ("engine", *stateless, "--config", str(config), *own), place)]
            )
        await household.ready(45)
        lists = assignments(*(f"engines.{name}.place={replicas}" for name in stateless))
        _, here = await asyncio.to_thread(replay, dense, tmp_path, *assignments(*TIGHT))
        _, there = await asyncio.to_thread(replay, dense, tmp_path, *assignments(*TIGHT), *lists)
    finally:
        await household.end()
    assert here == there


def test_a_capture_is_decided_as_the_reference_decides(dense: Path, tmp_path: Path) -> None:
    """The decisions file agrees, line by line and field by field, with the tick-by-tick reference."""
    _, decisions = replay(dense, tmp_path)
    model = ModelSettings(taker_bps={"EX1": 2.0, "EX2": 2.0, "EX3": 2.0})
    expected = decide(read_capture(dense), model)
    for text, wanted in zip(decisions.splitlines(), expected, strict=True):
        line = orjson.loads(text)
        line.pop("config_version")
        assert line == {key: wanted[key] for key in line}


def test_several_captures_merge_by_time(dense: Path, tmp_path: Path) -> None:
    """A capture split over two files, alternating, is decided as the whole one."""
    ticks = read_capture(dense)
    distinct = [tick for i, tick in enumerate(ticks) if i == 0 or tick.ts_ns > ticks[i - 1].ts_ns]
    parts = tmp_path / "even.jsonl", tmp_path / "odd.jsonl.gz"
    for number, part in enumerate(parts):
        write_capture(part, distinct[number::2])
    write_capture(tmp_path / "whole.jsonl", distinct)
    _, split = replay(parts[0], tmp_path, str(parts[1]))
    _, whole = replay(tmp_path / "whole.jsonl", tmp_path)
    assert split == whole
