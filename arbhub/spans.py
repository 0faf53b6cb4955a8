"""Spans as values, and who takes them: what feed, hub and executor know of tracing. Pure.

A service hands over what it knows of some ticks, as `Material`, and goes on; spans are made of it when there is time.
How they are sent is the business of `arbhub.otlp`, which is only there where traces are on.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from arbhub.traceids import Sampling

INTERNAL, SERVER, CLIENT = 1, 2, 3  # opentelemetry.proto.trace.v1.Span.SpanKind
Attributes = dict[str, str | bool | int | float | None]
"""By name; None and NaN say nothing, and are left out."""


class Span(NamedTuple):
    """One part of a tick's way, from `start_ns` to `end_ns` (since 1970). Its role is unique in its trace."""

    trace_id: bytes
    role: str
    parent: str
    """Its role; empty: there is none."""
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str = ""
    """Why it failed, where it did."""


class Material(Protocol):
    """What is known of some ticks. `len` is how many ticks' data it keeps alive."""

    def __len__(self) -> int: ...

    def spans(self, row: int) -> Iterable[Span]:
        """The spans of one of them."""


class Traces(Protocol):
    """Takes material for spans. `offer` never blocks and never raises; what there is no room for is counted."""

    sampling: Sampling
    sent: int
    """Spans that the collector has taken."""
    dropped: int
    """Spans that were made for nothing."""
    dropped_traces: int
    """Ticks whose spans were not even made."""

    def offer(self, material: Material, rows: Sequence[int], hold_s: float = 0.0) -> None:
        """Have the spans of these rows made and sent, not before `hold_s` from now."""
