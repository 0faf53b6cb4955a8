"""The hub's gRPC face: streams of ticks, single evaluations, and watching. Status codes are made here only.

What ends a stream, a refusal, the client's end or ours, comes behind the decisions on everything accepted before
it. Only a client that reads no decisions does not get them: it holds up nobody but itself.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from arbhub.columns import MAX_TS_NS
from arbhub.engine import Engine
from arbhub.rows import Tick
from arbhub.security.certificates import credentials_of
from arbhub.service import OnReady, OpenStreams, ServiceError, serving, settle_memory
from arbhub.settings.schema import Settings
from arbhub.settings.source import Source
from arbhub.telemetry import tracing
from arbhub.v1 import hub_pb2
from hub.admin.acts import Admin
from hub.admin.memory import Memory
from hub.http.app import Backing
from hub.hub import Hub
from hub.ports import Closure, operated
from hub.reference_store import second_level
from hub.session import MAX_UNREAD_S, RefusedError, Session, leg
from hub.single import Judged, UnknownNameError, judged, tick_of
from hub.status import status
from hub.tracing import Names, RoundTraces

SERVICE = "arbhub.v1.Hub"
ENDING = "the hub is shutting down"
ANSWER_RESERVE_S = 0.001  # of the caller's deadline at least, to carry the answer back
ANSWER_RESERVE = 0.1  # and that part of it: a caller with time to spare gets an answer from a busy machine too
LAST_ROUNDS_S = 2.0  # at most, whatever the deadline, for rounds to end at shutdown
LAST_ANSWERS_S = 0.5  # beyond that, for clients to read their last decisions
LAST_TRADES_S = 0.5  # and for what was approved to be on its way to the executor
MIN_WATCH_S = 0.05

Context = grpc.aio.ServicerContext[Any, Any]
Q = TypeVar("Q", bound=Message)

log = structlog.get_logger()


class HubServicer:
    """The three calls of the Hub service."""

    def __init__(self, hub: Hub, shutdown: asyncio.Event) -> None:
        self._hub, self._shutdown = hub, shutdown
        self._streams = OpenStreams()
        self._sessions: dict[Session, asyncio.Task[None]] = {}
        self._contexts: dict[Session, Context] = {}

    def register(self, server: grpc.aio.Server) -> None:
        """Answer calls of `server`. Requests come as bytes: what cannot be read is refused like the rest."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Stream": grpc.stream_stream_rpc_method_handler(self.stream),
            "Evaluate": grpc.unary_unary_rpc_method_handler(
                self.evaluate, response_serializer=hub_pb2.EvaluateReply.SerializeToString
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self.watch, response_serializer=hub_pb2.Status.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    async def stream(self, _: Any, context: Context) -> None:
        """Ticks in, decisions out, until the client ends or says what cannot be taken."""
        session, written = Session(self._hub), asyncio.Event()
        session.on_answer = written.set
        writer = self._sessions[session] = asyncio.create_task(_write_all(session, written, context))
        self._contexts[session] = context
        try:
            async with self._streams.holding(context):
                code, text = await self._read_all(session, context)
                if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    session.leave()
                else:
                    session.ending = True
                    written.set()
                    await asyncio.wait([writer])  # what was accepted is answered first
                if code is not grpc.StatusCode.OK:
                    log.warning("stream refused", peer=context.peer(), code=code.name, reason=text)
                    await _abort(context, code, text)
        finally:
            session.leave()
            del self._sessions[session], self._contexts[session]
            writer.cancel()

    async def cut_off_the_deaf(self) -> None:
        """For as long as it is awaited: end the streams of clients that have stopped reading."""
        text = f"decisions have not been read for {MAX_UNREAD_S:g} s"
        while True:
            await asyncio.sleep(MAX_UNREAD_S / 4)
            now_ns = time.monotonic_ns()
            for session, context in self._contexts.items():
                if not session.left and session.stalled(now_ns):
                    log.warning("stream refused", peer=context.peer(), code="RESOURCE_EXHAUSTED", reason=text)
                    session.leave()
                    self._streams.cut(context, grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    async def drain(self) -> None:
        """Accept nothing more, write the decisions on what was accepted, then end every stream."""
        self._streams.turn_away(ENDING)
        for session in self._sessions:
            session.ending = True
            session.on_answer()
        writers = [writer for session, writer in self._sessions.items() if not session.left]
        if writers:
            deadline_s = self._hub.settings.hub.deadline_ms / 1e3
            await asyncio.wait(writers, timeout=min(deadline_s, LAST_ROUNDS_S) + LAST_ANSWERS_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_TRADES_S):
                await self._hub.trades.link.flushed()
        await self._streams.end(ENDING)

    @staticmethod
    async def _read_all(session: Session, context: Context) -> tuple[grpc.StatusCode, str]:
        """Read until the end (OK), or until something cannot be taken; says why."""
        while (frame := await context.read()) is not grpc.aio.EOF:
            if session.left:  # cut off, and told so when it reads again
                return grpc.StatusCode.OK, ""
            if session.ending:
                return grpc.StatusCode.UNAVAILABLE, ENDING
            try:
                session.take(frame)
            except RefusedError as error:
                return grpc.StatusCode.INVALID_ARGUMENT, str(error)
            if session.overdue:
                return grpc.StatusCode.RESOURCE_EXHAUSTED, "decisions are not being read as fast as ticks are sent"
        return grpc.StatusCode.OK, ""

    async def evaluate(self, frame: bytes, context: Context) -> hub_pb2.EvaluateReply:
        """One tick judged against the current books, within the caller's deadline and ours."""
        received_ns = time.monotonic_ns()
        tick = await self._tick(await _request(hub_pb2.EvaluateRequest, frame, context), context)
        remaining = context.time_remaining()
        found = await judged(self._hub, tick, None if remaining is None else _answer_within(remaining))
        if found is None:
            await context.abort(grpc.StatusCode.INTERNAL, "the tick could not be judged; the hub's log says why")
        return _evaluation(self._hub, found, time.monotonic_ns() - received_ns)

    async def watch(self, frame: bytes, context: Context) -> AsyncIterator[hub_pb2.Status]:
        """The hub's state, again and again."""
        request = await _request(hub_pb2.WatchRequest, frame, context)
        interval_s = max((request.interval_ms or 500) / 1000, MIN_WATCH_S)
        while not self._shutdown.is_set():
            yield status(self._hub)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shutdown.wait(), interval_s)

    async def _tick(self, r: hub_pb2.EvaluateRequest, context: Context) -> Tick:
        bids, asks = (r.bid_price, r.bid_size), (r.ask_price, r.ask_size)
        try:
            tick = tick_of(self._hub, r.venue, r.symbol, r.ts_ns, bids, asks)
        except UnknownNameError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if abs(r.ts_ns) > MAX_TS_NS:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "ts_ns is a time beyond all years")
        for side, (prices, sizes) in (("bid", bids), ("ask", asks)):
            if len(prices) != len(sizes):
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"column {side}_size has {len(sizes)} values where {side}_price has {len(prices)}",
                )
        return tick


