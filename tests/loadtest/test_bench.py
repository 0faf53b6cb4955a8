"""The bench's pure parts: statistics, the search for the most ticks, words and page; and that Ctrl-C leaves nothing."""

import contextlib
import math
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from feeds.capture import read
from loadtest.bench import charts, machine, page, replays, results, wording
from loadtest.bench.most import in_time, lower
from loadtest.bench.progress import Remaining
from loadtest.bench.results import Figure, Results, Row
from loadtest.bench.search import geometric, highest
from loadtest.bench.table import CASES, TINY, USUAL
from loadtest.bench.wide import names, wide

MACHINE = {"processor": "Abacus", "cores": "2", "memory": "5.3 GB"}


def report(p50: float = 1.0, tail: float = 5.0, *, sent: int = 100_000, shed: int = 0, **more: Any) -> dict[str, Any]:
    """A driver's report."""
    latency = {"p50": p50, "p99": tail, "p99_9": tail, "p99_99": tail, "max": tail}
    return {"rate": 1000.0, "sent": sent, "shed": shed, "timeouts": 0, "lost": 0, "latency_ms": latency, **more}


def row(**found: Any) -> Row:
    """A row that was asked for 5 ms."""
    return Row(case="some case", date="2026-01-02", asked="p50 5 ms", **found)


# Statistics.


def test_a_figure_is_the_median_and_its_span_the_extremes() -> None:
    """One run far off moves the span and not the figure."""
    figure = Figure("p50", "ms", [2.0, 1.0, 90.0, 3.0, 2.5], at_most=2.5)
    assert (figure.median, figure.span, figure.met) == (2.5, (1.0, 90.0), True)
    assert Figure("p50", "ms", [2.0], at_most=1.9).met is False
    assert Figure("speed", "ticks/s", [2.0], at_least=1.9).met is True
    assert Figure("p50", "ms", [2.0]).met is None


def test_a_failed_run_counts_as_the_worst() -> None:
    """It never makes a median better, and of failed runs alone nothing is left."""
    assert Figure("p50", "ms", [1.0, None, 3.0], at_most=9).median == 3.0
    assert Figure("speed", "ticks/s", [1.0, None, 3.0], at_least=1).median == 1.0
    failed = Figure("p50", "ms", [None, None, 1.0], at_most=9)
    assert (failed.median, failed.met) == (math.inf, False)
    assert Figure("p50", "ms", [None]).span is None


def test_a_run_fails_at_one_tick_in_ten_thousand() -> None:
    """Sheds, timeouts and ticks without an answer count together, and then no latency of the run does."""
    assert results.quantile(report(), "p50") == 1.0
    assert results.quantile(report(shed=9), "p50") == 1.0
    assert results.quantile(report(shed=10), "p50") is None
    assert results.quantile(report(shed=4) | {"timeouts": 3, "lost": 3}, "p50") is None
    assert results.failures(report(sent=0)) == 1.0


def test_what_went_wrong_in_runs_is_said() -> None:
    """Failed runs with their worst share, and a driver that was late itself; nothing where all is well."""
    assert results.remarks([report(), report()]) == []
    failed, late = results.remarks([report(shed=2000), report(kept_rate=False), report()])
    assert "1 of 3 runs failed" in failed
    assert "2.00%" in failed
    assert "1 of 3 runs the driver" in late


