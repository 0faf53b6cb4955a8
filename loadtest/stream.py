"""Ticks over one `Hub.Stream`, as a feed sends them.

The link's window is one batch, as in the services, unless the run asks for more: ticks that come while as many are
unanswered wait and go out together. That wait is part of their latency. A stream that breaks is opened anew; what was
under way on it is lost.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np
from google.protobuf.message import DecodeError

from arbhub.columns import Ints, Ticks
from arbhub.control import encode_reference
from arbhub.link import Link, LinkOptions, batch_rows
from arbhub.queueing import Chunk, Shed, keys
from arbhub.reference import Universe
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import ServiceError
from arbhub.v1 import hub_pb2
from arbhub.wire import batch_frame, nested, tick_parts
from loadtest.driver import Clock
from loadtest.outcome import LOST, SHED, Outcome
from loadtest.schedule import Market, Schedule

METHOD = "/arbhub.v1.Hub/Stream"
BATCH = hub_pb2.StreamRequest.BATCH_FIELD_NUMBER
TICKS = hub_pb2.TickBatch.TICKS_FIELD_NUMBER
CONNECT_S, DRAIN_S = 10.0, 5.0
BATCH_ROWS, QUEUE_ROWS = 2048, 32768  # longer batches outgrow the processor's caches, and take longer a tick
PIECE_ROWS = 512  # a batch takes whole pieces only
BOOKS_AT_ONCE = 256  # so that what is measured meanwhile waits for no more than these


class Answers(Protocol):
    """What is done with what comes back. Rows are positions in the ticks."""

    def answered(self, rows: Ints, batch: hub_pb2.DecisionBatch) -> None:
        """The hub's decisions on rows, in that order, at this very moment."""

    def gone(self, rows: Ints, fate: int) -> None:
        """Rows that were shed or lost on our side."""


class HubStream:
    """One stream to a hub. The payload of the link is positions in `ticks`, whose `ts_ns` count from a start."""

    def __init__(
        self,
        target: str,
        market: Market,
        ticks: Ticks,
        answers: Answers,
        window: int = 1,
        credentials: Credentials = INSECURE,
    ) -> None:
        self._ticks, self._from_start_ns = ticks, ticks.ts_ns
        self._answers = answers
        self._universe = Universe()
        self._universe.merge(market.reference())
        self._key = keys(ticks.instrument, ticks.venue)
        self._under_way = 0
        self._ready, self._news = asyncio.Event(), asyncio.Event()
        rows = batch_rows(BATCH_ROWS, market.depth)
        options = LinkOptions(window, rows, QUEUE_ROWS, credentials=credentials)
        self._link: Link[Ints] = Link("hub", target, METHOD, self, options)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The stream is kept for as long as the block runs; ServiceError where no hub answers."""
        link = asyncio.create_task(self._link.run())
        try:
            try:
                await asyncio.wait_for(self._ready.wait(), CONNECT_S)
            except TimeoutError:
                address = self._link.address
                raise ServiceError(f"no hub answers at {address}: start one, or name it with --target") from None
            yield
        finally:
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)

    def start(self, wall_ns: int) -> None:
        """Ticks' times count from this one."""
        self._ticks = replace(self._ticks, ts_ns=self._from_start_ns + wall_ns)

    def offer(self, first: int, stop: int) -> None:
        """Queue rows; what that sheds, or loses because there is no stream, is told at once."""
        for piece in range(first, stop, PIECE_ROWS):
            self._offer(np.arange(piece, min(piece + PIECE_ROWS, stop)))

    def _offer(self, rows: Ints) -> None:
        self._under_way += len(rows)
        shed = self._link.offer(rows, self._key[rows[0] : rows[-1] + 1])
        if shed is None:
            self._gone(rows, LOST)
            return
        for part in shed:
            self._gone(part.payload[part.rows], SHED)

    async def books(self, count: int) -> None:
        """Send the first `count` rows as books of now, a few at a time; ServiceError if the hub goes away meanwhile."""
        self.start(time.time_ns())
        for first in range(0, count, BOOKS_AT_ONCE):
            self.offer(first, min(first + BOOKS_AT_ONCE, count))
            await self.rest()
            if not self._link.up:
                raise ServiceError(f"the hub at {self._link.address} went away while the books were sent")

    async def free(self) -> None:
        """Wait until the window is open and nothing waits for it, or the stream is down."""
        while self._link.up and not self._link.has_room:
            self._news.clear()
            await self._news.wait()

    async def rest(self) -> None:
        """Wait until every row is answered, or the stream is down."""
        while self._under_way and self._link.up:
            self._news.clear()
            await self._news.wait()

    # What the link asks of its peer object.

    def greeting(self) -> Iterable[bytes]:
        """Reference data; the hub answers with its names."""
        yield hub_pb2.StreamRequest(reference=encode_reference(self._universe)).SerializeToString()

    def encode(self, batch_id: int, chunks: list[Chunk[Ints]]) -> bytes:
        """The chunks' rows as one batch."""
        rows = _wanted(chunks)
        first, stop = int(rows[0]), int(rows[-1]) + 1
        # Rows ascend; unless some were shed they are neighbours, and need not be copied.
        ticks = self._ticks.slice(first, stop) if stop - first == len(rows) else self._ticks.take(rows)
        return batch_frame(BATCH, batch_id, *nested(TICKS, tick_parts(ticks)))

    def wanted(self, _: Ints) -> bool:
        """Every tick is to be decided."""
        return True

    def received(self, message: bytes) -> None:
        """Names or decisions; whatever is neither ends the stream."""
        reply = hub_pb2.StreamReply.FromString(message)
        kind = reply.WhichOneof("frame")
        if kind == "batch":
            self._decided(reply.batch)
        elif kind != "names":
            raise DecodeError("a hub's frame is neither names nor decisions")
        elif not self._link.up:
            self._link.ready()
            self._ready.set()

    def down(self, lost: list[Shed[Ints]]) -> None:
        """What was under way is lost."""
        for part in lost:
            self._gone(part.payload[part.rows], LOST)
        self._news.set()

    def _decided(self, batch: hub_pb2.DecisionBatch) -> None:
        flight = self._link.answered(batch.batch_id)
        if flight is None:
            raise DecodeError(f"batch {batch.batch_id} is answered, but is not under way")
        rows = _wanted(flight.chunks)
        if len(batch.decisions.reason) != len(rows):
            # The flight is closed already: these rows would have no fate.
            self._gone(rows, LOST)
            raise DecodeError(f"{len(rows)} ticks are answered with {len(batch.decisions.reason)} decisions")
        self._under_way -= len(rows)
        self._answers.answered(rows, batch)
        self._news.set()

    def _gone(self, rows: Ints, fate: int) -> None:
        self._under_way -= len(rows)
        self._answers.gone(rows, fate)


