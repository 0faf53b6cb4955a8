"""A windowed, long-lived stream to one peer: how ticks reach the hub, opportunities the engines, trades the executor.

A batch goes out at once while fewer than `window` batches are unanswered; otherwise rows collect in the queue and
go out together when an answer frees the window. No timer ever delays a batch. A batch that stays unanswered for
`stall_s` cancels the stream, which is then opened anew. What a peer says and is told is the business of a `Peer`.

States:  down ──stream open, greeting sent──▶ greeted ──peer calls `ready`──▶ up ──error, stall, end──▶ down
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import grpc
import structlog

from arbhub.columns import Ints
from arbhub.queueing import Chunk, LinkQueue, Shed
from arbhub.service import channel

P = TypeVar("P")
RETRY_S = (0.1, 0.2, 0.4, 0.5)
MAX_BATCH_BYTES = 2_000_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Flight(Generic[P]):
    """A batch under way: its chunks and when it was sent (monotonic ns)."""

    chunks: list[Chunk[P]]
    sent_ns: int


class Peer(Protocol[P]):
    """What is said over a link. All but `encode` and `greeting` may be left trivial."""

    def greeting(self) -> Iterable[bytes]:
        """The frames that open a stream, before any batch."""

    def encode(self, batch_id: int, chunks: list[Chunk[P]]) -> bytes:
        """One frame for a batch."""

    def wanted(self, payload: P) -> bool:
        """Whether a queued payload is still worth sending."""

    def received(self, message: bytes) -> None:
        """A frame from the peer; `Link.ready` and `Link.answered` are called from here."""

    def down(self, lost: list[Shed[P]]) -> None:
        """The stream is gone, and with it these rows."""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """The bounds of a link."""

    window: int = 1
    max_batch_rows: int = 4096
    max_queue_rows: int = 16384
    stall_s: float = 1.0


def batch_rows(max_rows: int, depth: int) -> int:
    """How many rows a batch may have so that it stays within MAX_BATCH_BYTES at the depth given."""
    return max(1, min(max_rows, MAX_BATCH_BYTES // (128 + 2 * 16 * depth)))


class Link(Generic[P]):
    """One peer. `offer` and `control` may be called at any time; `run` keeps the stream until it is cancelled."""

    def __init__(self, name: str, address: str, method: str, peer: Peer[P], options: "LinkOptions") -> None:
        self.name, self.address = name, address
        self.up = False
        self._open = False
        self.queue: LinkQueue[P] = LinkQueue(options.max_queue_rows)
        self._method, self._peer, self._options = method, peer, options
        self._flights: dict[int, Flight[P]] = {}
        self._next_batch = 1
        self._wake = asyncio.Event()
        self._failures = 0

    def offer(self, payload: P, key: Ints) -> list[Shed[P]] | None:
        """Queue rows; returns what was shed for them, or None where the peer is down and nothing was queued."""
        if not self.up:
            return None
        shed = self.queue.push(payload, key)
        self._wake.set()
        return shed

    def control(self, frame: bytes) -> None:
        """Queue a control frame in its place; without a stream it is for the next greeting to say."""
        if self._open:
            self.queue.push_control(frame)
            self._wake.set()

    def ready(self) -> None:
        """Called by the peer object once the other side has introduced itself."""
        self.up = True
        self._failures = 0
        log.info("connected", peer=self.name, address=self.address)
        self._wake.set()

    def answered(self, batch_id: int) -> Flight[P] | None:
        """Called by the peer object for each answer: frees the window, gives what was asked (None: not asked)."""
        flight = self._flights.pop(batch_id, None)
        self._wake.set()
        return flight

    async def run(self) -> None:
        """Keep the stream open, again and again, until cancelled."""
        async with channel(self.address) as open_channel:
            method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = open_channel.stream_stream(self._method)
            while True:
                call = method()
                try:
                    await self._converse(call)
                finally:
                    call.cancel()
                    self._close()
                await asyncio.sleep(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
                self._failures += 1

    async def _converse(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        self._open = True
        for frame in self._peer.greeting():
            self.control(frame)
        tasks = [asyncio.create_task(part) for part in (self._write(call), self._read(call), self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._explain(done)
        finally:
            call.cancel()  # ends the pending native operations first: a cancelled await alone can leak them
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while True:
                for frame in self.queue.pop_controls():
                    await call.write(frame)
                frame_or_none = self._next_frame()
                if frame_or_none is None:
                    break
                await call.write(frame_or_none)

    def _next_frame(self) -> bytes | None:
        if not self.up or len(self._flights) >= self._options.window:
            return None
        chunks = self.queue.pop(self._options.max_batch_rows, self._peer.wanted)
        if not chunks:
            return None
        batch_id = self._next_batch
        self._next_batch += 1
        self._flights[batch_id] = Flight(chunks, time.monotonic_ns())
        return self._peer.encode(batch_id, chunks)

    async def _read(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        while True:
            message = await call.read()
            if not isinstance(message, bytes):  # EOF
                raise ConnectionError(await self._status(call))
            self._peer.received(message)

    @staticmethod
    async def _status(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> str:
        code, details = await call.code(), await call.details()
        return f"{code.name}: {details}" if code != grpc.StatusCode.OK else "the peer ended the stream"

    async def _watch(self) -> None:
        limit_ns = int(self._options.stall_s * 1e9)
        while True:
            await asyncio.sleep(self._options.stall_s / 4)
            oldest = min((f.sent_ns for f in self._flights.values()), default=None)
            if oldest is not None and time.monotonic_ns() - oldest > limit_ns:
                raise ConnectionError(f"a batch was not answered within {self._options.stall_s:g} s")

    def _explain(self, done: set["asyncio.Task[None]"]) -> None:
        errors = [task.exception() for task in done if not task.cancelled()]
        for error in errors:
            if isinstance(error, grpc.aio.AioRpcError):
                self._report(f"{error.code().name}: {error.details()}")
            elif isinstance(error, ConnectionError):
                self._report(str(error))
            elif error is not None and not isinstance(error, asyncio.InvalidStateError):
                # A peer that sends what nobody understands is as good as gone; a bug of ours must be seen.
                log.error("link failed", peer=self.name, address=self.address, exc_info=error)

    def _report(self, reason: str) -> None:
        if self.up or self._failures == 0:
            log.warning("not connected", peer=self.name, address=self.address, reason=reason)

    def _close(self) -> None:
        lost = [Shed(c.payload, c.kept()) for f in self._flights.values() for c in f.chunks]
        lost += self.queue.clear()
        self._flights.clear()
        self.up = self._open = False
        self._peer.down(lost)
