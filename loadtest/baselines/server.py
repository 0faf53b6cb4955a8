"""A baseline's gRPC face: `arbhub.v1.Hub/Stream` as the hub speaks it, and its engine processes beside it.

One stream at a time, whose reference data come once and first. What cannot be read ends the stream.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import numpy as np
import structlog
from google.protobuf.message import DecodeError

from arbhub.columns import Ticks
from arbhub.control import BadReferenceError, decode_reference
from arbhub.processes import Child, Household, Service, free_ports
from arbhub.reference import Universe
from arbhub.service import OnReady, OpenStreams, ServiceError, serving, settle_memory
from arbhub.settings.schema import Settings
from arbhub.v1 import hub_pb2, market_pb2
from arbhub.wire import ColumnError, decode_ticks
from hub.session import encode_batch
from loadtest.baselines.asking import DESIGNS, RemoteEngine
from loadtest.baselines.desk import Desk

SERVICE = "arbhub.v1.Hub"
START_S = 45.0  # for the engines' processes, on a busy machine

Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger()


class BaselineServicer:
    """The stream of ticks; the hub's other calls are not offered."""

    def __init__(self, settings: Settings, engines: list[RemoteEngine], design: str) -> None:
        self._settings, self._engines, self._design = settings, engines, DESIGNS[design]
        self._version = settings.version()
        self._streams, self._serving = OpenStreams(), False

    def register(self, server: grpc.aio.Server) -> None:
        """Answer calls of `server`."""
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self.stream)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Stream": handler}),))

    async def drain(self) -> None:
        """End every stream."""
        await self._streams.end("the baseline is shutting down")

    async def stream(self, _: Any, context: Context) -> None:
        """Ticks in, decisions out, until the client ends or says what cannot be taken."""
        if self._serving:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "a baseline serves one stream at a time")
        self._serving = True
        try:
            async with self._streams.holding(context):
                await self._answer_all(context)
        except (ColumnError, BadReferenceError, DecodeError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except grpc.aio.AioRpcError as error:  # of the market's beginning; later, a silent engine is only silent
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"an engine does not begin: {error.details()}")
        finally:
            self._serving = False

    async def _answer_all(self, context: Context) -> None:
        desk: Desk | None = None
        while isinstance(frame := await context.read(), bytes):  # else it is the end
            received_ns = time.monotonic_ns()
            request = hub_pb2.StreamRequest.FromString(frame)
            kind = request.WhichOneof("frame")
            if kind == "batch" and desk is not None:
                decided = await desk.decide(_ticks(request.batch.ticks, desk.universe))
                held_ns = time.monotonic_ns() - received_ns
                await context.write(encode_batch(request.batch.batch_id, decided, 0, self._version, held_ns))
            elif kind == "reference" and desk is None:
                desk = Desk(self._settings, self._engines, self._design, decode_reference(request.reference))
                await desk.open()
                await context.write(self._names(desk.universe))
            else:
                raise DecodeError("a baseline takes reference data once, and then ticks")

    def _names(self, universe: Universe) -> bytes:
        engines = [engine.name for engine in self._engines]
        names = hub_pb2.Names(venues=universe.venues, symbols=universe.symbols, engines=engines)
        return hub_pb2.StreamReply(names=names).SerializeToString()


def _ticks(message: market_pb2.TickColumns, universe: Universe) -> Ticks:
    """The batch's ticks; ColumnError where they name what the reference data do not."""
    ticks = decode_ticks(message)
    for column, ids, known in (
        ("instrument", ticks.instrument, universe.symbols),
        ("venue", ticks.venue, universe.venues),
    ):
        if np.max(ids, initial=-1) >= len(known):
            raise ColumnError(f"column {column} has an id that reference data do not name")
    return ticks


@contextlib.asynccontextmanager
async def engine_processes(names: Sequence[str]) -> AsyncIterator[tuple[Household, list[RemoteEngine]]]:
    """A process an engine for as long as the block runs; ServiceError where one does not start."""
    household = Household()
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(names))]
    try:
        for name, address in zip(names, addresses, strict=True):
            household.children.append(await _started(name, address))
        await household.ready(START_S)
        yield household, [RemoteEngine(*engine) for engine in zip(names, addresses, strict=True)]
    finally:
        await household.end()


async def _started(name: str, address: str) -> Child:
    words = ("engine", name, "--listen", address)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.baselines", *words), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    return Child(Service(name, words, address), process)


async def run(
    design: str, listen: str, settings: Settings, shutdown: asyncio.Event, on_ready: OnReady | None = None
) -> None:
    """Serve a baseline at HOST:PORT with its engines until `shutdown`; ServiceError where an engine ends before."""
    async with engine_processes(list(settings.engines.table())) as (household, engines):
        servicer = BaselineServicer(settings, engines, design)
        async with serving(listen, servicer.register, [SERVICE], on_ready, servicer.drain) as port:
            log.info("serving for comparison only", design=design, port=port)
            settle_memory()
            lost = asyncio.create_task(household.first_end())
            ended = asyncio.create_task(shutdown.wait())
            await asyncio.wait([lost, ended], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not lost.cancel():
                raise ServiceError(f"the engine {lost.result().service.name} ended by itself")
