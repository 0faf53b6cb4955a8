"""The shell round one engine: a stream a hub connection, each with an engine of its own.

So a connection knows only what it was told over itself: a hub that connects anew starts from nothing, and sends
configuration, reference data and state before it asks. What a hub may not say ends its stream, and no other.
"""

import asyncio
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from arbhub.columns import Ints, Opportunities
from arbhub.control import BadReferenceError, decode_reference, decode_report, decode_snapshot
from arbhub.engine import Engine, EngineConfiguration
from arbhub.reference import Universe
from arbhub.service import OnReady, OpenStreams, ServiceError, serving, settle_memory
from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from arbhub.v1 import engine_pb2
from arbhub.wire import ColumnError, batch_frame, decode_opportunities, encode_verdicts, submessage
from engines.table import ENGINES

SERVICE = "arbhub.v1.Engine"
VERDICT_BATCH = engine_pb2.EngineReply.BATCH_FIELD_NUMBER
VERDICTS = engine_pb2.VerdictBatch.VERDICTS_FIELD_NUMBER
Context = grpc.aio.ServicerContext[bytes, bytes]

log = structlog.get_logger()


class RefusedError(ValueError):
    """A frame that cannot be taken; the text says what is wrong with it."""


class Conversation:
    """One hub connection: what it was told, and the engine that answers it."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._universe = engine, Universe()
        self._configured = False

    def hello(self) -> bytes:
        """Who answers here, and what it wants to be told."""
        e = self._engine
        hello = engine_pb2.EngineHello(
            name=e.name, reasons=e.reasons, wants_depth=e.wants_depth, wants_state=e.wants_state
        )
        return engine_pb2.EngineReply(hello=hello).SerializeToString()

    def answer(self, frame: bytes) -> bytes | None:
        """Take a control frame (None), or answer a batch. RefusedError where it is neither, or does not fit."""
        try:
            return self._answer(engine_pb2.EngineRequest.FromString(frame))
        except DecodeError:
            raise RefusedError("a frame is no EngineRequest") from None
        except (ColumnError, BadReferenceError) as error:
            raise RefusedError(str(error)) from None

    def _answer(self, request: engine_pb2.EngineRequest) -> bytes | None:
        kind = request.WhichOneof("frame")
        if kind == "configuration":
            self._configure(request.configuration.settings_json)
        elif not self._configured:
            raise RefusedError(f"{kind or 'a frame of no kind'} came before the configuration")
        elif kind == "batch":
            return self._judge(request.batch)
        elif kind == "reference":
            self._universe.merge(decode_reference(request.reference))
            self._engine.reference(self._universe)
        elif kind == "snapshot":
            self._engine.snapshot(decode_snapshot(request.snapshot))
        elif kind == "report":
            self._engine.report(decode_report(request.report))
        else:
            raise RefusedError("a frame is of no kind known here")
        return None

    def _configure(self, settings: bytes) -> None:
        try:
            configuration = EngineConfiguration.model_validate_json(settings)
        except ValueError as error:
            raise RefusedError(f"configuration: {error}") from None
        self._engine.configure(configuration)
        self._configured = True

    def _judge(self, batch: engine_pb2.OpportunityBatch) -> bytes:
        opportunities = decode_opportunities(batch.opportunities, batch.depth)
        self._check(opportunities)
        columns = encode_verdicts(self._engine.judge(opportunities))
        return batch_frame(VERDICT_BATCH, batch.batch_id, submessage(VERDICTS, columns))

    def _check(self, o: Opportunities) -> None:
        """Ids of the universe, and depth where it is needed: judging takes them as given."""
        u = self._universe
        _known("instrument", o.instrument, len(u.symbols))
        _known("buy_venue", o.buy_venue, len(u.venues))
        _known("sell_venue", o.sell_venue, len(u.venues))
        if self._engine.wants_depth and o.depth is None and len(o):
            raise RefusedError(f"the engine {self._engine.name} was asked without depth")


def _known(column: str, ids: Ints, count: int) -> None:
    if len(ids) and int(ids.max()) >= count:
        raise ColumnError(f"column {column} has the id {int(ids.max())} where reference data name {count}")


class EngineServicer:
    """The one call of the Engine service."""

    def __init__(self, name: str) -> None:
        self._name, self._streams = name, OpenStreams()

    async def evaluate(self, _: Any, context: Context) -> None:
        """One hub connection, with a new engine."""
        conversation = Conversation(ENGINES[self._name]())
        log.info("hub connected", engine=self._name, peer=context.peer())
        async with self._streams.holding(context):
            await context.write(conversation.hello())
            while isinstance(frame := await context.read(), bytes):  # else it is the end
                try:
                    answer = conversation.answer(frame)
                except RefusedError as error:
                    log.warning("hub refused", engine=self._name, peer=context.peer(), reason=str(error))
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                if answer is not None:
                    await context.write(answer)

    async def drain(self) -> None:
        """End every stream: hubs count what is unanswered as silence, and look for us again."""
        await self._streams.end("the engine is shutting down")

    def register(self, server: grpc.aio.Server) -> None:
        """Answer calls of `server`; frames come as bytes, so that what cannot be read is refused like the rest."""
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self.evaluate)
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"Evaluate": handler})
        server.add_generic_rpc_handlers((handlers,))


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
    servicer = EngineServicer(name)
    async with serving(place, servicer.register, [SERVICE], on_ready, servicer.drain) as port:
        log.info("serving", engine=name, port=port)
        settle_memory()
        await shutdown.wait()
