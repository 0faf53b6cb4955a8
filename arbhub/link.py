"""A windowed, long-lived stream to one peer: how ticks reach the hub, opportunities the engines, trades the executor.

A batch goes out at once while fewer than `window` batches are unanswered; otherwise rows collect in the queue and
go out together when an answer frees the window. No timer ever delays a batch. What a peer says and is told is the
business of a `Peer`.

States:  down ──stream open, greeting sent──▶ greeted ──peer calls `ready`──▶ up ──error, stall, end──▶ down

A peer that does not answer a batch or read a frame within `stall_s`, or does not introduce itself within
`greeting_s`, is as good as gone: the stream is cancelled and opened anew. So whatever waits here, control frames
too, waits no longer than that. Nothing queued for one stream is ever sent over another.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from arbhub.columns import Ints
from arbhub.queueing import Chunk, LinkQueue, Shed
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import channel

P = TypeVar("P")
Call = grpc.aio.StreamStreamCall[bytes, bytes]
Part = asyncio.Task[None]
# A successor is there within a second; who stays away is looked for less often.
RETRY_S = (0.05, *(0.1,) * 10, 0.2, 0.5)
MAX_BATCH_BYTES = 2_000_000
LINGER_S = 0.25
FLUSH_POLL_S = 0.002

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
        """A frame from the peer; `Link.ready` and `Link.answered` are called from here.

        ConnectionError or DecodeError: it is not what such a peer may say, and the stream ends.
        """

    def down(self, lost: list[Shed[P]]) -> None:
        """The stream is gone, and with it these rows."""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """The bounds of a link, and who it is to its peer."""

    window: int = 1
    max_batch_rows: int = 4096
    max_queue_rows: int = 16384
    stall_s: float = 1.0
    greeting_s: float = 5.0
    credentials: Credentials = INSECURE


def batch_rows(max_rows: int, depth: int) -> int:
    """How many rows a batch may have so that it stays within MAX_BATCH_BYTES at the depth given."""
    return max(1, min(max_rows, MAX_BATCH_BYTES // (128 + 2 * 16 * depth)))


class Link(Generic[P]):
    """One peer. `offer` and `control` may be called at any time; `run` keeps the stream until it is cancelled."""

    def __init__(self, name: str, address: str, method: str, peer: Peer[P], options: "LinkOptions") -> None:
        self.name, self.address = name, address
        self.open = self.up = False
        self.queue: LinkQueue[P] = LinkQueue(options.max_queue_rows)
        self._method, self._peer, self._options = method, peer, options
        self._flights: dict[int, Flight[P]] = {}
        self._next_batch = 1
        self._wake = asyncio.Event()
        self._failures = 0
        self._said = ""
        self._opened_ns = 0
        self._writing_ns: int | None = None

    def offer(self, payload: P, key: Ints) -> list[Shed[P]] | None:
        """Queue rows; returns what was shed for them, or None where the peer is down and nothing was queued."""
        if not self.up:
            return None
        shed = self.queue.push(payload, key)
        self._wake.set()
        return shed

    @property
    def has_room(self) -> bool:
        """Whether rows that are offered now go out at once: the window is open, and nothing waits before them."""
        return len(self._flights) < self._options.window and not self.queue.rows

    @property
    def unanswered(self) -> int:
        """Batches that are under way."""
        return len(self._flights)

    def oldest_ns(self, now_ns: int) -> int:
        """How long the oldest batch that is under way has been; 0 where none is."""
        return max((now_ns - flight.sent_ns for flight in self._flights.values()), default=0)

    def control(self, frame: bytes) -> None:
        """Queue a control frame in its place; without a stream it is for the next greeting to say."""
        if self.open:
            self.queue.push_control(frame)
            self._wake.set()

    def urgent(self, frame: bytes) -> None:
        """Queue a control frame that need not keep its place: it goes out next."""
        if self.open:
            self.queue.push_urgent(frame)
            self._wake.set()

    def ready(self) -> None:
        """Called by the peer object once the other side has introduced itself."""
        self.up = True
        log.info("connected", peer=self.name, address=self.address)
        self._wake.set()

    def answered(self, batch_id: int) -> Flight[P] | None:
        """Called by the peer object for each answer: frees the window, gives what was asked (None: not asked)."""
        flight = self._flights.pop(batch_id, None)
        if flight is not None:
            self._failures = 0  # not when it is up: one that greets well and refuses every batch is tried less often
        if len(self.queue):
            self._wake.set()
        return flight

    async def flushed(self) -> None:
        """Return when all that was queued has gone out, or was lost with its stream. For the end of a process."""
        while self.open and (len(self.queue) or self._writing_ns is not None):  # noqa: ASYNC110  # once in a life
            await asyncio.sleep(FLUSH_POLL_S)

    async def run(self) -> None:
        """Keep the stream open, again and again, until cancelled."""
        while True:
            # Each stream has a connection of its own: on one that has gone dead in silence no new stream would live.
            async with channel(self.address, self._options.credentials) as connection:
                method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = connection.stream_stream(self._method)
                await self._converse(method())
            await asyncio.sleep(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
            self._failures += 1

    async def _converse(self, call: Call) -> None:
        parts: list[Part] = []
        try:
            self._begin()
            parts = [asyncio.create_task(part) for part in (self._write(call), self._read(call), self._watch())]
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            was_up = self.up
        finally:
            self._close()  # at once: nobody need wait for what is lost
            call.cancel()
            await self._end(parts)
        for part in done:
            await self._explain(part, call, was_up=was_up)

    def _begin(self) -> None:
        self.open = True
        self._opened_ns, self._writing_ns = time.monotonic_ns(), None
        for frame in self._peer.greeting():
            self.control(frame)

    async def _end(self, parts: list[Part]) -> None:
        """Reads and writes end with their call: cancelling the awaits of them could leak native operations."""
        if not parts:
            return
        self._wake.set()
        parts[-1].cancel()
        try:
            await asyncio.wait(parts, timeout=LINGER_S)
        finally:  # for who is cancelled amid this, too: what they raised would be a complaint of the loop later
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _write(self, call: Call) -> None:
        while self.open:
            await self._wake.wait()
            self._wake.clear()
            while self.open and (frames := self._next_frames()):
                for frame in frames:
                    self._writing_ns = time.monotonic_ns()
                    await call.write(frame)
                    self._writing_ns = None

    def _next_frames(self) -> list[bytes]:
        return self.queue.pop_controls() or self._next_batch_frame()

    def _next_batch_frame(self) -> list[bytes]:
        if not self.up or len(self._flights) >= self._options.window:
            return []
        chunks = self.queue.pop(self._options.max_batch_rows, self._peer.wanted)
        if not chunks:
            return self.queue.pop_controls()  # nothing before them was wanted any more
        batch_id = self._next_batch
        self._next_batch += 1
        self._flights[batch_id] = Flight(chunks, time.monotonic_ns())
        return [self._peer.encode(batch_id, chunks)]

    async def _read(self, call: Call) -> None:
        while True:
            message = await call.read()
            if not self.open:
                return
            if not isinstance(message, bytes):  # EOF
                raise ConnectionError(await _status(call))
            try:
                self._peer.received(message)
            except DecodeError as error:
                raise ConnectionError(f"it sent what no such peer sends: {error}") from None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._options.stall_s / 4)
            if reason := self._stalled(time.monotonic_ns()):
                raise ConnectionError(reason)

    def _stalled(self, now_ns: int) -> str | None:
        stall_s, greeting_s = self._options.stall_s, max(self._options.stall_s, self._options.greeting_s)
        if self.oldest_ns(now_ns) > stall_s * 1e9:
            return f"a batch was not answered within {stall_s:g} s"
        if self._writing_ns is not None and now_ns - self._writing_ns > stall_s * 1e9:
            return f"a frame was not read within {stall_s:g} s"
        if not self.up and now_ns - self._opened_ns > greeting_s * 1e9:
            return f"it did not introduce itself within {greeting_s:g} s"
        return None

    async def _explain(self, part: Part, call: Call, *, was_up: bool) -> None:
        """Say why a stream ended: once for each kind of reason, and always if it was up."""
        error = None if part.cancelled() else part.exception()
        if isinstance(error, asyncio.InvalidStateError):  # written to after its end: the call knows what ended it
            error = ConnectionError(await _status(call))
        if isinstance(error, grpc.aio.AioRpcError):
            kind, reason = error.code().name, f"{error.code().name}: {error.details()}"
        elif isinstance(error, ConnectionError):
            kind = reason = str(error)
        elif error is not None:
            # A bug of ours: as good as a lost peer, but it must be seen.
            log.error("link failed", peer=self.name, address=self.address, exc_info=error)
            return
        else:
            return
        if was_up or kind != self._said:
            log.warning("not connected", peer=self.name, address=self.address, reason=reason)
        self._said = kind

    def _close(self) -> None:
        lost = [Shed(c.payload, c.kept()) for f in self._flights.values() for c in f.chunks]
        lost += self.queue.clear()
        self._flights.clear()
        self.up = self.open = False
        self._peer.down(lost)


async def _status(call: Call) -> str:
    code, details = await call.code(), await call.details()
    return f"{code.name}: {details}" if code != grpc.StatusCode.OK else "the peer ended the stream"
