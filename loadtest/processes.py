"""What arbhub's processes on this machine use: CPU time over a run, resident memory at its end and at its highest."""

import math
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path

import psutil

SERVICES = {"hub", "engine", "feed", "executor", "sandbox", "up"}
BASELINES = "loadtest.baselines"


class Usage:
    """All that run when it is made, found by their command lines; `others` are further ones, process ids by name.

    Named by the words after `arbhub`, with a number where two are alike. Those that end are left out.
    """

    def __init__(self, others: Mapping[str, int]) -> None:
        self._processes = dict(_named(_arbhub()))
        self._processes |= {name: psutil.Process(pid) for name, pid in others.items()}
        self._used_s: dict[str, float] = {}
        self.begin()

    def begin(self) -> None:
        """Count CPU time from now. It takes about 50 us a process."""
        self._began_s = {name: _cpu_s(process) for name, process in self._processes.items()}

    def end(self) -> None:
        """Count it until now."""
        self._used_s = {name: _cpu_s(process) - self._began_s[name] for name, process in self._processes.items()}

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU used between beginning and end."""
        return {name: round(seconds, 3) for name, seconds in self._used_s.items() if math.isfinite(seconds)}

    def rss_mb(self) -> dict[str, float]:
        """Resident memory now, in megabytes."""
        return self._status_mb("VmRSS")

    def peak_rss_mb(self) -> dict[str, float]:
        """The highest it has been in each process's life so far, in megabytes."""
        return self._status_mb("VmHWM")

    def _status_mb(self, field: str) -> dict[str, float]:
        found = {name: _status_mb(process.pid, field) for name, process in self._processes.items()}
        return {name: round(mb, 1) for name, mb in found.items() if mb is not None}


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return float("nan")
    return float(times.user + times.system)


def _status_mb(pid: int, field: str) -> float | None:
    """A field of the kernel's status of a process: psutil has the memory of now, but not the highest."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    kib = next((line.split()[1] for line in lines if line.startswith(f"{field}:")), None)
    return None if kib is None else int(kib) * 1024 / 1e6


def _arbhub() -> Iterator[tuple[str, psutil.Process]]:
    yield "driver", psutil.Process()
    for process in psutil.process_iter(["cmdline"]):
        if name := name_of(process.info["cmdline"] or []):
            yield name, process


def name_of(command: list[str]) -> str | None:
    """What a command line says it is: `engine fee risk` of `python -m arbhub engine fee risk --config FILE`."""
    for at, word in enumerate(command[:3]):
        said = list(takewhile(lambda word: not word.startswith("-"), command[at + 1 :]))
        if word == BASELINES and said:
            return f"baseline {said[0]}"
        if word.rpartition("/")[2] == "arbhub" and said and said[0] in SERVICES:
            return " ".join(said if said[0] == "engine" else said[:1])
    return None


def _named(found: Iterator[tuple[str, psutil.Process]]) -> Iterator[tuple[str, psutil.Process]]:
    seen: dict[str, int] = {}
    for name, process in found:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), process
