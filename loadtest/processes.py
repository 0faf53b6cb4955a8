"""What arbhub's processes on this machine use: CPU time over a run, and resident memory at its end."""

import math
from collections.abc import Iterator

import psutil

SERVICES = {"hub", "engine", "feed", "executor", "sandbox", "up"}


class Usage:
    """Begun when made. Processes are named by the words after `arbhub`, and a number where two are alike."""

    def __init__(self) -> None:
        self._processes = dict(_named(_arbhub()))
        self._cpu_s = {name: _cpu_s(process) for name, process in self._processes.items()}

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU used since the beginning, by process; those that ended are left out."""
        used = {name: _cpu_s(process) - self._cpu_s[name] for name, process in self._processes.items()}
        return {name: round(seconds, 3) for name, seconds in used.items() if math.isfinite(seconds)}

    def rss_mb(self) -> dict[str, float]:
        """Resident memory now, in megabytes, by process; those that ended are left out."""
        found = {}
        for name, process in self._processes.items():
            try:
                found[name] = round(process.memory_info().rss / 1e6, 1)
            except psutil.NoSuchProcess:
                continue
        return found


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return float("nan")
    return float(times.user + times.system)


def _arbhub() -> Iterator[tuple[str, psutil.Process]]:
    yield "driver", psutil.Process()
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        at = next((i for i, word in enumerate(words[:3]) if word.rpartition("/")[2] == "arbhub"), None)
        if at is not None and len(words) > at + 1 and words[at + 1] in SERVICES:
            yield " ".join(words[at + 1 : at + 3] if words[at + 1] == "engine" else words[at + 1 : at + 2]), process


def _named(found: Iterator[tuple[str, psutil.Process]]) -> Iterator[tuple[str, psutil.Process]]:
    seen: dict[str, int] = {}
    for name, process in found:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), process
