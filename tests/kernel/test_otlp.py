"""The exporter against collectors on real sockets: well, choosy, deaf, gone and black-holed."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from faulty_wire import FaultyWire
from otlp_collectors import ChoosyCollector, ReceivingCollector, RefusingCollector, SilentCollector, StartingCollector

from arbhub.otlp import MAX_TICKS, MAX_WAITING, Exporter
from arbhub.processes import free_ports
from arbhub.security.authority import make_certificates
from arbhub.service import ServiceError
from arbhub.settings.traces import TracesSettings
from arbhub.spans import SERVER, Attributes, Span
from arbhub.telemetry import tracing
from arbhub.traceids import trace_id

END_S = 10.0  # a hang guard: the end is bounded by a tenth of it


class Ticks:
    """Material of as many ticks as one says, a span each."""

    def __init__(self, ticks: int = 1) -> None:
        self.ticks = ticks

    def __len__(self) -> int:
        return self.ticks

    def spans(self, row: int) -> Iterator[Span]:
        said: Attributes = {"text": "a", "yes": True, "whole": 7, "part": 0.5, "nothing": None, "nan": float("nan")}
        yield Span(trace_id("", 1, row), "round", "feed", "round", SERVER, 10, 20, said, "it failed")


class BrokenTicks(Ticks):
    """Material of which no span can be made."""

    def spans(self, row: int) -> Iterator[Span]:
        raise ValueError(row)


@contextlib.asynccontextmanager
async def exporting(address: str, **settings: object) -> AsyncIterator[Exporter]:
    """An exporter whose end may not hang."""
    exporter = Exporter(TracesSettings.model_validate({"otlp_endpoint": address, **settings}), "hub")
    running = exporter.running()
    await running.__aenter__()
    try:
        yield exporter
    finally:
        async with asyncio.timeout(END_S):
            await running.__aexit__(None, None, None)


async def test_a_span_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, times, attributes of every kind, the error, and what is known of the service."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
    collector = ReceivingCollector()
    async with collector.served() as address, exporting(address) as exporter:
        exporter.offer(Ticks(), [4])
        await collector.until(lambda: collector.spans, "a span")
    (received,) = collector.spans
    span = received.span
    assert (received.service, received.name, received.failed) == ("arbhub-hub", "round", True)
    assert collector.resource["deployment.environment.name"] == "lab"
    assert (span.trace_id, len(span.span_id), len(span.parent_span_id)) == (trace_id("", 1, 4), 8, 8)
    assert (span.start_time_unix_nano, span.end_time_unix_nano, span.flags, span.kind) == (10, 20, 1, SERVER)
    assert received.said == {"text": "a", "yes": True, "whole": 7, "part": 0.5}
    assert (exporter.sent, exporter.dropped, exporter.dropped_traces) == (1, 0, 0)


async def test_what_is_held_back_or_waits_arrives_at_the_end() -> None:
    """The end of a service sends what there is, of however many ticks."""
    collector = ReceivingCollector()
    async with collector.served() as address:
        async with exporting(address) as exporter:
            exporter.offer(Ticks(), range(1000))
            exporter.offer(Ticks(), [1000], hold_s=3600.0)
        assert {span.span.trace_id for span in collector.spans} == {trace_id("", 1, row) for row in range(1001)}
        assert collector.calls > 1
    assert exporter.sent == 1001


async def test_what_there_is_no_room_for_is_counted() -> None:
    """Of ticks more than may wait, or whose data would be too much, the rest is dropped, and known to be."""
    async with exporting("127.0.0.1:1", max_queue_spans=10) as exporter:
        exporter.offer(Ticks(), range(MAX_WAITING + 5))
        assert exporter.dropped_traces == 5
        exporter.offer(Ticks(), [0])
        assert exporter.dropped_traces == 6
    async with exporting("127.0.0.1:1") as other:
        other.offer(Ticks(MAX_TICKS), [0])
        other.offer(Ticks(), [0, 1])
        assert other.dropped_traces == 2
    assert exporter.dropped > 0


async def test_a_collector_that_comes_back_gets_what_waited() -> None:
    """While it is gone spans wait, as many as there is room for; the oldest go."""
    (port,) = free_ports(1)
    collector = ReceivingCollector()
    async with exporting(f"127.0.0.1:{port}", max_queue_spans=3) as exporter:
        exporter.offer(Ticks(), range(5))
        while exporter.dropped < 2:  # noqa: ASYNC110  # an exporter tells nobody what it counts
            await asyncio.sleep(0.001)
        async with collector.served(port):
            await collector.until(lambda: len(collector.spans) == 3, "what waited")
    assert [span.span.trace_id for span in collector.spans] == [trace_id("", 1, row) for row in (2, 3, 4)]


async def test_what_could_not_be_sent_is_sent_again() -> None:
    """In order, before what came after it, and all of it counts once."""
    collector = StartingCollector()
    async with collector.served() as address, exporting(address) as exporter:
        exporter.offer(Ticks(), range(3))
        await collector.until(lambda: collector.calls == 1, "a call")
        exporter.offer(Ticks(), range(3, 5))
        await collector.until(lambda: trace_id("", 1, 4) in collector.traces(), "the last")
    again = [span.span.trace_id for span in collector.spans][3:]
    assert again == [trace_id("", 1, row) for row in range(5)]
    assert (exporter.sent, exporter.dropped) == (5, 0)


@pytest.mark.parametrize("collector", [SilentCollector(), RefusingCollector()])
async def test_a_collector_that_takes_nothing_holds_nobody_up(collector: ReceivingCollector) -> None:
    """One that never answers and one that refuses everything: the end comes, and nothing counts as sent."""
    async with collector.served() as address, exporting(address) as exporter:
        exporter.offer(Ticks(), range(3))
        await collector.until(lambda: collector.calls, "a call")
    assert exporter.sent == 0


async def test_a_black_hole_is_left_for_a_new_connection() -> None:
    """A connection that is forsaken in silence is given up with its first call, and the next one delivers."""
    collector = ReceivingCollector()
    async with collector.served() as address:
        wire = FaultyWire(address)
        async with wire.listening(), exporting(wire.address) as exporter:
            exporter.offer(Ticks(), [0])
            await collector.until(lambda: trace_id("", 1, 0) in collector.traces(), "the first")
            wire.forsake()
            exporter.offer(Ticks(), [1])
            await collector.until(lambda: trace_id("", 1, 1) in collector.traces(), "the second")
        assert exporter.dropped == 0


async def test_rejected_spans_do_not_count_as_sent() -> None:
    """A collector may take a request and reject a part of it."""
    collector = ChoosyCollector()
    async with collector.served() as address, exporting(address) as exporter:
        exporter.offer(Ticks(), range(3))
        await collector.until(lambda: len(collector.spans) == 3, "all")
    assert (exporter.sent + exporter.dropped, exporter.dropped) == (3, collector.calls)


async def test_material_that_fails_costs_its_own_trace() -> None:
    """A bug in the making of a trace is logged and counted, and the next one is made."""
    collector = ReceivingCollector()
    async with collector.served() as address, exporting(address) as exporter:
        exporter.offer(BrokenTicks(), [0])
        exporter.offer(Ticks(), [1])
        await collector.until(lambda: collector.spans, "the next")
    assert exporter.dropped_traces == 1


def test_who_traces_nothing_loads_nothing_for_it() -> None:
    """The services import OpenTelemetry when they are told of a collector, and not before."""
    code = "import sys, executor.server, feeds.server, hub.server; print([m for m in sys.modules if 'opentel' in m])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"


async def test_without_a_collector_there_is_no_exporter() -> None:
    """Off is the default."""
    async with tracing(TracesSettings(), "hub") as traces:
        assert traces is None


async def test_a_collector_is_believed_by_its_authority(tmp_path: Path) -> None:
    """With traces.ca TLS is spoken, and only to who has a certificate by it."""
    for folder in (ours := tmp_path / "ours", theirs := tmp_path / "theirs"):
        make_certificates(folder, (), 30, force=False)
    collector = ReceivingCollector()
    async with collector.served(certificates=ours) as address:
        async with exporting(address, ca=theirs / "ca.pem") as stranger:
            stranger.offer(Ticks(), [0])
        assert not collector.calls
        async with exporting(address, ca=ours / "ca.pem") as exporter:
            exporter.offer(Ticks(), [0])
        assert (exporter.sent, stranger.sent) == (1, 0)


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The key and the file."""
    settings = TracesSettings(otlp_endpoint="127.0.0.1:4317", ca=tmp_path / "ca.pem")
    with pytest.raises(ServiceError, match=r"traces\.ca: .*ca\.pem cannot be read"):
        Exporter(settings, "hub")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4317", "collector", "collector:99999"])
def test_an_endpoint_is_an_address(endpoint: str) -> None:
    """What is none is refused with what is allowed."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        TracesSettings(otlp_endpoint=endpoint)
