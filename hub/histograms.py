"""Histograms as Prometheus counts them, and queues of latencies that are sorted into them a while later."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

from arbhub.columns import Floats

LATENCY_S = (
    *(0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005),
    *(0.0075, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 1.0),
)
PAUSE_S = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Histogram:
    """Counts by upper bound, in the unit of the bounds. `counts` has one more: what is above every bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = np.array(bounds)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, values: Iterable[float] | Floats, scale: float = 1.0) -> None:
        """Take values in, each times `scale`; none of them may be NaN."""
        array = values if isinstance(values, np.ndarray) else np.fromiter(values, np.float64)
        scaled = array * scale
        at = np.searchsorted(self.bounds, scaled)
        self.counts += np.bincount(at, minlength=len(self.counts))
        self.sum += float(scaled.sum())

    def buckets(self) -> list[tuple[str, int]]:
        """(upper bound, how many up to it), the last bound "+Inf"."""
        names = [*(f"{bound:g}" for bound in self.bounds.tolist()), "+Inf"]
        return list(zip(names, np.cumsum(self.counts).tolist(), strict=True))


class Followed:
    """A histogram, in seconds, of a queue that keeps the latest values only; `count` says how many it was ever given.

    `beyond` counts the values above `bound_s` as it was when they were looked at.
    """

    def __init__(
        self,
        latest: deque[float] | deque[int],
        count: Callable[[], int],
        scale: float,
        bound_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.histogram, self.beyond = Histogram(LATENCY_S), 0
        self._latest, self._count, self._scale, self._bound_s = latest, count, scale, bound_s
        self._seen = 0

    def follow(self) -> None:
        """Take in what has come since the last time."""
        count = self._count()
        new, self._seen = count - self._seen, count
        if new:
            seconds = np.fromiter(islice(reversed(self._latest), new), np.float64) * self._scale
            self.histogram.add(seconds)
            self.beyond += int(np.count_nonzero(seconds > self._bound_s()))
