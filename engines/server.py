"""The shell round the engines of a place, one or several: a stream a hub connection, each with engines of its own.

So a connection knows only what it was told over itself: a hub that connects anew starts from nothing, and sends
configuration, reference data and state before it asks. What a hub may not say ends its stream, and no other. An
engine that fails to judge has no answer, and silences no other engine; one that fails to take a control frame ends
the stream, because nobody could trust it with what comes after. Time is read here, never in an engine: a batch that
nobody waits for any more is not judged, and the hub is told so.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from arbhub import rowwire
from arbhub.columns import Ints, Opportunities
from arbhub.control import BadReferenceError, decode_reference, decode_report, decode_snapshot
from arbhub.engine import Engine, EngineConfiguration
from arbhub.reference import Universe
from arbhub.rows import Opportunity
from arbhub.scan import Columns, budgeted_batch_of
from arbhub.security.certificates import credentials_of
from arbhub.service import OnReady, OpenStreams, serving, settle_memory
from arbhub.settings.schema import Settings
from arbhub.v1 import engine_pb2, opportunity_pb2
from arbhub.wire import (
    ColumnError,
    batch_frame,
    decode_opportunities,
    depth_in,
    encode_verdicts,
    needed,
    nested,
    opportunities_in,
)
from engines.hosting import hosted_by
from engines.offers import Offers
from engines.table import ENGINES

SERVICE = "arbhub.v1.Engine"
BATCH = engine_pb2.EngineRequest.BATCH_FIELD_NUMBER
OPPORTUNITIES = engine_pb2.OpportunityBatch.OPPORTUNITIES_FIELD_NUMBER
DEPTH = engine_pb2.OpportunityBatch.DEPTH_FIELD_NUMBER
BUDGET = engine_pb2.OpportunityBatch.BUDGET_NS_FIELD_NUMBER
VERDICT_BATCH = engine_pb2.EngineReply.BATCH_FIELD_NUMBER
VERDICTS = engine_pb2.VerdictBatch.VERDICTS_FIELD_NUMBER
Context = grpc.aio.ServicerContext[bytes, bytes]
Asked = Opportunities | list[Opportunity]

log = structlog.get_logger()


class RefusedError(ValueError):
    """A frame that cannot be taken; the text says what is wrong with it."""


class Conversation:
    """One hub connection: what it was told, and the engines that answer it. `clock` is monotonic, in ns."""

    def __init__(self, engines: Sequence[Engine], clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._engines, self._universe, self._clock = tuple(engines), Universe(), clock
        self._stateful = [engine for engine in engines if engine.wants_state]
        self._needs_depth = next((engine.name for engine in engines if engine.wants_depth), None)
        self._needed = needed([engine.reads for engine in engines])
        self._configured = False
        self._off: frozenset[str] = frozenset()
        self._offers = Offers(self._engines)
        self._failing: set[str] = set()

    def hellos(self) -> list[bytes]:
        """Who answers here, in the order of their verdicts, and what each wants to be told."""
        hosted = [engine.name for engine in self._engines] if len(self._engines) > 1 else []
        hellos = [
            engine_pb2.EngineHello(
                name=e.name,
                reasons=e.reasons,
                wants_depth=e.wants_depth,
                wants_state=e.wants_state,
                hosted=hosted,
                reads=e.reads,
            )
            for e in self._engines
        ]
        return [engine_pb2.EngineReply(hello=hello).SerializeToString() for hello in hellos]

    def answer(self, frame: bytes) -> bytes | None:
        """Take a control frame (None), or answer a batch. RefusedError where it is neither, or does not fit."""
        read_ns = self._clock()
        try:
            plain = self._answer_plain(frame, read_ns)
            return plain or self._answer(engine_pb2.EngineRequest.FromString(frame), read_ns)
        except DecodeError:
            raise RefusedError("a frame is no EngineRequest") from None
        except (ColumnError, BadReferenceError) as error:
            raise RefusedError(str(error)) from None

    def _answer(self, request: engine_pb2.EngineRequest, read_ns: int) -> bytes | None:
        kind = request.WhichOneof("frame")
        if kind == "configuration":
            self._configure(request.configuration.settings_json)
        elif not self._configured:
            raise RefusedError(f"{kind or 'a frame of no kind'} came before the configuration")
        elif kind == "batch":
            b = request.batch
            return self._judge(b.batch_id, _until(read_ns, b.budget_ns), b.opportunities, b.depth)
        elif kind == "reference":
            self._universe.merge(decode_reference(request.reference))
            for engine in self._engines:
                engine.reference(self._universe)
        elif kind == "snapshot":
            snapshot = decode_snapshot(request.snapshot)
            for engine in self._stateful:
                engine.snapshot(snapshot)
        elif kind == "report":
            report = decode_report(request.report)
            for engine in self._stateful:
                engine.report(report)
        elif kind in ("offer", "commit", "withdraw"):
            return self._offered(request, kind)
        else:
            raise RefusedError("a frame is of no kind known here")
        return None

    def _configure(self, settings: bytes) -> None:
        try:
            configuration = EngineConfiguration.model_validate_json(settings)
        except ValueError as error:
            raise RefusedError(f"configuration: {error}") from None
        self._run_with(configuration)

    def _offered(self, request: engine_pb2.EngineRequest, kind: str) -> bytes | None:
        """What concerns a configuration that is not in force yet."""
        if kind == "offer":
            reply = self._offers.take(request.offer, self._universe)
            return engine_pb2.EngineReply(offer_reply=reply).SerializeToString()
        if kind == "commit":
            self._commit(request.commit.version)
        else:
            self._offers.forget(request.withdraw.version)
        return None

    def _commit(self, version: str) -> None:
        configuration = self._offers.forget(version)
        if configuration is None:
            raise RefusedError(f"configuration {version} was committed without having been offered and accepted")
        self._run_with(configuration)

    def _run_with(self, configuration: EngineConfiguration) -> None:
        for engine in self._engines:
            engine.configure(configuration)
        table = configuration.engines.table()
        self._off = frozenset(name for name, section in table.items() if section.mode == "off")
        self._configured = True

    def _answer_plain(self, frame: bytes, read_ns: int) -> bytes | None:
        """Answer a batch that is laid out as the hub does; None where it is none, and protobuf has to read it."""
        batch = budgeted_batch_of(frame, BATCH, BUDGET) if self._configured else None
        if batch is None or [span[0] for span in batch[2]] not in ([OPPORTUNITIES], [OPPORTUNITIES, DEPTH]):
            return None
        batch_id, budget_ns, spans = batch
        until_ns = _until(read_ns, budget_ns)
        rows = rowwire.decode_opportunities(frame, spans[0], spans[1] if len(spans) > 1 else None)
        if rows is None:
            columns = opportunities_in(frame, *spans[0][1:])
            depth = depth_in(frame, *spans[1][1:]) if len(spans) > 1 else None
            if columns is None or (depth is None and len(spans) > 1):
                return None
            return self._judge(batch_id, until_ns, columns, depth)
        if self._needs_depth and rows[0].ask_price is None:
            return None
        symbols, venues = len(self._universe.symbols), len(self._universe.venues)
        if any(o.instrument >= symbols or o.buy_venue >= venues or o.sell_venue >= venues for o in rows):
            return None
        return self._batch(batch_id, until_ns, rows)

    def _judge(
        self,
        batch_id: int,
        until_ns: int,
        columns: opportunity_pb2.OpportunityColumns | Columns,
        depth: opportunity_pb2.DepthColumns | Columns | None = None,
    ) -> bytes:
        opportunities = decode_opportunities(columns, depth, self._needed)
        self._check(opportunities)
        return self._batch(batch_id, until_ns, opportunities)

    def _batch(self, batch_id: int, until_ns: int, asked: Asked) -> bytes:
        """Every engine's verdicts; none at all once nobody waits for them (`until_ns`; 0: somebody always does)."""
        answers: list[bytes] = []
        for engine in self._engines:
            if until_ns and self._clock() >= until_ns:
                skipped = engine_pb2.VerdictBatch(batch_id=batch_id, skipped=True)
                return engine_pb2.EngineReply(batch=skipped).SerializeToString()
            answers += nested(VERDICTS, [self._verdicts(engine, asked)])
        return batch_frame(VERDICT_BATCH, batch_id, *answers)

    def _verdicts(self, engine: Engine, asked: Asked) -> bytes:
        """As VerdictColumns, none where it is off or fails; the log says once why, until the engine is well again."""
        if engine.name in self._off:
            return b""
        try:
            answer = engine.answer(asked)
            if len(answer) != len(asked):
                raise ValueError("its verdicts are not one a row")
            columns = rowwire.encode_verdicts(answer) if isinstance(answer, list) else encode_verdicts(answer)
        except Exception:
            if engine.name not in self._failing:
                log.exception("engine failed", engine=engine.name)
            self._failing.add(engine.name)
            return b""
        self._failing.discard(engine.name)
        return columns

    def _check(self, o: Opportunities) -> None:
        """Ids of the universe, and depth where it is needed: judging takes them as given."""
        u = self._universe
        _known("instrument", o.instrument, len(u.symbols))
        _known("buy_venue", o.buy_venue, len(u.venues))
        _known("sell_venue", o.sell_venue, len(u.venues))
        if self._needs_depth and o.depth is None and len(o):
            raise RefusedError(f"the engine {self._needs_depth} was asked without depth")