class StreamWay:
    """All of a schedule over one stream."""

    def __init__(
        self,
        target: str,
        market: Market,
        schedule: Schedule,
        outcome: Outcome,
        window: int = 1,
        credentials: Credentials = INSECURE,
    ) -> None:
        self._outcome, self._opening = outcome, schedule.timed
        self._clock = Clock()
        self._hand_over: Callable[[], None] = lambda: None
        self._free_ns = 0
        self._stream = HubStream(target, market, schedule.ticks, self, window, credentials)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connected, the hub having the opening's books."""
        async with self._stream.open():
            await self._stream.books(self._opening)
            yield

    def start(self, clock: Clock, hand_over: Callable[[], None]) -> None:
        """Books are as old as the moment they are meant for, by the wall clock, as a feed's are."""
        self._clock, self._hand_over = clock, hand_over
        self._stream.start(clock.wall_ns)

    async def free(self) -> None:
        """The window is open."""
        await self._stream.free()

    def send(self, first: int, stop: int) -> None:
        """Into the link's queue."""
        self._outcome.handed_over(first, stop, self._clock.now_ns(), self._free_ns)
        self._stream.offer(first, stop)

    async def rest(self) -> None:
        """Until all is answered, the stream is down, or the drain is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._stream.rest()

    # What the stream tells.

    def answered(self, rows: Ints, batch: hub_pb2.DecisionBatch) -> None:
        """The window is open: what is due goes first. Then every decision with its reason is noted."""
        self._free_ns = now_ns = self._clock.now_ns()
        self._hand_over()
        reason = np.array(batch.decisions.reason, np.int64)
        self._outcome.answered(rows, reason, ("", *batch.reasons), batch.held_ns, now_ns)

    def gone(self, rows: Ints, fate: int) -> None:
        """Shed or lost."""
        self._free_ns = self._clock.now_ns()
        self._outcome.gone(rows, fate)


def _wanted(chunks: list[Chunk[Ints]]) -> Ints:
    """The positions in chunks, without those that were shed."""
    return np.concatenate([c.payload if c.rows is None else c.payload[c.rows] for c in chunks])
