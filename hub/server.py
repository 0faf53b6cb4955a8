"""The hub's gRPC face: streams of ticks, single evaluations, and watching. Status codes are made here only."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import numpy as np
import structlog

from arbhub.columns import Decisions, Side, Ticks
from arbhub.control import BadReferenceError
from arbhub.engine import Engine
from arbhub.service import OnReady, serving, settle_memory
from arbhub.settings.schema import Settings
from arbhub.v1 import hub_pb2
from arbhub.wire import ColumnError
from hub.hub import Hub
from hub.session import Session, leg
from hub.status import status

SERVICE = "arbhub.v1.Hub"
ANSWER_RESERVE_S = 0.001  # of the caller's deadline, to carry the answer back

log = structlog.get_logger()


class HubServicer:
    """The three calls of the Hub service."""

    def __init__(self, hub: Hub, shutdown: asyncio.Event) -> None:
        self._hub, self._shutdown = hub, shutdown

    async def stream(self, _: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Ticks in, decisions out, until the client ends or says what cannot be taken."""
        session, written = Session(self._hub), asyncio.Event()
        session.on_answer = written.set
        writer = asyncio.ensure_future(_write_all(session, written, context))
        try:
            refusal = await self._read_all(session, context)
            session.ending = True
            written.set()
            await writer  # what was accepted is answered first
            if refusal:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refusal)
        finally:
            writer.cancel()

    async def _read_all(self, session: Session, context: grpc.aio.ServicerContext[Any, Any]) -> str | None:
        """Read until the end (None) or until something cannot be taken (why)."""
        while (request := await context.read()) is not grpc.aio.EOF:
            kind = request.WhichOneof("frame")
            try:
                if kind == "batch":
                    session.batch(request.batch.batch_id, request.batch.ticks)
                elif kind == "reference":
                    session.reference(request.reference)
            except (ColumnError, BadReferenceError) as error:
                return str(error)
            if session.overdue:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "decisions are not being read as fast as ticks are sent",
                )
        return None

    async def evaluate(
        self, request: hub_pb2.EvaluateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hub_pb2.EvaluateReply:
        """One tick judged against the current books, within the caller's deadline and ours."""
        tick = await self._tick(request, context)
        answer: asyncio.Future[Decisions] = asyncio.get_running_loop().create_future()
        remaining = context.time_remaining()
        limit = None if remaining is None else max(0, int((remaining - ANSWER_RESERVE_S) * 1e9))
        self._hub.evaluate(tick, answer.set_result, limit)
        return _evaluation(self._hub, await answer)

    async def watch(
        self, request: hub_pb2.WatchRequest, _: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[hub_pb2.Status]:
        """The hub's state, again and again."""
        interval_s = (request.interval_ms or 500) / 1000
        while not self._shutdown.is_set():
            yield status(self._hub)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shutdown.wait(), interval_s)

    async def _tick(self, r: hub_pb2.EvaluateRequest, context: grpc.aio.ServicerContext[Any, Any]) -> Ticks:
        u = self._hub.universe
        for field, name, known in (("venue", r.venue, u.venue_ids), ("symbol", r.symbol, u.symbol_ids)):
            if name not in known:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{field} {name!r} is not known to this hub")
        for side in ("bid", "ask"):
            prices, sizes = getattr(r, f"{side}_price"), getattr(r, f"{side}_size")
            if len(prices) != len(sizes):
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"column {side}_size has {len(sizes)} values where {side}_price has {len(prices)}",
                )
        return Ticks(
            np.array([r.ts_ns or time.time_ns()]),
            np.array([u.symbol_ids[r.symbol]]),
            np.array([u.venue_ids[r.venue]]),
            Side.from_levels([list(zip(r.bid_price, r.bid_size, strict=True))]),
            Side.from_levels([list(zip(r.ask_price, r.ask_size, strict=True))]),
            np.zeros(1, np.int64),
        )


async def _write_all(session: Session, written: asyncio.Event, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Write what is answered until everything is and no more is coming."""
    while not (session.ending and session.unanswered == 0 and not session.outbox):
        await written.wait()
        written.clear()
        while session.outbox:
            await context.write(session.outbox.popleft())


def _evaluation(hub: Hub, d: Decisions) -> hub_pb2.EvaluateReply:
    venues = hub.universe.venues
    return hub_pb2.EvaluateReply(
        approved=bool(d.approved[0]),
        reason=d.reasons[d.reason[0]],
        buy_venue=leg(venues, int(d.buy_venue[0])),
        sell_venue=leg(venues, int(d.sell_venue[0])),
        gross_edge_bps=d.gross_edge_bps[0],
        fee_bps=d.fee_bps[0],
        slippage_bps=d.slippage_bps[0],
        net_edge_bps=d.net_edge_bps[0],
        quantity=d.quantity[0],
        buy_limit=d.buy_limit[0],
        sell_limit=d.sell_limit[0],
        config_version=hub.version,
    )


def _handlers(servicer: HubServicer) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Stream": grpc.stream_stream_rpc_method_handler(
                servicer.stream, hub_pb2.StreamRequest.FromString, response_serializer=None
            ),
            "Evaluate": grpc.unary_unary_rpc_method_handler(
                servicer.evaluate, hub_pb2.EvaluateRequest.FromString, hub_pb2.EvaluateReply.SerializeToString
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                servicer.watch, hub_pb2.WatchRequest.FromString, hub_pb2.Status.SerializeToString
            ),
        },
    )


async def run(
    settings: Settings,
    engines: Mapping[str, Engine],
    shutdown: asyncio.Event,
    on_ready: OnReady | None = None,
) -> None:
    """Serve the hub until `shutdown`; `engines` has those that are to run in this process."""
    hub = Hub(settings, engines)
    servicer = HubServicer(hub, shutdown)
    links = asyncio.ensure_future(hub.run())
    try:
        listen = settings.hub.listen
        async with serving(
            listen, lambda s: s.add_generic_rpc_handlers((_handlers(servicer),)), [SERVICE], on_ready
        ) as port:
            log.info("serving", service="hub", port=port, config_version=hub.version)
            settle_memory()
            ended = asyncio.ensure_future(shutdown.wait())
            await asyncio.wait([ended, links], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if links.done():
                links.result()
    finally:
        links.cancel()
        await asyncio.gather(links, return_exceptions=True)
