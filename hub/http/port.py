"""The HTTP port in the hub's own event loop: uvicorn, held to bounds that keep strangers from holding it up.

A connection has so long to ask, so long to be answered, and then is cut off, whatever it does; connections beyond a
number are not taken. Bodies are bounded by the routes, headers by h11.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from arbhub.service import ServiceError
from hub.http.app import Backing, Routes
from hub.hub import Hub
from hub.pulse import Pulse

MAX_CONNECTIONS = 256
MAX_AT_ONCE = 128  # requests; more are answered 503
MAX_HEADER_BYTES = 16 << 10
IDLE_S = 5
ASKING_S = 10.0  # from the first byte, or the last answer, until a request is whole
ANSWERING_S = 30.0
DRAIN_S = 1
TICK_S = 0.1  # uvicorn counts in these

log = structlog.get_logger()


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol with an end to every wait for the other side."""

    _cut: asyncio.TimerHandle | None = None
    _answering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request, unless there are too many who are waited for."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._wait(ASKING_S)

    def data_received(self, data: bytes) -> None:
        """Take part of a request in."""
        super().data_received(data)
        self._turn()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may be here."""
        super().on_response_complete()
        self._answering = False
        self._wait(ASKING_S)
        self._turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def _turn(self) -> None:
        """Once a request is whole it is our turn."""
        cycle = self.cycle
        if not self._answering and cycle is not None and not cycle.more_body and not cycle.response_complete:
            self._answering = True
            self._wait(ANSWERING_S)

    def _wait(self, seconds: float) -> None:
        if self._cut is not None:
            self._cut.cancel()
        self._cut = self.loop.call_later(seconds, self.transport.abort)


class _Server(uvicorn.Server):
    """Signals are the hub's to take, and its end is heard at once: a successor may be waiting for it (arbhub.turn)."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take no more connections, give those there are a while, and let `serve` return."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """As uvicorn's, which looks whether it is to end ten times a second."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which waits for a tenth of a second even where nobody is connected."""
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for bound in sockets or []:
            bound.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


@contextlib.asynccontextmanager
async def http_port(hub: Hub, backing: Backing, shutdown: asyncio.Event) -> AsyncIterator[None]:
    """Serve the hub's routes at `hub.http_listen` for as long as the block runs, if that names an address.

    ServiceError where the address cannot be had.
    """
    listen = hub.settings.hub.http_listen
    if not listen:
        yield
        return
    bound = _bound(listen)
    async with Pulse(hub).beating() as pulse:
        routes = Routes(hub, pulse, backing, shutdown)
        server = _Server(_configuration(routes))
        served = asyncio.create_task(server.serve([bound]))
        try:
            log.info("serving", service="http", port=bound.getsockname()[1])
            yield
        finally:
            server.end()
            await served
            routes.trades.close()


def _configuration(routes: Routes) -> uvicorn.Config:
    return uvicorn.Config(
        routes.application(),
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what goes wrong is answered, or logged by the routes
        access_log=False,
        proxy_headers=False,  # nobody may say who they are
        server_header=False,
        limit_concurrency=MAX_AT_ONCE,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=DRAIN_S,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )


def _bound(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=_family(host))
    except OSError as error:
        raise ServiceError(f"cannot listen on {listen} (hub.http_listen): {error.strerror or error}") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
