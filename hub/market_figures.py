"""Edges and feed delays of the rounds that are over, in histograms. Filled at beats, so that no round pays for it.

A beat sorts a bounded number of ticks. Where more have come the latest are taken, so that under the heaviest load
these histograms are of a part of the ticks; what is counted exactly is in `hub.statistics`.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from arbhub.columns import Bools, Floats, Ints, Ticks
from arbhub.reference import Universe
from arbhub.rows import Tick
from hub.histograms import Histogram
from hub.replies import Decided
from hub.statistics import Over

EDGE_BPS = (-100.0, -50.0, -25.0, -10.0, -5.0, -2.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
EARNED_BPS = EDGE_BPS[EDGE_BPS.index(0.0) :]
DELAY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SORTED_AT_ONCE = 4096  # ticks: less than half a millisecond of the loop's time


class MarketFigures:
    """Edges in bps; delays in seconds by venue, and how many ticks had a venue's time that was later than ours."""

    def __init__(self, universe: Universe) -> None:
        self.gross, self.net, self.approved = Histogram(EDGE_BPS), Histogram(EDGE_BPS), Histogram(EARNED_BPS)
        self.delays: dict[str, Histogram] = {}
        self.ahead: Counter[str] = Counter()
        self._universe = universe

    def take(self, over: Iterable[Over]) -> None:
        """Sort the latest of these rounds, which come latest first, in."""
        seen = 0
        decided: list[Decided] = []
        ticks: list[Ticks | list[Tick]] = []
        for some, theirs in over:
            ticks.append(some)
            decided.append(theirs)
            seen += len(some)
            if seen >= SORTED_AT_ONCE:
                break
        if seen:
            self._edges(*_edges(decided))
            self._delays(*_times(ticks))

    def _edges(self, gross: Floats, net: Floats, approved: Bools) -> None:
        """Ticks without an opportunity have no edge (NaN), nor has what lacks an engine's part a net one."""
        self.gross.add(gross[np.isfinite(gross)])
        self.net.add(net[np.isfinite(net)])
        self.approved.add(net[approved])

    def _delays(self, ts_ns: Ints, event_ns: Ints, venue: Ints) -> None:
        known = event_ns != 0
        delay_s, venue = (ts_ns[known] - event_ns[known]) / 1e9, venue[known]
        for number in np.unique(venue).tolist():
            name, its = self._universe.venues[number], delay_s[venue == number]
            histogram = self.delays.setdefault(name, Histogram(DELAY_S))
            histogram.add(np.maximum(its, 0.0))
            self.ahead[name] += int(np.count_nonzero(its < 0))


def _edges(rounds: Iterable[Decided]) -> tuple[Floats, Floats, Bools]:
    """Gross and net edges, and which are approved, of every decision."""
    rows, parts = [], []
    for decided in rounds:
        if isinstance(decided, list):
            rows += [(d.gross_edge_bps, d.net_edge_bps, d.approved) for d in decided]
        else:
            parts.append((decided.gross_edge_bps, decided.net_edge_bps, decided.approved))
    table = np.array(rows, np.float64).reshape(-1, 3)
    parts.append((table[:, 0], table[:, 1], table[:, 2] > 0))
    gross, net, approved = (np.concatenate(column) for column in zip(*parts, strict=True))
    return gross, net, approved


def _times(rounds: Iterable[Ticks | list[Tick]]) -> tuple[Ints, Ints, Ints]:
    """Our time, the venue's (0 where it gives none) and the venue's number, of every tick."""
    rows, parts = [], []
    for ticks in rounds:
        if isinstance(ticks, list):
            rows += [(t.ts_ns, t.ts_event_ns, t.venue) for t in ticks]
        else:
            parts.append((ticks.ts_ns, ticks.ts_event_ns, ticks.venue))
    table = np.array(rows, np.int64).reshape(-1, 3)
    parts.append((table[:, 0], table[:, 1], table[:, 2]))
    ours, theirs, venue = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ours, theirs, venue