async def _request(kind: type[Q], frame: bytes, context: Context) -> Q:
    try:
        return kind.FromString(frame)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"this is no {kind.__name__}")


def _answer_within(remaining_s: float) -> int:
    """How long a round may take, in ns, so that its answer reaches a caller who waits for `remaining_s`."""
    return max(0, int((remaining_s - max(ANSWER_RESERVE_S, ANSWER_RESERVE * remaining_s)) * 1e9))


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> None:
    """End a stream. Who reads nothing is told when it reads again; until then gRPC keeps the end back, and us here."""
    try:
        await context.abort(code, text)
    except grpc.aio.InternalError:  # it went away untold
        raise asyncio.CancelledError from None


async def _write_all(session: Session, written: asyncio.Event, context: Context) -> None:
    """Write what is answered until everything is and no more is coming, or the stream has ended."""
    with contextlib.suppress(grpc.aio.AbortError, grpc.aio.UsageError, grpc.aio.InternalError):
        while not session.done:
            await written.wait()
            written.clear()
            while session.outbox:
                await context.write(session.pop())
                session.written += 1


def _evaluation(hub: Hub, found: Judged, held_ns: int) -> hub_pb2.EvaluateReply:
    venues, d = hub.universe.venues, found.decision
    return hub_pb2.EvaluateReply(
        approved=d.approved,
        reason=hub.reasons.names[d.reason],
        buy_venue=leg(venues, d.buy_venue),
        sell_venue=leg(venues, d.sell_venue),
        gross_edge_bps=d.gross_edge_bps,
        fee_bps=d.fee_bps,
        slippage_bps=d.slippage_bps,
        net_edge_bps=d.net_edge_bps,
        quantity=d.quantity,
        buy_limit=d.buy_limit,
        sell_limit=d.sell_limit,
        config_version=found.version,
        held_ns=held_ns,
    )


def _administrable(
    settings: Settings, engines: Mapping[str, Engine], source: Source, closure: Closure
) -> tuple[Hub, Admin]:
    """A hub that remembers: it runs with what was last committed, unless the file has changed since."""
    try:
        memory = Memory.opened(settings.hub.state_dir)
        settings, committed = memory.begin(settings, time.time_ns())
    except OSError as error:
        raise ServiceError(f"hub.state_dir {settings.hub.state_dir}: {error.strerror}") from None
    hub = Hub(settings, engines, committed.version, closure.credentials)
    return hub, Admin(hub, source, memory, closure.audit)


async def run(
    settings: Settings,
    engines: Mapping[str, Engine],
    shutdown: asyncio.Event,
    on_ready: OnReady | None = None,
    source: Source | None = None,
    backing: Backing | None = None,
) -> None:
    """Serve the hub until `shutdown`; `engines` has those that are to run in this process.

    `source` is where the settings came from, for an operator to change them; without it the hub has no admin.
    `backing` is what else its HTTP routes reach beyond it.
    """
    credentials = credentials_of(settings.tls, "hub")
    closure = Closure.of(settings.hub, credentials)
    hub, admin = (
        _administrable(settings, engines, source, closure)
        if source
        else (Hub(settings, engines, credentials=credentials), None)
    )
    servicer = HubServicer(hub, shutdown)
    links, watch = asyncio.create_task(hub.run()), asyncio.create_task(servicer.cut_off_the_deaf())
    try:
        listen, drain = settings.hub.listen, servicer.drain
        async with (
            tracing(settings.traces, "hub") as traces,
            second_level(settings.redis, hub) as hub.reference_store,
            operated(hub, admin, backing or Backing(), closure, shutdown),
            serving(listen, servicer.register, [SERVICE], on_ready, drain, credentials) as port,
        ):
            if traces is not None:
                hub.traces = RoundTraces(traces, Names(hub.universe, hub.reasons.names, hub.seats))
            log.info("serving", service="hub", port=port, config_version=hub.version)
            settle_memory()
            ended = asyncio.create_task(shutdown.wait())
            await asyncio.wait([ended, links], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if links.done():
                links.result()
    finally:
        for task in (links, watch):
            task.cancel()
        await asyncio.gather(links, watch, return_exceptions=True)