def _until(read_ns: int, budget_ns: int) -> int:
    """When a batch's budget, stated as it was sent, is used up at the earliest by our own clock; 0: never."""
    return read_ns + budget_ns if budget_ns else 0


def _known(column: str, ids: Ints, count: int) -> None:
    if len(ids) and int(ids.max()) >= count:
        raise ColumnError(f"column {column} has the id {int(ids.max())} where reference data name {count}")


class EngineServicer:
    """The one call of the Engine service."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._streams = names, OpenStreams()

    async def evaluate(self, _: Any, context: Context) -> None:
        """One hub connection, with new engines."""
        conversation = Conversation([ENGINES[name]() for name in self._names])
        said = {"engine": ", ".join(self._names), "peer": context.peer()}
        log.info("hub connected", **said)
        async with self._streams.holding(context):
            for hello in conversation.hellos():
                await context.write(hello)
            while isinstance(frame := await context.read(), bytes):  # else it is the end
                try:
                    answer = conversation.answer(frame)
                except RefusedError as error:
                    log.warning("hub refused", **said, reason=str(error))
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


async def run(
    settings: Settings, names: Sequence[str], shutdown: asyncio.Event, on_ready: OnReady | None = None
) -> None:
    """Serve the named engines at their common place until `shutdown`; ServiceError where they have none."""
    place, hosted = hosted_by(settings, names)
    credentials = credentials_of(settings.tls, "engine")
    servicer = EngineServicer(hosted)
    async with serving(place, servicer.register, [SERVICE], on_ready, servicer.drain, credentials) as port:
        log.info("serving", engine=", ".join(hosted), port=port)
        settle_memory()
        await shutdown.wait()
