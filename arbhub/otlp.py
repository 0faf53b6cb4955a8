"""Sends spans to an OTLP collector over gRPC, from the event loop, without ever holding it up.

    offer ─▶ material ─▶ spans, a few at a turn ─▶ queue ─▶ one call under way at a time

Spans are made in turns of half a millisecond with a rest between them, as a thread that encodes would hold the
interpreter for five. Material and queue are bounded; what does not fit is dropped and counted. A call has a deadline,
and a collector that lets it pass gets a new connection. The end takes LAST_S at most, whatever the collector does.
OpenTelemetry's own exporter costs several times as much a span (docs/tuning.md); its resource and messages are used.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from importlib.metadata import version

import grpc
import structlog
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest as Request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse as Response
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource

from arbhub.security.certificates import content_of
from arbhub.settings.traces import TracesSettings
from arbhub.spans import Material
from arbhub.spanwire import encode_span
from arbhub.traceids import Sampling
from arbhub.wire import nested, submessage

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TURN_NS = 500_000  # spans are made for so long at a turn, and for one tick more
REST_S = 0.05  # before each turn: a few ticks together cost half of what they do one by one
SHORT_REST_S = 0.005  # while MANY wait
MANY = 50
MAX_WAITING = 2048  # ticks whose spans are to be made
MAX_TICKS = 32768  # ticks whose data are kept alive for it
SEND_S = 0.5
CALL_SPANS = 256
CALL_S = 2.0
LAST_S = 0.7  # for the last spans, at the end
CLOSE_S = 0.1  # beyond that, for a call that was cut off to know it
# Those of the OTLP specification after which the same may be sent again.
RETRIED = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
# No keepalive: collectors end connections that ping more often than every five minutes.
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),
)
RESOURCE_SPANS = Request.RESOURCE_SPANS_FIELD_NUMBER
RESOURCE = trace_pb2.ResourceSpans.RESOURCE_FIELD_NUMBER
SCOPE_SPANS = trace_pb2.ResourceSpans.SCOPE_SPANS_FIELD_NUMBER
SCOPE = trace_pb2.ScopeSpans.SCOPE_FIELD_NUMBER

log = structlog.get_logger()


class _Waiting:
    """Material with the rows that are still to be made."""

    __slots__ = ("due_ns", "material", "rows")

    def __init__(self, material: Material, rows: Sequence[int], due_ns: int) -> None:
        self.material, self.rows, self.due_ns = material, deque(rows), due_ns


class Exporter:
    """`Traces` of one service. ServiceError where the authority's file cannot be read. `running` comes first."""

    def __init__(self, settings: TracesSettings, service: str) -> None:
        self.sampling = Sampling(settings.sample_rate, settings.deployment)
        self.sent = self.dropped = self.dropped_traces = 0
        self._settings = settings
        self._credentials = _credentials(settings)
        self._head = submessage(RESOURCE, _resource(service))
        self._scope = submessage(SCOPE, InstrumentationScope(name="arbhub").SerializeToString())
        self._ready: deque[_Waiting] = deque()
        self._held: deque[_Waiting] = deque()
        self._rows = self._ticks = 0
        self._spans: deque[bytes] = deque()
        self._woken, self._ended = asyncio.Event(), asyncio.Event()
        self._last_s = float("inf")
        self._failing = self._broken = False

    def offer(self, material: Material, rows: Sequence[int], hold_s: float = 0.0) -> None:
        """As `Traces` has it."""
        room = MAX_WAITING - self._rows if self._ticks + len(material) <= MAX_TICKS else 0
        if room < len(rows):
            self.dropped_traces += len(rows) - room
            rows = rows[:room]
        if rows:
            self._rows += len(rows)
            self._ticks += len(material)
            queue, due_ns = (self._held, time.monotonic_ns() + int(hold_s * 1e9)) if hold_s else (self._ready, 0)
            queue.append(_Waiting(material, rows, due_ns))
            self._woken.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Exporter"]:
        """Make and send for as long as the block runs, and for LAST_S more."""
        making, sending = asyncio.create_task(self._make()), asyncio.create_task(self._send())
        try:
            yield self
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            await self._end(sending)

    # Making.

    async def _make(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._ready or self._held:
                await asyncio.sleep(SHORT_REST_S if self._ready and self._rows > MANY else REST_S)
                self._turn(time.monotonic_ns())

    def _turn(self, now_ns: int) -> None:
        while self._held and self._held[0].due_ns <= now_ns:
            self._ready.append(self._held.popleft())
        while self._ready:
            self._make_one(self._ready[0])
            if time.monotonic_ns() - now_ns > TURN_NS:
                return

    def _make_one(self, waiting: _Waiting) -> None:
        row = waiting.rows.popleft()
        self._rows -= 1
        if not waiting.rows:
            self._ready.popleft()
            self._ticks -= len(waiting.material)
        try:
            self._queue([encode_span(span) for span in waiting.material.spans(row)])
        except Exception:
            self.dropped_traces += 1
            log.exception("a trace could not be made")

    def _queue(self, spans: Iterable[bytes]) -> None:
        self._spans.extend(spans)
        while len(self._spans) > self._settings.max_queue_spans:
            self._spans.popleft()
            self.dropped += 1

    # Sending.

    async def _send(self) -> None:
        while not self._ended.is_set():
            try:
                await self._converse()
            except Exception:  # a bug of ours costs traces, and nothing else
                log.exception("sending traces failed")
                await asyncio.sleep(SEND_S)

    async def _converse(self) -> None:
        """Send over one connection, until it is broken or it is the end."""
        async with self._channel() as channel:
            self._broken = False
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            while not (self._broken or self._ended.is_set()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), SEND_S)
                await self._send_all(call)

    def _channel(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._settings.otlp_endpoint, options=OPTIONS)
        return grpc.aio.secure_channel(self._settings.otlp_endpoint, self._credentials, options=OPTIONS)

    async def _send_all(self, call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]) -> None:
        """Send until there is nothing, or something goes wrong."""
        while self._spans and time.monotonic() < self._last_s:
            spans = [self._spans.popleft() for _ in range(min(len(self._spans), CALL_SPANS))]
            body = nested(SCOPE_SPANS, [self._scope, *spans])
            request = submessage(RESOURCE_SPANS, self._head, *body)
            try:
                answer = await call(request, timeout=min(CALL_S, self._last_s - time.monotonic()))
                self._took(len(spans), Response.FromString(answer))
            except grpc.aio.AioRpcError as error:
                self._failed(spans, error)
                return
            except DecodeError:  # it took the request, and is no collector
                self._say("its answer is none of a collector")
                self.dropped += len(spans)
                return

    def _took(self, count: int, answer: Response) -> None:
        rejected = min(count, answer.partial_success.rejected_spans)
        self.sent += count - rejected
        self.dropped += rejected
        if rejected:
            self._say(answer.partial_success.error_message or f"{rejected} spans were rejected")
        elif self._failing:
            self._failing = False
            log.info("traces are taken again", collector=self._settings.otlp_endpoint)

    def _failed(self, spans: list[bytes], error: grpc.aio.AioRpcError) -> None:
        code = error.code()
        self._say(f"{code.name}: {error.details()}")
        self._broken = code is grpc.StatusCode.DEADLINE_EXCEEDED  # the connection may have died in silence
        if code not in RETRIED:
            self.dropped += len(spans)
            return
        room = max(0, self._settings.max_queue_spans - len(self._spans))
        self.dropped += max(0, len(spans) - room)
        self._spans.extendleft(reversed(spans[len(spans) - min(room, len(spans)) :]))

    def _say(self, reason: str) -> None:
        """Once, until all is well again."""
        if not self._failing:
            log.warning("traces are not taken", collector=self._settings.otlp_endpoint, reason=reason)
        self._failing = True

    async def _end(self, sending: "asyncio.Task[None]") -> None:
        """Make and send what there is, as far as that goes in LAST_S."""
        self._last_s = time.monotonic() + LAST_S
        self._ready.extend(self._held)
        self._held.clear()
        while self._ready and time.monotonic() < self._last_s - LAST_S / 2:
            self._turn(time.monotonic_ns())
            await asyncio.sleep(0)
        self._ended.set()
        await asyncio.wait([sending], timeout=max(0.0, self._last_s - time.monotonic()))
        sending.cancel()
        await asyncio.wait([sending], timeout=CLOSE_S)
        lost = self._rows + len(self._spans)
        if lost or self.dropped or self.dropped_traces:
            lost_spans, lost_traces = self.dropped + len(self._spans), self.dropped_traces + self._rows
            log.warning("not everything was traced", spans=lost_spans, traces=lost_traces)


def _attributes(values: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=k, value=_value(v)) for k, v in values.items() if v is not None and v == v]  # noqa: PLR0124  # NaN


def _value(value: object) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))


def _resource(service: str) -> bytes:
    """The service, and what OTEL_RESOURCE_ATTRIBUTES says of where it runs."""
    named = {"service.name": f"arbhub-{service}", "service.version": version("arbhub")}
    attributes = _attributes(dict(Resource.create(named).attributes))
    return resource_pb2.Resource(attributes=attributes).SerializeToString()


def _credentials(settings: TracesSettings) -> grpc.ChannelCredentials | None:
    return None if settings.ca is None else grpc.ssl_channel_credentials(content_of("traces.ca", settings.ca))
