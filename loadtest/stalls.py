"""The machine's own stalls: how long a process that could run waits until it does, while a load run goes on.

A process of its own sleeps for a millisecond at a time and notes how much later than asked it woke. What it sees, every
process here suffers: the hub's tail cannot be better than what the machine lets any process have. It competes with the
services and the driver for the same cores, so it shows what they do to each other as well as what the machine does to
all; only a run on an idle machine shows the latter alone. It costs about two percent of a core.

This file is that process too, run by its path with nothing but the standard library. A line on its standard input
begins its notes anew, the end of it ends the process, which then prints its quantiles: it outlives nobody.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

PAUSE_MS = 1
STDIN = 0
PR_SET_TIMERSLACK = 29  # linux/prctl.h
END_S = 10.0
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999, "max": 1.0}

Found = dict[str, float | None]


class Stalls:
    """The process, from entering the block until `end` or leaving it."""

    def __enter__(self) -> Self:
        command = (sys.executable, "-I", "-S", __file__)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def begin(self) -> None:
        """Forget what was noted until now."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):  # it died: `end` has nothing then
                self._process.stdin.write(b"\n")
                self._process.stdin.flush()

    def end(self) -> Found:
        """How much later than asked it woke, in ms, by quantile, and end it; None where it noted nothing."""
        if self._process.returncode is not None:
            return dict.fromkeys(QUANTILES)
        try:
            said, _ = self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, _ = self._process.communicate()
        found: Found = json.loads(said) if said else dict.fromkeys(QUANTILES)
        return found


def quantiles_ms(late_ns: Sequence[int]) -> Found:
    """Nearest-rank quantiles in milliseconds."""
    ranked = sorted(late_ns)
    if not ranked:
        return dict.fromkeys(QUANTILES)
    last = len(ranked) - 1
    return {name: ranked[min(last, int(q * len(ranked)))] / 1e6 for name, q in QUANTILES.items()}


def watch(sleep: Callable[[], bytes | None]) -> "array[int]":  # quoted: Python 3.11 cannot subscript it
    """Sleep and note how much later than asked that ended, in ns, until told the end.

    `sleep` takes PAUSE_MS and returns None, or what it was told meanwhile: b"" is the end, all else begins anew.
    """
    late_ns = array("q")
    while True:
        due_ns = time.monotonic_ns() + PAUSE_MS * 1_000_000
        told = sleep()
        if told is None:
            late_ns.append(max(0, time.monotonic_ns() - due_ns))
        elif told:
            late_ns = array("q")
        else:
            return late_ns


def _listening() -> Callable[[], bytes | None]:
    """Sleeping is waiting for standard input in vain: one system call does both."""
    told = select.poll()
    told.register(STDIN, select.POLLIN)
    return lambda: os.read(STDIN, 4096) if told.poll(PAUSE_MS) else None


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and with it our input
    gc.disable()
    # Otherwise the kernel may wake us 50 us late to save power, and that is no stall.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    print(json.dumps(quantiles_ms(watch(_listening()))))  # noqa: T201  # the answer to who started us


if __name__ == "__main__":
    _main()
