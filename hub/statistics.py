"""What the hub has seen and done, for whoever watches it. Counting only: nothing is decided from it."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from arbhub.columns import NO_VENUE, Decisions
from arbhub.state import DENIED, FillRow, LedgerValues, Report, Snapshot
from hub.rounds import Arrival


@dataclass(frozen=True, slots=True)
class Quantiles:
    """In milliseconds; zeros where nothing was measured."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> "Quantiles":
        """Of the values given."""
        values = np.fromiter(values_ms, np.float64)
        return cls(*np.percentile(values, (50, 99, 100)).tolist()) if len(values) else cls()


@dataclass(slots=True)
class LastEdge:
    """The latest opportunity of an instrument, as a row number of the decisions it came in."""

    decisions: Decisions
    row: int


@dataclass(slots=True)
class Statistics:
    """Counts since the hub began; latencies and fills only of late."""

    ticks: int = 0
    approved: int = 0
    fills: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)
    stray: Counter[Arrival] = field(default_factory=Counter)
    decision_ms: deque[float] = field(default_factory=lambda: deque(maxlen=4096))
    last_fills: deque[FillRow] = field(default_factory=lambda: deque(maxlen=8))
    edges: dict[int, LastEdge] = field(default_factory=dict)
    ledger: LedgerValues = field(default_factory=LedgerValues)

    def decided(self, d: Decisions, took_ms: float, *, binding: bool) -> None:
        """A round's decisions."""
        if not binding:
            return
        self.ticks += len(d)
        self.decision_ms.append(took_ms)
        self.approved += int(d.approved.sum())
        codes, counts = np.unique(d.reason[~d.approved], return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.rejected[d.reasons[code]] += count
        for row in np.nonzero(d.buy_venue != NO_VENUE)[0].tolist():
            self.edges[int(d.instrument[row])] = LastEdge(d, row)

    def snapshot(self, snapshot: Snapshot) -> None:
        """The ledger at a connection."""
        self.ledger = snapshot.values

    def report(self, report: Report) -> None:
        """A report from the executor."""
        self.ledger = self.ledger.merged(report.values)
        self.fills += len(report.fills)
        self.last_fills.extend(report.fills)
        if report.kind == DENIED:
            self.denied[report.reason] += 1