def test_the_exponent_tells_linear_from_constant() -> None:
    """Of 7 * x^k it is k; points without a value are left out."""
    xs = (10.0, 100.0, 1000.0)
    for power in (0.0, 0.5, 1.0):
        assert results.exponent([(x, 7 * x**power) for x in xs] + [(5.0, None)]) == pytest.approx(power)
    assert math.isnan(results.exponent([(10.0, 1.0)]))


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Failed runs and series included; where nothing was written there is nothing."""
    assert results.load(tmp_path) is None
    figures = [Figure("p50", "ms", [1.0, None], at_most=2)]
    stored = Results(MACHINE, "command", {"a": row(figures=figures, points={"p50": [(1.0, None)]}, reports=[report()])})
    results.save(stored, tmp_path)
    assert results.load(tmp_path) == stored
    assert [file.name for file in tmp_path.iterdir()] == [results.FILE]


# The search.


@dataclass
class Capacity:
    """Keeps every rate up to its own, and remembers what it was asked."""

    most: float
    asked: list[float] = field(default_factory=list)

    async def kept(self, rate: float) -> bool:
        self.asked.append(rate)
        return rate <= self.most


@pytest.mark.parametrize("most", [50, 99, 100, 101, 250, 400, 430, 990, 1000, 5000])
@pytest.mark.parametrize(("first", "stride"), [(0, 1), (3, 4), (9, 3), (50, 20)])
async def test_the_search_finds_what_is_there(most: float, first: int, stride: int) -> None:
    """Wherever it begins: the highest rate of the grid that is kept, with no rate asked about twice."""
    grid, capacity = [float(rate) for rate in range(100, 1001, 100)], Capacity(most)
    found = await highest(grid, capacity.kept, first, stride)
    assert found == max((rate for rate in grid if rate <= most), default=None)
    assert len(capacity.asked) == len(set(capacity.asked))


async def test_the_search_takes_few_runs() -> None:
    """On the grid of the bench, a hub at 560,000 is found within eight."""
    capacity = Capacity(560_000)
    assert await highest([25_000.0 * n for n in range(4, 61)], capacity.kept, 8, 4) == 550_000
    assert len(capacity.asked) <= 8


def test_a_geometric_grid_doubles_in_its_steps() -> None:
    """Rising, whole, and twice as much after so many steps."""
    grid = geometric(50, 1000, 8)
    assert grid[0] == 50
    assert grid[-1] >= 1000
    assert [grid[8], grid[16]] == [100, 200]
    assert all(a < b and b == round(b) for a, b in pairwise(grid))


def test_what_is_not_confirmed_is_tried_lower() -> None:
    """Further each time, not below the grid, and not for ever; at last what is asked for, unless it is above."""
    grid = [float(n) for n in range(20)]
    assert lower(grid, 15.0, 9.0) == [15, 14, 12, 8]
    assert lower(grid, 15.0, 5.0) == [15, 14, 12, 8, 5]
    assert lower(grid, 1.0, 9.0) == [1, 0]


def test_a_rate_is_kept_below_sixty_milliseconds() -> None:
    """With next to no failures."""
    assert in_time(report(tail=59.9))
    assert not in_time(report(tail=60.0))
    assert not in_time(report(shed=10))


# Words and page.


def test_figures_are_said_with_their_units() -> None:
    """A unit stands once for those that share it; failed is said, and so is a single run."""
    figures = [
        Figure("p50", "ms", [1.234, 1.1, 2.0]),
        Figure("p99.99", "ms", [None, None, 8.0]),
        Figure("n", "x", [4e5]),
    ]
    found = row(figures=figures)
    assert wording.figures(found) == "p50 1.23, p99.99 failed ms, n 400,000 x"
    assert wording.spread(found) == "p50 1.1 to 2, p99.99 8 to 8 ms"
    assert wording.spread(row(figures=figures[2:])) == "one run"
    assert wording.figures(row(error="no hub")) == "failed: no hub"
    assert wording.figures(row()) == "charted"


def test_a_row_is_met_when_all_of_it_is() -> None:
    """No bound is no answer, and an error is a no."""
    good, bad = Figure("a", "ms", [1.0], at_most=2), Figure("b", "ms", [3.0], at_most=2)
    assert wording.met(row(figures=[good])) == "yes"
    assert wording.met(row(figures=[good, bad])) == "no"
    assert wording.met(row(figures=[Figure("c", "ms", [1.0])])) == ""
    assert wording.met(row(error="no hub")) == "no"


def test_the_page_has_the_rows_in_order() -> None:
    """As a table of the issue's columns, with stalls, notes, and a machine that is another said so."""
    stalled = report(machine_stalls_ms={"max": 12.5})
    rows = {"b": row(error="a|b\nc"), "a": row(figures=[Figure("p50", "ms", [1.0])], notes=["odd"], reports=[stalled])}
    text = page.render(Results(MACHINE | {"cores": "8"}, "the command", rows), ["a", "b", "never measured"])
    lines = text.splitlines()
    at = lines.index("| case | figure | spread | asked | met | stalls | date |")
    assert lines[at + 2] == "| some case | p50 1 ms | one run | p50 5 ms |  | 12.5 ms | 2026-01-02 |"
    assert lines[at + 3] == "| some case | failed: a\\|b c |  | p50 5 ms | no |  | 2026-01-02 |"
    assert "- some case: odd." in lines
    assert "this machine has 8" in text
    assert "`the command`" in text
    assert "(tuning.md)" in text
    assert ".png" not in text


