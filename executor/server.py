"""The executor as a service: arbhub.v1.Executor, health and reflection. gRPC status codes are made here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from arbhub.control import BadReferenceError, decode_reference
from arbhub.engine import EngineConfiguration
from arbhub.security.certificates import credentials_of
from arbhub.service import OnReady, OpenStreams, require_paper, serving
from arbhub.settings.schema import Settings
from arbhub.state import TRADING_STATES
from arbhub.telemetry import tracing
from arbhub.v1 import engine_pb2, executor_pb2
from arbhub.wire import ColumnError
from executor.journal import FencedError
from executor.ledger import LedgerUnavailableError
from executor.tracing import TradeTraces
from executor.turns import Stream, Turns

SERVICE = "arbhub.v1.Executor"
LAST_ORDERS_S = 2.0  # at most, for orders under way at shutdown; later ones are what a crash would leave
MAX_UNREAD = 16384  # replies that a hub may leave unread
Context = grpc.aio.ServicerContext[executor_pb2.ExecuteRequest, executor_pb2.ExecuteReply]

log = structlog.get_logger()


class NotYetError(Exception):
    """A batch that comes before the reference data its ids belong to."""


class UnusableError(ValueError):
    """A frame that says what cannot be."""


class DeafError(Exception):
    """A hub that sends and does not read."""


class Streams:
    """Hub connections, all on one desk."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._open = OpenStreams()

    async def execute(self, frames: AsyncIterator[bytes], context: Context) -> None:
        """One hub connection: configuration, reference data, batches in; snapshot, reports, acks out."""
        stream = Stream()
        writer = asyncio.create_task(_write(stream, context))
        try:
            async with self._open.holding(context):
                async for frame in frames:
                    await self._take(stream, _request(frame))
                    if stream.replies.qsize() > MAX_UNREAD:
                        raise DeafError("replies are not being read as fast as batches are sent")
                stream.replies.put_nowait(None)
                await writer
        except (ColumnError, BadReferenceError, UnusableError) as error:
            await _abort(context, writer, stream, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (FencedError, NotYetError) as error:
            await _abort(context, writer, stream, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except DeafError as error:
            log.warning("hub cut off", peer=context.peer(), reason=str(error))
            stream.replies = asyncio.Queue()  # what it has not read it never will
            writer.cancel()
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except LedgerUnavailableError as error:
            log.error("the ledger failed", error=str(error))
            await _abort(context, writer, stream, grpc.StatusCode.UNAVAILABLE, f"the ledger failed: {error}")
        finally:
            writer.cancel()

    def register(self, server: grpc.aio.Server) -> None:
        """Answer calls of `server`. Frames come as bytes: what cannot be read is refused like the rest."""
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self.execute, response_serializer=executor_pb2.ExecuteReply.SerializeToString
        )
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"Execute": handler})
        server.add_generic_rpc_handlers((handlers,))

    async def drain(self) -> None:
        """End every stream, so that hubs know at once; then let the orders that are under way come to their end."""
        await self._open.end("the executor is shutting down")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_ORDERS_S):
                await self._turns.settled()

    async def _take(self, stream: Stream, request: executor_pb2.ExecuteRequest) -> None:
        kind = request.WhichOneof("frame")
        if kind == "configuration":
            log.info("hub connected", config_version=request.configuration.version)
            if request.configuration.settings_json:
                stream.configuration = _configuration(request.configuration.settings_json)
        elif kind == "reference":
            await self._turns.reference(stream, decode_reference(request.reference))
        elif kind == "batch":
            if not stream.epoch:
                raise NotYetError("a batch came before any reference data")
            await self._turns.batch(stream, request.batch)
        elif kind in ("offer", "commit", "withdraw"):
            await self._change(stream, kind, request)
        elif kind == "trading":
            if request.trading.state not in TRADING_STATES.values():
                raise UnusableError(f"there is no trading state {request.trading.state}")
            await self._turns.trading(stream, request.trading.state)
        else:
            raise UnusableError("a frame is of no kind known here")

    async def _change(self, stream: Stream, kind: str, request: executor_pb2.ExecuteRequest) -> None:
        """A step on the way to another configuration."""
        if kind == "offer":
            _consider(stream, request.offer)
        elif kind == "commit":
            if not await self._turns.commit(stream, request.commit.version):
                raise NotYetError(f"configuration {request.commit.version} was committed without having been offered")
        elif stream.offered is not None and stream.offered[0] == request.withdraw.version:
            stream.offered = None


def _request(frame: bytes) -> executor_pb2.ExecuteRequest:
    try:
        return executor_pb2.ExecuteRequest.FromString(frame)
    except DecodeError:
        raise UnusableError("a frame is no ExecuteRequest") from None


def _configuration(settings: bytes) -> EngineConfiguration:
    try:
        return EngineConfiguration.model_validate_json(settings)
    except ValueError as error:
        raise UnusableError(f"configuration: {error}") from None


def _consider(stream: Stream, offer: engine_pb2.Offer) -> None:
    """Keep an offer that can be run with; say why where it cannot."""
    reply = engine_pb2.OfferReply(version=offer.version, accepted=True)
    try:
        stream.offered = offer.version, _configuration(offer.settings_json)
    except UnusableError as error:
        stream.offered = None
        reply = engine_pb2.OfferReply(version=offer.version, reason=str(error))
    stream.replies.put_nowait(executor_pb2.ExecuteReply(offer_reply=reply))


async def _write(stream: Stream, context: Context) -> None:
    with contextlib.suppress(grpc.aio.AbortError, grpc.aio.UsageError, asyncio.InvalidStateError):
        while (reply := await stream.replies.get()) is not None:
            await context.write(reply)


async def _abort(
    context: Context, writer: "asyncio.Task[None]", stream: Stream, code: grpc.StatusCode, text: str
) -> None:
    """End a stream with a status, after the replies to what came before."""
    stream.replies.put_nowait(None)
    await writer
    await context.abort(code, text)


async def run(settings: Settings, shutdown: asyncio.Event, on_ready: OnReady | None = None) -> None:
    """Serve until `shutdown`; ServiceError where the mode, the ledger or the address cannot be used."""
    require_paper(settings.executor.trading_mode)
    credentials = credentials_of(settings.tls, "executor")
    turns = Turns(settings)
    try:
        await turns.begin()
        async with tracing(settings.traces, "executor") as traces, _silence_kept(turns, shutdown):
            turns.traces = TradeTraces(traces) if traces is not None else None
            streams = Streams(turns)
            listen = settings.executor.listen
            async with serving(listen, streams.register, [SERVICE], on_ready, streams.drain, credentials) as port:
                log.info("serving", service="executor", port=port)
                await shutdown.wait()
    finally:
        await turns.end()


@contextlib.asynccontextmanager
async def _silence_kept(turns: Turns, shutdown: asyncio.Event) -> AsyncIterator[None]:
    """Complete orders in silence for as long as the block runs."""
    silence = asyncio.create_task(turns.complete_in_silence())
    silence.add_done_callback(lambda _: shutdown.set())  # it only ever ends by failing
    try:
        yield
    finally:
        silence.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await silence
