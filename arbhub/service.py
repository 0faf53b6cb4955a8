"""The shell round every service: bind, health, reflection, signals, drain.

A service is `run(settings, shutdown)`: it serves until the event is set, then answers NOT_SERVING, gives calls
in flight a moment and returns. Signals set the event; a second one ends the process at once.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from arbhub.security.credentials import INSECURE, Credentials

DRAIN_S = 0.5  # long-lived streams do not end by themselves; rounds in flight take milliseconds
MAX_MESSAGE_BYTES = 32 << 20  # batches are bounded far below; reference data of a large market are not
OnReady = Callable[[int], None]
Drain = Callable[[], Awaitable[None]]
Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger()

# Two servers on one port would share its connections in silence; that is never meant here.
SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
# The defaults take up to 18 s to find a restarted peer.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


class ServiceError(Exception):
    """Why a service cannot run, in one sentence for a person."""


def require_paper(trading_mode: str) -> None:
    """ServiceError where a configuration asks for live trading, as all of a live environment does."""
    if trading_mode != "paper":
        raise ServiceError(
            f'executor.trading_mode is "{trading_mode}", which is not built yet: only "paper" is allowed'
        )


@contextlib.asynccontextmanager
async def serving(
    listen: str,
    register: Callable[[grpc.aio.Server], None],
    services: Sequence[str],
    on_ready: OnReady | None = None,
    drain: Drain | None = None,
    credentials: Credentials = INSECURE,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> AsyncIterator[int]:
    """Serve the registered services, with health and reflection, for as long as the block runs; gives the port.

    `services` are their full names, such as "arbhub.v1.Hub". Leaving the block answers NOT_SERVING, then awaits
    `drain`, then gives calls in flight a moment. ServiceError where the address cannot be had. With certificates in
    `credentials` only peers of the same authority are answered, health and reflection included.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=interceptors)
    register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    named = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(named, server)
    try:
        port = 0 if _is_served(listen) else credentials.bind(server, listen)
    except RuntimeError:
        port = 0
    if port == 0:
        raise ServiceError(f"cannot listen on {listen}: the port is in use or the address is not this machine's")
    await server.start()
    try:
        for name in ("", *services):
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        if on_ready:
            on_ready(port)
        yield port
    finally:
        await checks.enter_graceful_shutdown()
        if drain:
            await drain()
        await server.stop(DRAIN_S)


def _is_served(listen: str) -> bool:
    """Whether somebody answers at a unix socket: gRPC would take the path away from them without a word."""
    if not listen.startswith("unix:"):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(listen.removeprefix("unix:")) == 0


class OpenStreams:
    """The streams that a server has open. They do not end by themselves, and would hold up the drain.

    A peer that has been told of the end comes again at once, while the drain goes on: it is turned away. Who ends its
    streams one by one before `end` says `turn_away` first, for it would take in on new ones what it never answers.
    """

    def __init__(self) -> None:
        self._aborts: dict[Context, asyncio.Task[None] | None] = {}
        self._over = ""

    @contextlib.asynccontextmanager
    async def holding(self, context: Context) -> AsyncIterator[None]:
        """The stream is open for as long as the block runs."""
        if self._over:
            await context.abort(grpc.StatusCode.UNAVAILABLE, self._over)
        self._aborts[context] = None
        try:
            yield
        finally:
            abort = self._aborts.pop(context)
        if abort is not None:
            await abort  # it raises, and gRPC wants to see that come out of the stream's handler

    def cut(self, context: Context, code: grpc.StatusCode, why: str) -> "asyncio.Task[None]":
        """End one stream. Its handler need do nothing for it; who reads nothing is told when it reads again."""
        abort = self._aborts[context] = asyncio.create_task(_abort(context, code, why))
        abort.add_done_callback(lambda done: done.cancelled() or done.exception())
        return abort

    def turn_away(self, why: str) -> None:
        """From now on no new stream is let in; those that are open go on."""
        self._over = why

    async def end(self, why: str) -> None:
        """End every stream as UNAVAILABLE, so that the other sides know at once; who reads nothing is left behind."""
        self.turn_away(why)
        open_now = [context for context, abort in self._aborts.items() if abort is None]
        aborts = [self.cut(context, grpc.StatusCode.UNAVAILABLE, why) for context in open_now]
        if aborts:
            await asyncio.wait(aborts, timeout=DRAIN_S)


async def _abort(context: Context, code: grpc.StatusCode, why: str) -> None:
    await context.abort(code, why)


def channel(address: str, credentials: Credentials = INSECURE) -> grpc.aio.Channel:
    """A channel that finds a restarted peer within half a second."""
    return credentials.channel(address, CHANNEL_OPTIONS)


def run_until_signal(run: Callable[[asyncio.Event], Awaitable[object]]) -> None:
    """Run a service on uvloop until it returns, SIGTERM or SIGINT; a second signal ends the process at once."""

    async def main() -> None:
        shutdown = asyncio.Event()

        def on_signal() -> None:
            if shutdown.is_set():
                os._exit(1)
            shutdown.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await run(shutdown)

    uvloop.run(main())


async def until(shutdown: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work until it is done or it is time to end; whether it was done. What it raises is raised here."""
    doing, ended = asyncio.create_task(work), asyncio.create_task(shutdown.wait())
    try:
        await asyncio.wait([doing, ended], return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
        return doing.done()
    finally:
        for task in (doing, ended):
            task.cancel()
        await asyncio.gather(doing, ended, return_exceptions=True)


def settle_memory() -> None:
    """After warm-up: what lives now lives on, so the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
