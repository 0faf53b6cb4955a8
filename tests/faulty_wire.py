"""A TCP proxy between two parts of arbhub that can hold bytes back, delay them, spoil them or forget connections.

What it holds back it keeps: like a network that comes back, it delivers it later, in order. A connection that is
forsaken is never heard of again, though neither end is told, and new ones work: a router that lost its table does so.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

CHUNK, CHUNKS = 1 << 16, 64  # bytes at once, and how many such are kept; the rest waits at the sender's
GARBAGE_BYTES = 64


class FaultyWire:
    """Listens on a port of its own and forwards to `target` (HOST:PORT or unix:/PATH), both ways alike."""

    def __init__(self, target: str) -> None:
        self.address = ""
        self._target = target
        self._delay_s = 0.0
        self._garbage: random.Random | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._forsaken: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Forward for as long as the block runs."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    def hold(self) -> None:
        """Forward nothing any more, on no connection; new ones are taken, and told nothing."""
        self._flows.clear()

    def forsake(self) -> None:
        """Forward nothing any more on the connections that there are; new ones work."""
        self._forsaken |= self._pumps

    def delay(self, seconds: float) -> None:
        """Forward everything later by at least this long, each way."""
        self._delay_s = seconds

    def spoil(self) -> None:
        """Put bytes that mean nothing before everything that is forwarded."""
        self._garbage = random.Random(4)

    def mend(self) -> None:
        """Forward as a wire does; what was held back first. What is forsaken stays so."""
        self._delay_s, self._garbage = 0.0, None
        self._flows.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._reach()
        except OSError:
            writer.transport.abort()  # as where nobody listens
            return
        ends = writer, far_writer
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink, ends))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self._target.rpartition(":")
        if host == "unix":
            return await asyncio.open_unix_connection(port)
        return await asyncio.open_connection(host, int(port))

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, ends: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        """One way of a connection, until either end is closed; then both are."""
        passing: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS)
        reading = asyncio.create_task(self._read(source, passing))
        try:
            while chunk := await self._passed(passing):
                sink.write(chunk if self._garbage is None else self._garbage.randbytes(GARBAGE_BYTES) + chunk)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            reading.cancel()
            for end in ends:
                end.close()

    async def _read(self, source: asyncio.StreamReader, passing: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Put what comes in, with when it may go on; nothing at the end."""
        now = asyncio.get_running_loop().time
        with contextlib.suppress(ConnectionError):
            while chunk := await source.read(CHUNK):
                await passing.put((now() + self._delay_s, chunk))
        await passing.put((now() + self._delay_s, b""))

    async def _passed(self, passing: asyncio.Queue[tuple[float, bytes]]) -> bytes:
        """The next chunk, when it has passed whatever the wire is made to do."""
        due, chunk = await passing.get()
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        await self._flows.wait()
        if asyncio.current_task() in self._forsaken:
            await asyncio.Event().wait()
        return chunk
