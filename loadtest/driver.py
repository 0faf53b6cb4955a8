"""The open-loop driver: sends what the schedule says when it says so, and measures from then.

A tick's latency begins when it was meant to be sent, not when it was: whatever held it up, the driver's own window
included, is in the figure. Waits of under a millisecond are spun, because timers would add up to that to every one.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from google.protobuf.message import DecodeError

from arbhub.columns import Ints, Ticks
from arbhub.control import encode_reference
from arbhub.link import Link, LinkOptions, batch_rows
from arbhub.queueing import Chunk, Shed, keys
from arbhub.reference import Universe
from arbhub.service import ServiceError
from arbhub.v1 import hub_pb2
from arbhub.wire import batch_frame, encode_ticks, submessage
from loadtest.schedule import Market, Schedule

METHOD = "/arbhub.v1.Hub/Stream"
BATCH = hub_pb2.StreamRequest.BATCH_FIELD_NUMBER
TICKS = hub_pb2.TickBatch.TICKS_FIELD_NUMBER
CONNECT_S, DRAIN_S = 10.0, 5.0
SPIN_NS = 1_000_000


@dataclass(slots=True)
class Outcome:
    """What became of a run. Times in ns; `latency_ns` (n,) is 0 for a tick that was not decided."""

    latency_ns: Ints
    lateness_ns: list[int] = field(default_factory=list)
    """How much later than meant ticks were handed over."""
    decided: int = 0
    approved: int = 0
    shed: int = 0
    timeouts: int = 0
    lost: int = 0
    """Neither decided nor shed: the stream broke, or the hub did not answer."""

    @property
    def open_rows(self) -> int:
        """How many ticks have no answer yet."""
        return len(self.latency_ns) - self.decided - self.shed


class Driver:
    """One stream to a hub. The payload of the link is the rows of the schedule, in order."""

    def __init__(self, target: str, market: Market, schedule: Schedule) -> None:
        self.outcome = Outcome(np.zeros(len(schedule.at_ns), np.int64))
        self._schedule = schedule
        self._ticks = schedule.ticks
        self._universe = Universe()
        self._universe.merge(market.reference())
        self._key = keys(schedule.ticks.instrument, schedule.ticks.venue)
        self._began_ns = 0
        self._ready = asyncio.Event()
        self._news = asyncio.Event()
        options = LinkOptions(1, batch_rows(4096, market.depth), 16384)
        self._link: Link[Ints] = Link("hub", target, METHOD, self, options)

    async def run(self) -> Outcome:
        """Send the whole schedule and wait for what is still under way; ServiceError where there is no hub."""
        link = asyncio.create_task(self._link.run())
        try:
            await self._connected()
            await self._send()
            await self._answered()
        finally:
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)
        self.outcome.lost = self.outcome.open_rows
        return self.outcome

    async def _connected(self) -> None:
        try:
            await asyncio.wait_for(self._ready.wait(), CONNECT_S)
        except TimeoutError:
            raise ServiceError(f"no hub answers at {self._link.address}: start one, or name it with --target") from None

    async def _send(self) -> None:
        at_ns, sent = self._schedule.at_ns, 0
        # Books are as old as the moment they were meant for, by the wall clock, as a feed's are.
        offset_ns = time.time_ns()
        self._ticks = replace(self._ticks, ts_ns=self._ticks.ts_ns + offset_ns)
        self._began_ns = time.monotonic_ns()
        while sent < len(at_ns):
            now_ns = time.monotonic_ns() - self._began_ns
            due = int(np.searchsorted(at_ns, now_ns, "right"))
            if due > sent:
                self.outcome.lateness_ns.append(now_ns - int(at_ns[sent]))
                self._offer(np.arange(sent, due))
                sent = due
                await asyncio.sleep(0)
                continue
            wait_ns = int(at_ns[sent]) - now_ns
            await asyncio.sleep(max(0, wait_ns - SPIN_NS) / 1e9)

    def _offer(self, rows: Ints) -> None:
        gone = self._link.offer(rows, self._key[rows])
        for shed in gone or ():
            self.outcome.shed += len(shed.rows)

    async def _answered(self) -> None:
        """Wait for the last answers, but not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self.outcome.open_rows and self._link.up:
                    self._news.clear()
                    await self._news.wait()

    # What the link asks of its peer object.

    def greeting(self) -> Iterable[bytes]:
        """Reference data; the hub answers with its names."""
        yield hub_pb2.StreamRequest(reference=encode_reference(self._universe)).SerializeToString()

    def encode(self, batch_id: int, chunks: list[Chunk[Ints]]) -> bytes:
        """The chunks' rows as one batch."""
        rows = np.concatenate([_wanted(chunk) for chunk in chunks])
        ticks: Ticks = self._ticks.take(rows)
        return batch_frame(BATCH, batch_id, submessage(TICKS, encode_ticks(ticks)))

    def wanted(self, _: Ints) -> bool:
        """Every tick is to be decided."""
        return True

    def received(self, message: bytes) -> None:
        """Names or decisions; whatever is neither ends the stream."""
        reply = hub_pb2.StreamReply.FromString(message)
        kind = reply.WhichOneof("frame")
        if kind == "batch":
            self._count(reply.batch)
        elif kind != "names":
            raise DecodeError("a hub's frame is neither names nor decisions")
        elif not self._link.up:
            self._link.ready()
            self._ready.set()

    def down(self, _: list[Shed[Ints]]) -> None:
        """What was under way is lost, and shows as such at the end."""
        self._news.set()

    def _count(self, batch: hub_pb2.DecisionBatch) -> None:
        flight = self._link.answered(batch.batch_id)
        if flight is None:
            return
        now_ns = time.monotonic_ns() - self._began_ns
        rows = np.concatenate([_wanted(chunk) for chunk in flight.chunks])
        reason = np.array(batch.decisions.reason, np.int64)
        names = ("", *batch.reasons)
        shed = np.isin(reason, [i for i, name in enumerate(names) if name == "SHED"])
        timed_out = np.isin(reason, [i for i, name in enumerate(names) if name.startswith("ENGINE_TIMEOUT")])
        decided = rows[~shed]
        o = self.outcome
        o.latency_ns[decided] = now_ns - self._schedule.at_ns[decided]
        o.decided += len(decided)
        o.shed += int(shed.sum())
        o.timeouts += int(timed_out.sum())
        self._news.set()
        o.approved += int(np.array(batch.decisions.approved, np.int64).sum())


def _wanted(chunk: Chunk[Ints]) -> Ints:
    """The schedule's rows of a chunk, without those that were shed."""
    return chunk.payload if chunk.rows is None else chunk.payload[chunk.rows]
