"""The shell round one engine: a stream a hub connection, each with an engine of its own.

So a connection knows only what it was told over itself: a hub that connects anew starts from nothing, and sends
configuration, reference data and state before it asks.
"""

import asyncio
from typing import Any

import grpc
import structlog

from arbhub.control import BadReferenceError, decode_reference, decode_report, decode_snapshot
from arbhub.engine import Engine, EngineConfiguration
from arbhub.reference import Universe
from arbhub.service import OnReady, ServiceError, serving
from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from arbhub.v1 import engine_pb2
from arbhub.wire import ColumnError, decode_opportunities, encode_verdicts, submessage, varint
from engines.table import ENGINES

SERVICE = "arbhub.v1.Engine"
VERDICT_BATCH = engine_pb2.EngineReply.BATCH_FIELD_NUMBER
VERDICTS = engine_pb2.VerdictBatch.VERDICTS_FIELD_NUMBER

log = structlog.get_logger()


class Conversation:
    """One hub connection: what it was told, and the engine that answers it."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._universe = engine, Universe()

    def hello(self) -> bytes:
        """Who answers here, and what it wants to be told."""
        e = self._engine
        hello = engine_pb2.EngineHello(
            name=e.name, reasons=e.reasons, wants_depth=e.wants_depth, wants_state=e.wants_state
        )
        return engine_pb2.EngineReply(hello=hello).SerializeToString()

    def answer(self, request: engine_pb2.EngineRequest) -> bytes | None:
        """Take a control frame (None), or answer a batch."""
        kind = request.WhichOneof("frame")
        if kind == "batch":
            return self._judge(request.batch)
        if kind == "configuration":
            settings = request.configuration.settings_json
            self._engine.configure(EngineConfiguration.model_validate_json(settings))
        elif kind == "reference":
            self._universe.merge(decode_reference(request.reference))
            self._engine.reference(self._universe)
        elif kind == "snapshot":
            self._engine.snapshot(decode_snapshot(request.snapshot))
        elif kind == "report":
            self._engine.report(decode_report(request.report))
        return None

    def _judge(self, batch: engine_pb2.OpportunityBatch) -> bytes:
        opportunities = decode_opportunities(batch.opportunities, batch.depth)
        columns = encode_verdicts(self._engine.judge(opportunities))
        return submessage(
            VERDICT_BATCH, b"\x08" + varint(batch.batch_id) + submessage(VERDICTS, columns)
        )  # 0x08: field 1, a varint: batch_id


async def run(settings: Settings, name: str, shutdown: asyncio.Event, on_ready: OnReady | None = None) -> None:
    """Serve one engine at its place until `shutdown`; ServiceError where it has none."""
    if name not in ENGINES:
        raise ServiceError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    place = settings.engines.table()[name].place
    if place == IN_PROCESS:
        raise ServiceError(
            f'engines.{name}.place is "in-process": the hub runs this engine itself. '
            f"Give it a place of its own, such as --set engines.{name}.place=127.0.0.1:7402"
        )

    async def evaluate(_: Any, context: grpc.aio.ServicerContext[Any, bytes]) -> None:
        conversation = Conversation(ENGINES[name]())
        log.info("hub connected", engine=name, peer=context.peer())
        await context.write(conversation.hello())
        while (request := await context.read()) is not grpc.aio.EOF:
            try:
                answer = conversation.answer(request)
            except (ColumnError, BadReferenceError) as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            if answer is not None:
                await context.write(answer)

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        evaluate, request_deserializer=engine_pb2.EngineRequest.FromString, response_serializer=None
    )
    handlers = grpc.method_handlers_generic_handler(SERVICE, {"Evaluate": handler})
    async with serving(place, lambda s: s.add_generic_rpc_handlers((handlers,)), [SERVICE], on_ready) as port:
        log.info("serving", engine=name, port=port)
        await shutdown.wait()
