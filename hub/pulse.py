"""The hub's own pulse: how late its event loop runs, how long the garbage collector stops it, and histograms.

Latencies are noted where they arise, in short queues, and rounds that are over with their ticks; here they are sorted
into histograms, a queue at every beat, so that the hot path only notes them, and a scrape finds the sums nearly ready.
"""

import asyncio
import contextlib
import gc
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import cycle

from hub.histograms import PAUSE_S, Followed, Histogram
from hub.hub import Hub
from hub.market_figures import MarketFigures

BEAT_S = 0.05  # a queue a beat: none overflows before its next turn, and no beat takes long
UNSORTED_ROUNDS = 1024  # more than a beat's worth


class Pulse:
    """Histograms, in seconds, of a hub's rounds, of its engines' answers by name, and of what held its loop up.

    `market` has those of edges and feed delays.
    """

    def __init__(self, hub: Hub) -> None:
        s = self._statistics = hub.statistics
        self.rounds = Followed(s.decision_ms, lambda: s.rounds, 1e-3, lambda: hub.settings.hub.deadline_ms / 1e3)
        self.engines = {
            seat.name: Followed(seat.tally.latency_ns, lambda tally=seat.tally: tally.answers, 1e-9)  # type: ignore[misc]  # the default binds the loop's tally
            for seat in hub.seats
        }
        self.market = MarketFigures(hub.universe)
        self._turns = cycle((self.rounds, *self.engines.values()))
        self.lag, self.collections = Histogram(PAUSE_S), Histogram(PAUSE_S)
        self.began_s = time.time()
        self._collecting_ns = 0

    def follow(self) -> None:
        """Bring the histograms up to now."""
        self.rounds.follow()
        for engine in self.engines.values():
            engine.follow()
        self._sort()

    def _sort(self) -> None:
        unsorted = self._statistics.unsorted
        self.market.take(reversed(unsorted))
        unsorted.clear()

    async def beat(self) -> None:
        """Until cancelled."""
        while True:
            due_ns = time.monotonic_ns() + int(BEAT_S * 1e9)
            await asyncio.sleep(BEAT_S)
            # The loop's timers are as exact as a millisecond: up to half of one may be missing, or too much.
            self.lag.add((max(0, time.monotonic_ns() - due_ns),), 1e-9)
            next(self._turns).follow()
            self._sort()

    @contextlib.contextmanager
    def _watching_collections(self) -> Iterator[None]:
        gc.callbacks.append(self._collects)
        try:
            yield
        finally:
            gc.callbacks.remove(self._collects)

    @contextlib.contextmanager
    def _watching_rounds(self) -> Iterator[None]:
        self._statistics.unsorted = deque(maxlen=UNSORTED_ROUNDS)
        try:
            yield
        finally:
            self._statistics.unsorted = deque(maxlen=0)

    def _collects(self, phase: str, _: object) -> None:
        now_ns = time.monotonic_ns()
        if phase == "start":
            self._collecting_ns = now_ns
        else:
            self.collections.add((now_ns - self._collecting_ns,), 1e-9)

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator["Pulse"]:
        """For as long as the block runs."""
        with self._watching_collections(), self._watching_rounds():
            beats = asyncio.create_task(self.beat())
            try:
                yield self
            finally:
                beats.cancel()
                await asyncio.gather(beats, return_exceptions=True)
