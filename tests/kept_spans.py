"""Traces that make their spans at once and keep them, for tests of what a service says of a tick."""

from collections.abc import Sequence

from arbhub.spans import Material, Span
from arbhub.traceids import Sampling


class KeptTraces:
    """`Traces` without a collector."""

    def __init__(self, rate: float) -> None:
        self.sampling = Sampling(rate)
        self.sent = self.dropped = self.dropped_traces = 0
        self.spans: list[Span] = []

    def offer(self, material: Material, rows: Sequence[int], hold_s: float = 0.0) -> None:
        assert len(material) >= len(rows)
        self.spans += [span for row in rows for span in material.spans(row)]
