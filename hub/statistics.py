"""What the hub has seen and done, for whoever watches it. Counting only: nothing is decided from it."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from arbhub.columns import NO_VENUE, Decisions, Ticks
from arbhub.rows import Decision, Tick
from arbhub.state import DENIED, FillRow, Report
from hub.replies import Decided
from hub.rounds import Arrival

Over = tuple[Ticks | list[Tick], Decided]
"""A round that is over: its ticks, and the decision on each."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """In milliseconds; zeros where nothing was measured."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p99_99_ms: float = 0.0
    max_ms: float = 0.0

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> "Quantiles":
        """Of the values given."""
        values = np.fromiter(values_ms, np.float64)
        return cls(*np.percentile(values, (50, 99, 99.99, 100)).tolist()) if len(values) else cls()


class LastEdge(NamedTuple):
    """The latest opportunity of an instrument. Values only: a row must not keep its batch alive."""

    buy_venue: int
    sell_venue: int
    gross_edge_bps: float
    net_edge_bps: float
    reason: str
    """Empty: approved."""


@dataclass(slots=True)
class LateTally:
    """What came after its round was decided, and what the decisions would have been with it."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """By engine, a row each."""
    rounds: int = 0
    """That were folded once more, with what was late."""
    would_approve: int = 0
    """Ticks that would have been approved."""
    would_reject: int = 0
    """Ticks that were approved without an engine whose silence is no veto, and would not have been with it."""
    forgone_bps: float = 0.0
    """The sum of the net edges of the first."""
    forgone_quote: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """And of what they were worth, by quote asset: net edge times quantity times best ask."""


SIZES = 18  # a batch has at most 65,536 ticks
EDGES_A_BATCH = 16  # of a longer batch only the last ones are worth the time to a person who watches


@dataclass(slots=True)
class Statistics:
    """Counts since the hub began; latencies, fills and edges only of late."""

    ticks: int = 0
    opportunities: int = 0
    rounds: int = 0
    failed_rounds: int = 0
    """That could not be folded with what was said: decided as if every engine were silent."""
    approved: int = 0
    fills: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)
    stray: Counter[Arrival] = field(default_factory=Counter)
    late: LateTally = field(default_factory=LateTally)
    unsorted: deque[Over] = field(default_factory=lambda: deque(maxlen=0))
    """The latest rounds, for whoever makes room here and empties it; nothing is kept for nobody."""
    decision_ms: deque[float] = field(default_factory=lambda: deque(maxlen=4096))
    """Of the latest rounds, of which there were `rounds`."""
    sizes: list[int] = field(default_factory=lambda: [0] * SIZES)
    """Rounds by their ticks' bit length: [0] had none, [1] one, [2] two or three, [3] four to seven."""
    last_fills: deque[FillRow] = field(default_factory=lambda: deque(maxlen=8))
    edges: dict[int, LastEdge] = field(default_factory=dict)
    """By instrument, the latest last."""

    def decided(self, ticks: Ticks | list[Tick], decided: Decided, names: Sequence[str], took_ms: float) -> None:
        """A round's ticks and their decisions; `names` has the reasons by code."""
        count = len(decided)
        self.ticks += count
        self.rounds += 1
        self.sizes[count.bit_length()] += 1
        self.unsorted.append((ticks, decided))
        self.decision_ms.append(took_ms)
        if isinstance(decided, list):
            self._rows(decided, names)
        else:
            self._columns(decided)

    def _rows(self, rows: Sequence[Decision], names: Sequence[str]) -> None:
        for d in rows:
            reason = names[d.reason]
            if d.approved:
                self.approved += 1
            else:
                self.rejected[reason] += 1
            if d.buy_venue != NO_VENUE:
                self.opportunities += 1
                self.edges.pop(d.instrument, None)
                self.edges[d.instrument] = LastEdge(d.buy_venue, d.sell_venue, d.gross_edge_bps, d.net_edge_bps, reason)

    def _columns(self, d: Decisions) -> None:
        counts = d.by_reason()
        self.approved += counts.pop("", 0)
        self.rejected.update(counts)
        offered = np.nonzero(d.buy_venue != NO_VENUE)[0]
        self.opportunities += len(offered)
        for row in offered[-EDGES_A_BATCH:].tolist():
            instrument = int(d.instrument[row])
            self.edges.pop(instrument, None)
            self.edges[instrument] = LastEdge(
                int(d.buy_venue[row]),
                int(d.sell_venue[row]),
                float(d.gross_edge_bps[row]),
                float(d.net_edge_bps[row]),
                d.reasons[d.reason[row]],
            )

    def report(self, report: Report) -> None:
        """A report from the executor."""
        self.fills += len(report.fills)
        self.last_fills.extend(report.fills)
        if report.kind == DENIED:
            self.denied[report.reason] += 1
