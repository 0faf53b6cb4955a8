"""The hub's own pulse: how late its event loop runs, how long the garbage collector stops it, and histograms.

Latencies are noted where they arise, in short queues; here they are sorted into histograms, a queue at every beat, so
that the hot path only notes them, and a scrape finds the sums nearly ready.
"""

import asyncio
import contextlib
import gc
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np

from hub.hub import Hub

BEAT_S = 0.05  # a queue a beat: none overflows before its next turn, and no beat takes long
LATENCY_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
PAUSE_S = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Histogram:
    """Counts by upper bound, seconds. `counts` has one more: what is above every bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = np.array(bounds)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, values: Iterable[float], scale: float = 1.0) -> None:
        """Take values in, each times `scale`."""
        seconds = np.fromiter(values, np.float64) * scale
        at = np.searchsorted(self.bounds, seconds)
        self.counts += np.bincount(at, minlength=len(self.counts))
        self.sum += float(seconds.sum())

    def buckets(self) -> list[tuple[str, int]]:
        """(upper bound, how many up to it), the last bound "+Inf"."""
        names = [*(f"{bound:g}" for bound in self.bounds.tolist()), "+Inf"]
        return list(zip(names, np.cumsum(self.counts).tolist(), strict=True))


class Followed:
    """A histogram of a queue that keeps the latest values only; `count` says how many it was ever given."""

    def __init__(self, latest: deque[float] | deque[int], count: Callable[[], int], scale: float) -> None:
        self.histogram = Histogram(LATENCY_S)
        self._latest, self._count, self._scale, self._seen = latest, count, scale, 0

    def follow(self) -> None:
        """Take in what has come since the last time."""
        count = self._count()
        new, self._seen = count - self._seen, count
        if new:
            self.histogram.add(islice(reversed(self._latest), new), self._scale)


class Pulse:
    """Histograms, in seconds, of a hub's rounds, of its engines' answers by name, and of what held its loop up."""

    def __init__(self, hub: Hub) -> None:
        s = hub.statistics
        self.rounds = Followed(s.decision_ms, lambda: s.rounds, 1e-3)
        self.engines = {
            seat.name: Followed(seat.tally.latency_ns, lambda tally=seat.tally: tally.answers, 1e-9)  # type: ignore[misc]  # the default binds the loop's tally
            for seat in hub.seats
        }
        self._turns = cycle((self.rounds, *self.engines.values()))
        self.lag, self.collections = Histogram(PAUSE_S), Histogram(PAUSE_S)
        self.began_s = time.time()
        self._collecting_ns = 0

    def follow(self) -> None:
        """Bring the histograms up to now."""
        self.rounds.follow()
        for engine in self.engines.values():
            engine.follow()

    async def beat(self) -> None:
        """Until cancelled."""
        while True:
            due_ns = time.monotonic_ns() + int(BEAT_S * 1e9)
            await asyncio.sleep(BEAT_S)
            # The loop's timers are as exact as a millisecond: up to half of one may be missing, or too much.
            self.lag.add((max(0, time.monotonic_ns() - due_ns),), 1e-9)
            next(self._turns).follow()

    @contextlib.contextmanager
    def _watching_collections(self) -> Iterator[None]:
        gc.callbacks.append(self._collects)
        try:
            yield
        finally:
            gc.callbacks.remove(self._collects)

    def _collects(self, phase: str, _: object) -> None:
        now_ns = time.monotonic_ns()
        if phase == "start":
            self._collecting_ns = now_ns
        else:
            self.collections.add((now_ns - self._collecting_ns,), 1e-9)

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator["Pulse"]:
        """For as long as the block runs."""
        with self._watching_collections():
            beats = asyncio.create_task(self.beat())
            try:
                yield self
            finally:
                beats.cancel()
                await asyncio.gather(beats, return_exceptions=True)