def test_charts_are_small_and_linked(tmp_path: Path) -> None:
    """Each chart whose row there is becomes a PNG, with a gap where a run failed."""
    series: list[tuple[float, float | None]] = [(1000.0, 2.0), (2000.0, None), (3000.0, 4.0)]
    designs = [Figure("gather", "ticks/s", [300.0]), Figure("arbhub", "ticks/s", [5e5]), Figure("ratio", "x", [1e3])]
    rows = {
        "rates": row(points={"p50": series}),
        "cost": row(points={"instruments": series, "venues": series, "engines": series}),
        "designs": row(figures=designs),
    }
    found = Results(MACHINE, "command", rows)
    drawn = charts.draw(found, tmp_path)
    text = page.render(found, ["cost", "designs"])
    assert len(drawn) == 3
    for name in drawn:
        assert f"({name})" in text
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / name).stat().st_size < 100_000


# The cases, and what they are measured with.


def test_the_whole_bench_fits_half_an_hour() -> None:
    """Keys are all different, soak is apart, and every case knows how long it takes, tiny ones less."""
    by_key = {case.key: case for case in CASES}
    assert len(by_key) == len(CASES)
    assert "soak" not in USUAL
    assert sum(by_key[key].planned_s for key in USUAL) < 30 * 60
    assert all(case.tiny().planned_s < case.planned_s for case in CASES)
    assert {type(by_key[key]) for key in TINY} == {type(case) for case in CASES}


def test_the_time_left_follows_the_pace() -> None:
    """Cases that took twice their plan make the rest look twice as long; an overdue case counts nothing more."""
    remaining = Remaining([10.0, 20.0, 30.0])
    assert remaining.left_s(0.0) == 60.0
    assert remaining.left_s(100.0) == 50.0
    remaining.over(20.0)
    assert remaining.left_s(0.0) == 100.0
    assert remaining.left_s(10.0) == 90.0


def test_a_generated_capture_is_one(tmp_path: Path) -> None:
    """The replay's own reader takes it, in order and as many ticks as were said."""
    capture = tmp_path / "dense.jsonl"
    count = replays.write(capture, 500)
    updates = list(read(capture))
    assert len(updates) == count > 400
    assert all(update.bids[0][0] < update.asks[0][0] for update in updates)


def test_a_wide_hub_has_as_many_engines_as_places(tmp_path: Path) -> None:
    """The first of the eight, each at its place."""
    config = tmp_path / "hub.toml"
    config.write_text("[hub]\ndeadline_ms = 60.0\n")
    for count in (1, 4, 8):
        places = [f"127.0.0.1:{port}" for port in range(1, count + 1)]
        settings = wide(config, places)
        table = settings.engines.table()
        assert list(table) == names(count)
        assert [section.place for section in table.values()] == places
        assert settings.hub.deadline_ms == 60.0
    assert len(set(names(8))) == 8


def test_the_machine_is_told_by_its_processor(tmp_path: Path) -> None:
    """Its model where the kernel says it; figures of another machine are not mixed in."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus 3\n")
    assert machine.processor(cpuinfo) == "Abacus 3"
    assert machine.processor(tmp_path / "none")
    now = machine.describe()
    assert machine.same(now, now | {"kernel": "another"})
    assert not machine.same(now, now | {"cores": "77"})


def with_driver(bench: int) -> list[psutil.Process]:
    """All that the bench started, once its driver is among it."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        started = psutil.Process(bench).children(recursive=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("--target" in process.cmdline() for process in started):
                return started
    raise AssertionError("no driver was started")


def test_an_interrupted_bench_leaves_no_process_behind(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a run of a minute ends driver and services at once, and keeps what there is."""
    command = (sys.executable, "-m", "loadtest", "bench", "--only", "processes-3k", "--output", str(tmp_path))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as bench:
        try:
            assert bench.stderr
            assert any("run 1 of 3" in line for line in bench.stderr)
            started = with_driver(bench.pid)
            own = psutil.Process(bench.pid).children()
        finally:
            bench.send_signal(signal.SIGINT)
            bench.communicate(timeout=30)
    assert bench.returncode == 130
    assert len(started) >= 6
    assert not any(process.is_running() for process in own)  # it waited for them; theirs may take a moment more
    gone, left = psutil.wait_procs(started, timeout=20)
    assert (len(gone), left) == (len(started), [])
    assert (tmp_path / "benchmarks.md").exists()
