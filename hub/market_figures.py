"""Edges and feed delays of the rounds that are over, in histograms. Filled at beats, so that no round pays for it.

A beat sorts a bounded number of ticks. Where more have come the latest are taken, so that under the heaviest load
these histograms are of a part of the ticks; what is counted exactly is in `hub.statistics`.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from arbhub.columns import Bools, Floats, Ints, Ticks
from arbhub.reference import Universe
from arbhub.rows import Decision, Tick
from hub.histograms import Histogram
from hub.replies import Decided
from hub.statistics import Over

EDGE_BPS = (-100.0, -50.0, -25.0, -10.0, -5.0, -2.0, 0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
EARNED_BPS = EDGE_BPS[EDGE_BPS.index(0.0) :]
DELAY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SORTED_AT_ONCE = 2048  # ticks: less than a millisecond of the loop's time, and enough for 40,000 ticks/s


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
    rows: list[Decision] = []
    parts: list[tuple[Floats, Floats, Bools]] = []
    for decided in rounds:
        if isinstance(decided, list):
            rows += decided
        else:
            parts.append((decided.gross_edge_bps, decided.net_edge_bps, decided.approved))
    gross, net = np.array([d.gross_edge_bps for d in rows]), np.array([d.net_edge_bps for d in rows])
    parts.append((gross, net, np.array([d.approved for d in rows], np.bool_)))
    gross, net, approved = (np.concatenate(column) for column in zip(*parts, strict=True))
    return gross, net, approved


def _times(rounds: Iterable[Ticks | list[Tick]]) -> tuple[Ints, Ints, Ints]:
    """Our time, the venue's (0 where it gives none) and the venue's number, of every tick."""
    rows: list[Tick] = []
    parts: list[tuple[Ints, Ints, Ints]] = []
    for ticks in rounds:
        if isinstance(ticks, list):
            rows += ticks
        else:
            parts.append((ticks.ts_ns, ticks.ts_event_ns, ticks.venue))
    ours, theirs = np.array([t.ts_ns for t in rows], np.int64), np.array([t.ts_event_ns for t in rows], np.int64)
    parts.append((ours, theirs, np.array([t.venue for t in rows], np.int64)))
    ours, theirs, venue = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ours, theirs, venue
