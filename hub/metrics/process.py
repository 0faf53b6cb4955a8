"""The hub as a process: what held its loop up, and how much memory it may have."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import Metric

from hub.hub import Hub
from hub.metrics.families import counter, gauge, histogram
from hub.pulse import Pulse

LIMITS = {"": "memory.max", "memory": "memory.limit_in_bytes"}  # by controller; version 2 of cgroups names none


def loop(_: Hub, pulse: Pulse) -> Iterator[Metric]:
    """What no round can hurry."""
    yield histogram("loop_lag_seconds", "How late the event loop was, asked 20 times a second.", pulse.lag)
    yield histogram("gc_pause_seconds", "How long garbage collections stopped the hub.", pulse.collections)


def memory(_: Hub, __: Pulse) -> Iterator[Metric]:
    """What `process_resident_memory_bytes` is held against."""
    yield gauge("memory_limit_bytes", "Memory that the process may have: its container's, or all.", memory_limit())


def traces(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """What became of spans; nothing where ticks are not traced."""
    if hub.traces is None:
        return
    kept = hub.traces.traces
    yield counter("trace_spans_sent", "Spans that the collector has taken.", kept.sent)
    yield counter("trace_spans_dropped", "Spans that it did not take, or not in time.", kept.dropped)
    yield counter("traces_dropped", "Ticks to be traced for which there was no time.", kept.dropped_traces)


def memory_limit(root: Path = Path("/")) -> int:
    """In bytes: the least that any of this process's control groups allows, and no more than the machine has."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        for controller in set(controllers.split(",")) & LIMITS.keys():
            mount = root / "sys/fs/cgroup" / controller
            folder = mount / group.lstrip("/")
            # Inside a container its own group may be mounted as the whole tree: the way up ends there in any case.
            for level in (folder, *folder.parents):
                if level.is_relative_to(mount):
                    said = _read(level / LIMITS[controller]).strip()
                    limits += [int(said)] if said.isdigit() else []  # "max": none here
    return min(limits)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
