"""How long a process was ready to run and others had the machine: what no program can answer in. Linux only."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np

SAMPLE_S = 0.025
WINDOW_NS = 250_000_000


class CoreWaits:
    """Samples of the kernel's count for the process that `pid` names at that moment, which may be started anew."""

    def __init__(self, pid: Callable[[], int]) -> None:
        self._pid = pid
        self._samples: list[tuple[int, int]] = []  # monotonic ns, ns waited in its life

    @contextlib.asynccontextmanager
    async def sampled(self) -> AsyncIterator[None]:
        """Sample for as long as the block runs."""
        sampling = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    def worst_ns(self, from_ns: int, to_ns: int) -> int:
        """The most that it waited within any quarter of a second of a time."""
        times, waited = np.array([s for s in self._samples if from_ns <= s[0] <= to_ns], np.int64).reshape(-1, 2).T
        ends = np.searchsorted(times, times + WINDOW_NS, "right") - 1
        return int((waited[ends] - waited).max(initial=0))

    async def _sample(self) -> None:
        while True:
            self._note()
            await asyncio.sleep(SAMPLE_S)

    def _note(self) -> None:
        with contextlib.suppress(OSError, StopIteration):  # there is none just now
            waited_ns = int(Path(f"/proc/{self._pid()}/schedstat").read_text().split()[1])
            self._samples.append((time.monotonic_ns(), waited_ns))
