"""The sockets of the sandbox: REST and websocket over aiohttp, and the clock that moves the exchange.

    GET  /VENUE/api/v3/{ping,time,exchangeInfo,depth}     as Binance
    GET  /VENUE/ws, /VENUE/stream (and anything below)    the depth streams, bare or combined
    POST /VENUE/fault/{drop,skip,silence,halt,resume}     what goes wrong (sandbox.exchange.Fault)

A client that does not read what it is sent is disconnected, as real exchanges do, rather than waited for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import orjson
import structlog
from aiohttp import WSMsgType, web

from arbhub.service import ServiceError
from arbhub.settings.sandbox import SandboxSettings
from sandbox.exchange import FAULTS, Exchange, Update
from sandbox.protocol import combined, error

_QUEUE = 1000  # messages a client may be behind
_HEARTBEAT_S = 20.0
_log = structlog.get_logger()


async def run(
    settings: SandboxSettings,
    shutdown: asyncio.Event,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serve until `shutdown` is set. `on_ready` gets the port.

    OSError says in a sentence if it is taken, ServiceError if a recording cannot be played back.
    """
    try:
        server = Server(settings)
    except (ValueError, OSError) as error:
        raise ServiceError(str(error)) from error
    port = await server.start()
    _log.info("sandbox is up", port=port, venues=list(settings.venues), mode=settings.mode)
    if on_ready is not None:
        on_ready(port)
    try:
        await server.keep_moving(shutdown)
    finally:
        await server.stop()


class _Client:
    """One websocket connection: what it subscribed, and what waits to be sent to it."""

    def __init__(self, venue: str, socket: web.WebSocketResponse, wrapped: bool) -> None:
        self.venue, self.socket, self.wrapped = venue, socket, wrapped
        self.streams: set[str] = set()
        self.queue: asyncio.Queue[str] = asyncio.Queue(_QUEUE)

    def offer(self, data: bytes) -> bool:
        """Queue a message; False if the client is too far behind."""
        if self.queue.full():
            return False
        self.queue.put_nowait(data.decode())
        return True

    def wants(self, update: Update) -> list[bytes]:
        """The update once for each of its streams that the client subscribed."""
        streams = self.streams.intersection(update.streams) if update.venue == self.venue else ()
        return [combined(stream, update.data) if self.wrapped else update.data for stream in streams]

    async def send_queued(self) -> None:
        """Send what is queued, as it comes, until the connection ends."""
        while True:
            await self.socket.send_str(await self.queue.get())


class Server:
    """The sandbox's HTTP server; `step` moves the books once, `keep_moving` does so by the clock."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.exchange = Exchange(settings)
        self._clients: set[_Client] = set()
        self._closing: set[asyncio.Task[bool]] = set()
        self._runner = web.AppRunner(self._application(), access_log=None)

    async def start(self) -> int:
        """Listen; return the port."""
        host, _, port = self.settings.listen.rpartition(":")
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, int(port)).start()
        except OSError as reason:
            await self._runner.cleanup()
            text = f"the sandbox cannot listen on {self.settings.listen}: {reason.strerror or reason}"
            raise OSError(reason.errno, text) from reason
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close all connections and the port."""
        await asyncio.gather(*(client.socket.close() for client in self._clients))
        await self._runner.cleanup()

    async def keep_moving(self, shutdown: asyncio.Event) -> None:
        """Move the books at the interval of the settings until `shutdown` is set."""
        begun_ns = time.monotonic_ns()
        while not shutdown.is_set():
            self.step(time.monotonic_ns() - begun_ns)
            try:
                await asyncio.wait_for(shutdown.wait(), self.settings.interval_ms / 1e3)
            except TimeoutError:
                continue

    def step(self, elapsed_ns: int) -> None:
        """Move the books on to `elapsed_ns` after the start and queue what subscribers are to be sent."""
        for update in self.exchange.advance(elapsed_ns, _now_ms()):
            for client in list(self._clients):
                if not all(client.offer(data) for data in client.wants(update)):
                    _log.warning("sandbox drops a client that does not read", venue=client.venue)
                    self._drop([client])

    def fault(self, venue: str, fault: str) -> None:
        """Let something go wrong at a venue, or right again."""
        self.exchange.fault(venue, fault)
        if fault == "drop":
            self._drop([client for client in self._clients if client.venue == venue])

    def _drop(self, clients: Iterable[_Client]) -> None:
        for client in clients:
            self._clients.discard(client)
            task = asyncio.create_task(client.socket.close(code=1001, message=b"dropped"))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._known_venue])
        rest = "/{venue}/api/v3"
        application.router.add_get(f"{rest}/ping", self._ping)
        application.router.add_get(f"{rest}/time", self._time)
        application.router.add_get(f"{rest}/exchangeInfo", self._exchange_info)
        application.router.add_get(f"{rest}/depth", self._depth)
        application.router.add_post("/{venue}/fault/{fault}", self._fault)
        application.router.add_get("/{venue}/{endpoint:ws|stream}{rest:(/.*)?}", self._websocket)
        return application

    @web.middleware
    async def _known_venue(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        venue = request.match_info.get("venue")
        if venue is not None and not self.exchange.knows(venue):
            return _json(error(-1, f"no venue {venue} here"), 404)
        return await handler(request)

    async def _ping(self, _: web.Request) -> web.Response:
        return _json({})

    async def _time(self, _: web.Request) -> web.Response:
        return _json({"serverTime": _now_ms()})

    async def _exchange_info(self, request: web.Request) -> web.Response:
        return _json(self.exchange.exchange_info(request.match_info["venue"], _now_ms()))

    async def _depth(self, request: web.Request) -> web.Response:
        market, limit = request.query.get("symbol", ""), request.query.get("limit", "")
        try:
            return _json(self.exchange.depth(request.match_info["venue"], market, limit))
        except ValueError as reason:
            return _json(error(-1121, str(reason)), 400)

    async def _fault(self, request: web.Request) -> web.Response:
        fault = request.match_info["fault"]
        if fault not in FAULTS:
            return _json(error(-1, f"no fault {fault}, allowed are {', '.join(FAULTS)}"), 404)
        self.fault(request.match_info["venue"], fault)
        return _json({})

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, compress=False)
        await socket.prepare(request)
        wrapped = request.match_info["endpoint"] == "stream"
        client = _Client(request.match_info["venue"], socket, wrapped)
        self._clients.add(client)
        sender = asyncio.create_task(client.send_queued())
        try:
            await self._listen(client)
        finally:
            self._clients.discard(client)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        return socket

    async def _listen(self, client: _Client) -> None:
        async for message in client.socket:
            if message.type is not WSMsgType.TEXT:
                continue
            answer = self.exchange.request(client.venue, message.data, client.streams)
            if not client.offer(orjson.dumps(answer)):
                return


def _json(body: object, status: int = 200) -> web.Response:
    return web.json_response(body=orjson.dumps(body), status=status)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
