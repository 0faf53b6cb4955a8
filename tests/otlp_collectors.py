"""Collectors that take OTLP over gRPC on a port of their own, and what a test asks of the spans that came."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

PATIENCE_S = 45.0
Value = str | bool | int | float


@dataclass(frozen=True)
class Received:
    """A span, and the service that it came from."""

    service: str
    span: trace_pb2.Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def said(self) -> dict[str, Value]:
        """Its attributes, without the prefix that all of ours have."""
        found: dict[str, Value] = {}
        for attribute in self.span.attributes:
            kind = attribute.value.WhichOneof("value")
            assert kind is not None
            found[attribute.key.removeprefix("arbhub.")] = getattr(attribute.value, kind)
        return found

    @property
    def failed(self) -> bool:
        return self.span.status.code == trace_pb2.Status.STATUS_CODE_ERROR


class ReceivingCollector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps all that comes. `calls` counts requests, `resource` is what the last one said of its service."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.calls = 0
        self.resource: dict[str, str] = {}
        self._changed = asyncio.Event()

    async def Export(  # noqa: N802  # gRPC's name
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.calls += 1
        for part in request.resource_spans:
            self.resource = {a.key: a.value.string_value for a in part.resource.attributes}
            service = self.resource["service.name"]
            self.spans += [Received(service, span) for scope in part.scope_spans for span in scope.spans]
        self._changed.set()
        return await self.answer(context)

    async def answer(self, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        """All is taken."""
        return trace_service_pb2.ExportTraceServiceResponse()

    @contextlib.asynccontextmanager
    async def served(self, port: int = 0, certificates: Path | None = None) -> AsyncIterator[str]:
        """Its address; it speaks TLS with the hub's certificate of a folder, where one is given."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]  # generated
        listen = f"127.0.0.1:{port}"
        if certificates is None:
            got = server.add_insecure_port(listen)
        else:
            pair = (certificates / "hub.key").read_bytes(), (certificates / "hub.pem").read_bytes()
            got = server.add_secure_port(listen, grpc.ssl_server_credentials([pair]))
        await server.start()
        try:
            yield f"127.0.0.1:{got}"
        finally:
            await server.stop(0)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Return as soon as the condition holds; fails where it never does."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} never came; there are {sorted({s.name for s in self.spans})}") from None

    def traces(self) -> dict[bytes, list[Received]]:
        """The spans of each trace."""
        found: dict[bytes, list[Received]] = {}
        for received in self.spans:
            found.setdefault(received.span.trace_id, []).append(received)
        return found

    def named(self, name: str) -> list[Received]:
        """The spans of a name."""
        return [received for received in self.spans if received.name == name]


class SilentCollector(ReceivingCollector):
    """Takes every call, and never answers."""

    async def answer(self, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        return await asyncio.Event().wait()  # type: ignore[return-value]  # it never does


class RefusingCollector(ReceivingCollector):
    """Finds every request bad."""

    async def answer(self, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")  # type: ignore[no-any-return]  # it raises


class StartingCollector(ReceivingCollector):
    """Is not there yet for its first call."""

    async def answer(self, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        if self.calls == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return await super().answer(context)


class ChoosyCollector(ReceivingCollector):
    """Takes every request, but for one span of it."""

    async def answer(self, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        answer = trace_service_pb2.ExportTraceServiceResponse()
        answer.partial_success.rejected_spans, answer.partial_success.error_message = 1, "one was bad"
        return answer


def parents(spans: Iterable[Received]) -> dict[str, list[str]]:
    """The tree of a trace by name: what stands below what; the root stands below "".

    What has a parent that is not among them stands below "nowhere".
    """
    found, names = dict[str, list[str]](), dict[bytes, str]()
    for received in spans:
        assert received.span.span_id not in names, f"{received.name} has the id of {names[received.span.span_id]}"
        names[received.span.span_id] = received.name
    for received in spans:
        parent_id = received.span.parent_span_id
        parent = names.get(parent_id, "nowhere") if parent_id else ""
        found.setdefault(parent, []).append(received.name)
    return {parent: sorted(children) for parent, children in found.items()}
