"""The feed's part of a tick's trace, and its root: from the venue's update to the hub's decision."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from arbhub.columns import Ticks
from arbhub.link import Flight
from arbhub.reference import Universe
from arbhub.spans import CLIENT, Attributes, Span, Traces
from arbhub.traceids import FEED, TIMEOUT, always_kept, trace_id
from arbhub.v1 import hub_pb2

LIVE_NS = 60_000_000_000  # a stamp that is further from now was not made by this clock: a recording's


class TickTraces:
    """Looks at every batch of decisions. `universe` names what is in the ticks sent."""

    def __init__(self, traces: Traces, universe: Universe) -> None:
        self._traces, self._universe = traces, universe

    def decided(self, batch: hub_pb2.DecisionBatch, flight: Flight[Ticks]) -> None:
        """The hub's answer to ticks that are no longer under way."""
        sequences, reason = np.array(batch.decisions.sequence, np.int64), np.array(batch.decisions.reason, np.int64)
        ticks = Ticks.concatenate([c.payload if c.rows is None else c.payload.take(c.rows) for c in flight.chunks])
        if not len(sequences) == len(reason) == len(ticks):
            return  # a hub that answers something else than it was asked
        kept = [number for number, name in enumerate(("", *batch.reasons)) if always_kept(name)]
        rows = self._traces.sampling.rows(batch.epoch, sequences)
        rows = sorted({*rows, *np.nonzero(np.isin(reason, kept))[0].tolist()})
        if rows:
            now_ns = time.time_ns()
            sent_ns = now_ns - (time.monotonic_ns() - flight.sent_ns)
            deployment = self._traces.sampling.deployment
            self._traces.offer(TracedTicks(batch, ticks, (sent_ns, now_ns), deployment, self._universe), rows)


@dataclass(frozen=True, slots=True)
class TracedTicks:
    """`times`: the ticks were sent, their decisions came."""

    batch: hub_pb2.DecisionBatch
    ticks: Ticks
    times: tuple[int, int]
    deployment: str
    universe: Universe

    def __len__(self) -> int:
        return len(self.ticks)

    def spans(self, row: int) -> Iterator[Span]:
        """The root of the trace."""
        t, (sent_ns, ended_ns) = self.ticks, self.times
        ts_ns, event_ns, code = t.ts_ns.item(row), t.ts_event_ns.item(row), self.batch.decisions.reason[row]
        began_ns = ts_ns if ended_ns - LIVE_NS < ts_ns <= sent_ns else sent_ns
        reason = self.batch.reasons[code - 1] if 0 < code <= len(self.batch.reasons) else ""
        said: Attributes = {
            "arbhub.venue": self.universe.venues[t.venue.item(row)],
            "arbhub.symbol": self.universe.symbols[t.instrument.item(row)],
            "arbhub.approved": not code,
            "arbhub.reason": reason or "approved",
            "arbhub.queued_ms": (sent_ns - began_ns) / 1e6,
            "arbhub.venue_delay_ms": (ts_ns - event_ns) / 1e6 if event_ns else None,
        }
        trace = trace_id(self.deployment, self.batch.epoch, self.batch.decisions.sequence[row])
        error = reason if reason.startswith(TIMEOUT) else ""
        yield Span(trace, FEED, "", "tick", CLIENT, began_ns, ended_ns, said, error)
