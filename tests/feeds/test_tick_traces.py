"""The roots of traces: what the feed makes of the hub's decisions on its ticks."""

import time

import numpy as np
from kept_spans import KeptTraces

from arbhub.columns import Ticks
from arbhub.link import Flight
from arbhub.queueing import Chunk, keys
from arbhub.reference import ReferenceData, Universe
from arbhub.spans import Span
from arbhub.traceids import trace_id
from arbhub.v1 import hub_pb2
from feeds.market import BookUpdate, ticks_of
from feeds.tracing import TickTraces

REASONS = ["NET_EDGE_TOO_LOW", "ENGINE_TIMEOUT:fee"]
MS = 1_000_000


def roots(
    rate: float, updates: list[BookUpdate], codes: list[int], rows: list[int] | None = None
) -> tuple[list[Span], int]:
    """The spans of updates decided so, from sequence 100 on in epoch 2, and when they were sent."""
    universe, traces = Universe(), KeptTraces(rate)
    universe.merge(ReferenceData(("A", "B"), ("BTC/USD",)))
    ticks = ticks_of(updates, universe)
    chunk: Chunk[Ticks] = Chunk(ticks, keys(ticks.instrument, ticks.venue), None if rows is None else np.array(rows))
    flight, sent_ns = Flight([chunk], time.monotonic_ns()), time.time_ns()
    batch = hub_pb2.DecisionBatch(epoch=2, reasons=REASONS)
    batch.decisions.sequence.extend(range(100, 100 + len(codes)))
    batch.decisions.reason.extend(codes)
    TickTraces(traces, universe).decided(batch, flight)
    return traces.spans, sent_ns


def update(venue: str = "A", ago_ms: float = 1, delay_ms: float | None = None) -> BookUpdate:
    """One that was received so long ago, and made by its venue so long before."""
    ts_ns = time.time_ns() - round(ago_ms * MS)
    event_ns = None if delay_ms is None else ts_ns - round(delay_ms * MS)
    return BookUpdate(ts_ns, venue, "BTC/USD", ((1.0, 1.0),), ((2.0, 1.0),), event_ns)


def test_approvals_and_timeouts_are_kept_at_rate_0() -> None:
    """From receipt to decision, by the venue that the tick is of; a timeout has failed."""
    updates = [update(), update("B", ago_ms=5, delay_ms=3), update("B")]
    (approved, timed_out), _ = roots(0.0, updates, [1, 0, 2])
    assert [approved.trace_id, timed_out.trace_id] == [trace_id("", 2, 101), trace_id("", 2, 102)]
    assert (approved.role, approved.parent, approved.start_ns) == ("feed", "", updates[1].ts_ns)
    said = approved.attributes
    assert (said["arbhub.venue"], said["arbhub.approved"], said["arbhub.venue_delay_ms"]) == ("B", True, 3.0)
    assert (approved.error, timed_out.error) == ("", REASONS[1])
    assert approved.end_ns >= approved.start_ns + 5 * MS


def test_all_are_kept_at_rate_1() -> None:
    """Whatever their decisions; the reason is the decision's."""
    spans, _ = roots(1.0, [update(), update()], [1, 0])
    assert [span.attributes["arbhub.reason"] for span in spans] == [REASONS[0], "approved"]


def test_a_recording_played_with_its_old_stamps_begins_when_it_is_sent() -> None:
    """A trace of years would be none."""
    (root,), sent_ns = roots(0.0, [update(ago_ms=1e9)], [0])
    assert root.start_ns >= sent_ns - 60_000 * MS


def test_of_a_batch_part_of_which_was_shed_each_tick_keeps_its_own() -> None:
    """Decisions answer the rows that went out."""
    (root,), _ = roots(0.0, [update("A"), update("B")], [0], rows=[1])
    assert root.attributes["arbhub.venue"] == "B"


def test_an_answer_to_something_else_is_no_trace() -> None:
    """A hub that answers two ticks with one decision."""
    assert roots(1.0, [update(), update()], [0])[0] == []
