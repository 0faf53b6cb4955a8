"""Load on a hub from a client that knows what became of every single tick: sent, answered how often and how, or lost.

The loop is open: ticks are due when the schedule says so, whatever the hub does. What is due while there is no stream
is not sent. Rows are positions in the schedule.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from known_market import MARKET, ticks, vouched

from arbhub.columns import Bools, Ints
from arbhub.control import encode_reference
from arbhub.link import Link, LinkOptions
from arbhub.queueing import Chunk, Shed, keys
from arbhub.reference import Universe
from arbhub.v1 import hub_pb2
from arbhub.wire import batch_frame, encode_ticks, submessage

METHOD = "/arbhub.v1.Hub/Stream"
BATCH = hub_pb2.StreamRequest.BATCH_FIELD_NUMBER
TICKS = hub_pb2.TickBatch.TICKS_FIELD_NUMBER
RATE, LONGEST_S = 300.0, 900.0
LOOK_S = 0.002  # how often the client sees what is due
POLL_S = 0.01


class KnownTicks:
    """Times in monotonic ns, 0 where it did not happen; `wrong` says what no hub may ever do."""

    def __init__(self, target: str) -> None:
        plan = ticks(RATE, LONGEST_S)
        n = len(plan.at_ns)
        self.due = 0
        self.sent_ns, self.answered_ns, self.held_ns, self.epoch, self.sequence = (
            np.zeros(n, np.int64) for _ in range(5)
        )
        self.approved, self.lost = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.reasons: dict[str, int] = {}
        self.wrong: list[str] = []
        self._sequence = -1
        self._at_ns, self._ticks = plan.at_ns, plan.ticks
        self._key = keys(plan.ticks.instrument, plan.ticks.venue)
        self._universe = Universe()
        self._universe.merge(MARKET.reference())
        self._link: Link[Ints] = Link("hub", target, METHOD, self, LinkOptions())

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Send for as long as the block runs."""
        tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._send())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, condition: Callable[[], object], what: str, patience_s: float) -> None:
        """Return when a condition holds; fails where it does not come to that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not condition():  # noqa: ASYNC110  # times and arrays: nothing tells when they change
                    await asyncio.sleep(POLL_S)
        if not condition():
            pytest.fail(f"within {patience_s:g} s it did not come to this: {what}; the last answers: {self.reasons}")

    def between(self, from_ns: int, to_ns: int) -> Bools:
        """Which ticks were sent in a time."""
        sent: Bools = (self.sent_ns >= from_ns) & (self.sent_ns < to_ns)
        return sent

    def approved_since(self, from_ns: int, after_epoch: int = 0) -> Bools:
        """Which ticks sent since then were approved, in a later epoch than one."""
        approved: Bools = (self.sent_ns >= from_ns) & self.approved & (self.epoch > after_epoch)
        return approved

    @property
    def open(self) -> Bools:
        """Which ticks are under way."""
        waiting: Bools = (self.sent_ns > 0) & (self.answered_ns == 0) & ~self.lost
        return waiting

    async def _send(self) -> None:
        began_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        self._ticks = replace(self._ticks, ts_ns=self._at_ns + wall_ns)
        while True:
            now_ns = time.monotonic_ns()
            due = int(self._at_ns.searchsorted(now_ns - began_ns))
            if due > self.due:
                self._offer(np.arange(self.due, due), now_ns)
                self.due = due
            await asyncio.sleep(LOOK_S)

    def _offer(self, rows: Ints, now_ns: int) -> None:
        shed = self._link.offer(rows, self._key[rows])
        if shed is not None:
            self.sent_ns[rows] = now_ns
            self.wrong += [f"{len(part.rows)} ticks overflowed the client's queue" for part in shed]

    # What the link asks of its peer object.

    def greeting(self) -> Iterable[bytes]:
        """Reference data; the hub answers with its names."""
        yield hub_pb2.StreamRequest(reference=encode_reference(self._universe)).SerializeToString()

    def encode(self, batch_id: int, chunks: list[Chunk[Ints]]) -> bytes:
        """The chunks' ticks as one batch."""
        return batch_frame(BATCH, batch_id, submessage(TICKS, encode_ticks(self._ticks.take(_rows(chunks)))))

    def wanted(self, _: Ints) -> bool:
        """Every tick is to be decided."""
        return True

    def received(self, message: bytes) -> None:
        """Names or decisions."""
        reply = hub_pb2.StreamReply.FromString(message)
        kind = reply.WhichOneof("frame")
        if kind == "batch":
            self._decided(reply.batch)
        elif kind != "names":
            raise DecodeError("a hub's frame is neither names nor decisions")
        elif not self._link.up:
            self._link.ready()

    def down(self, lost: list[Shed[Ints]]) -> None:
        """What was under way has no answer."""
        for part in lost:
            self.lost[part.payload[part.rows]] = True
        self._sequence = -1  # the next hub may be another

    def _decided(self, batch: hub_pb2.DecisionBatch) -> None:
        flight, d = self._link.answered(batch.batch_id), batch.decisions
        rows = _rows(flight.chunks) if flight else np.zeros(0, np.int64)
        if len(rows) != len(d.reason):
            self.wrong.append(f"batch {batch.batch_id} of {len(rows)} open ticks got {len(d.reason)} decisions")
            return
        approved, reason, sequence = np.array(d.approved, np.bool_), np.array(d.reason), np.array(d.sequence, np.int64)
        for what, count in (
            ("approvals lack an engine's mark", (approved & ~vouched(d)).sum()),
            ("decisions approve with a reason, or reject without one", (approved != (reason == 0)).sum()),
            ("decisions have a sequence that was there", (np.diff(sequence, prepend=self._sequence) <= 0).sum()),
        ):
            if count:
                self.wrong.append(f"batch {batch.batch_id}: {count} {what}")
        self._sequence = int(sequence[-1])
        self.answered_ns[rows] = time.monotonic_ns()
        self.held_ns[rows], self.epoch[rows], self.sequence[rows] = batch.held_ns, batch.epoch, sequence
        self.approved[rows] = approved
        self.reasons = {name: int((reason == code).sum()) for code, name in enumerate(("approved", *batch.reasons))}


def _rows(chunks: list[Chunk[Ints]]) -> Ints:
    return np.concatenate([c.payload if c.rows is None else c.payload[c.rows] for c in chunks])
