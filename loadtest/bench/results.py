"""What was measured, as it is kept in benchmarks.json, and the statistics over runs.

Pure but for reading and writing that file. A run in which too many ticks failed has no figure (None) and counts as
infinitely slow: it can spoil a median, never mend it.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

FAILED = 1e-4  # of the ticks: sheds, timeouts and ticks without an answer together have to stay below
FILE = "benchmarks.json"


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One number of a case, over its runs; None is a run that failed. At most one of the bounds is asked."""

    name: str
    unit: str
    runs: list[float | None]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """The median; infinite (or zero, where more is better) where most runs failed."""
        worst = 0.0 if self.at_least is not None else math.inf
        return statistics.median([worst if run is None else run for run in self.runs] or [worst])

    @property
    def span(self) -> tuple[float, float] | None:
        """The least and the greatest of the runs that did not fail; None where all did."""
        good = [run for run in self.runs if run is not None]
        return (min(good), max(good)) if good else None

    @property
    def met(self) -> bool | None:
        """Whether the median is what was asked; None where nothing was."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return None if self.at_least is None else self.median >= self.at_least


class Row(msgspec.Struct, omit_defaults=True):
    """What was found in one case. `points` are a chart's series: (x, y) pairs by name."""

    case: str
    date: str
    asked: str
    figures: list[Figure] = []
    notes: list[str] = []
    points: dict[str, list[tuple[float, float | None]]] = {}
    reports: list[dict[str, Any]] = []
    """The driver's or the replay's own report of each run."""
    error: str = ""
    """Why there are no figures."""

    @property
    def met(self) -> bool | None:
        """Whether every bound is met; None where there is none, and nothing went wrong."""
        if self.error:
            return False
        answers = [figure.met for figure in self.figures if figure.met is not None]
        return all(answers) if answers else None

    @property
    def stalls_ms(self) -> list[float]:
        """The longest that a process ready to run had to wait on this machine, in each run that watched for it."""
        seen = ((report.get("machine_stalls_ms") or {}).get("max") for report in self.reports)
        return [float(worst_ms) for worst_ms in seen if worst_ms is not None]


class Results(msgspec.Struct):
    """All of benchmarks.json: the machine, the command that was last given, and the rows by their case's key."""

    machine: dict[str, str]
    command: str
    rows: dict[str, Row] = {}


def load(folder: Path) -> Results | None:
    """What the folder's benchmarks.json says; None where there is none. msgspec.DecodeError where it is not that."""
    file = folder / FILE
    return msgspec.json.decode(file.read_bytes(), type=Results) if file.exists() else None


def save(results: Results, folder: Path) -> None:
    """Write benchmarks.json, whole or not at all."""
    new = folder / f"{FILE}.new"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    new.replace(folder / FILE)


def failures(report: dict[str, Any]) -> float:
    """The share of a run's ticks that were shed, ran into a timeout or were never answered."""
    failed = report["shed"] + report["timeouts"] + report.get("lost", 0)
    return failed / report["sent"] if report["sent"] else 1.0


def quantile(report: dict[str, Any], name: str) -> float | None:
    """A latency in ms; None where the run failed."""
    value = report["latency_ms"][name]
    return None if value is None or failures(report) >= FAILED else float(value)


def latency(reports: Sequence[dict[str, Any]], name: str, at_most: float | None = None) -> Figure:
    """A quantile over runs, such as "p99_99"."""
    return Figure(name.replace("_", "."), "ms", [quantile(report, name) for report in reports], at_most=at_most)


def remarks(reports: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader of a row's latencies has to know."""
    notes, runs = [], len(reports)
    if failed := sum(failures(report) >= FAILED for report in reports):
        worst = max(failures(report) for report in reports)
        notes.append(
            f"{failed} of {runs} runs failed: 1 tick in 10,000 or more without a decision (at worst {worst:.2%})"
        )
    if late := sum(not report.get("kept_rate", True) for report in reports):
        notes.append(f"in {late} of {runs} runs the driver itself did not keep its rate")
    return notes


def exponent(points: Sequence[tuple[float, float | None]]) -> float:
    """k of the y = c * x^k that fits best (least squares of the logarithms); NaN from fewer than two points."""
    good = [(math.log(x), math.log(y)) for x, y in points if y]
    if len(good) < 2:
        return math.nan
    x, y = np.array(good).T
    return float(np.polyfit(x, y, 1)[0])
