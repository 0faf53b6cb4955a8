"""A client that never stops: runs in a container beside a hub's, and knows of every tick how often it was answered.

    python3 steady_ticks.py HUB:PORT     until SIGTERM; then it waits for what is open and prints a report, JSON

What a stream's end left without an answer is offered again on the next stream, as any feed would: a hub decides
what it has accepted before it ends, so nothing is ever answered twice. Rows are positions in the schedule.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from arbhub.columns import Ints, Side
from arbhub.control import encode_reference
from arbhub.link import Link, LinkOptions
from arbhub.queueing import Chunk, Shed, keys
from arbhub.reference import Universe
from arbhub.v1 import hub_pb2
from arbhub.wire import batch_frame, encode_ticks, submessage
from loadtest.schedule import Arrivals, Market, schedule

METHOD = "/arbhub.v1.Hub/Stream"
BATCH = hub_pb2.StreamRequest.BATCH_FIELD_NUMBER
TICKS = hub_pb2.TickBatch.TICKS_FIELD_NUMBER
MARKET = Market(instruments=8, venues=3)
RATE, LONGEST_S, SEED = 100.0, 1800.0, 8
SMALL = 1e-3  # of the sizes: what is approved of these ticks uses up none of the limits that others trade under
LOOK_S = 0.005  # how often it sees what is due
LAST_ANSWERS_S = 30.0


class SteadyTicks:
    """What is sent, when, and what was answered."""

    def __init__(self, target: str) -> None:
        plan = schedule(Arrivals.POISSON, RATE, LONGEST_S, MARKET, SEED)
        self._at_ns = plan.at_ns
        self._ticks = replace(plan.ticks, bids=_small(plan.ticks.bids), asks=_small(plan.ticks.asks))
        self._key = keys(plan.ticks.instrument, plan.ticks.venue)
        self._answers = np.zeros(len(plan.at_ns), np.int64)
        self._due = 0
        self._again = np.zeros(0, np.int64)  # what was lost with a stream, to be offered again
        self._again_rows = self._streams = self._longest_ns = self._answered_ns = 0
        self._approved: dict[int, int] = {}  # by epoch
        self._reasons: dict[str, int] = {}
        self._wrong: list[str] = []
        self._universe = Universe()
        self._universe.merge(MARKET.reference())
        self._link: Link[Ints] = Link("hub", target, METHOD, self, LinkOptions())

    async def run(self, end: asyncio.Event) -> dict[str, Any]:
        """Offer what is due until the end is asked for, then wait for the rest; the report."""
        link = asyncio.create_task(self._link.run())
        began_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        self._ticks = replace(self._ticks, ts_ns=self._at_ns + wall_ns)
        ends_s = 0.0
        while not ends_s or (self._open() and time.monotonic() < ends_s):
            if end.is_set() and not ends_s:
                ends_s = time.monotonic() + LAST_ANSWERS_S
            elif not ends_s:
                due = int(self._at_ns.searchsorted(time.monotonic_ns() - began_ns))
                self._again, self._due = np.append(self._again, np.arange(self._due, due)), due
            self._offer()
            await asyncio.sleep(LOOK_S)
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)
        return self._report()

    def _offer(self) -> None:
        if not len(self._again):
            return
        shed = self._link.offer(self._again, self._key[self._again])
        if shed is not None:
            self._wrong += [f"{len(part.rows)} ticks overflowed the client's queue" for part in shed]
            self._again = self._again[:0]

    def _open(self) -> int:
        return int((self._answers[: self._due] == 0).sum())

    def _report(self) -> dict[str, Any]:
        return {
            "ticks": self._due,
            "unanswered": self._open(),
            "answered_again": int((self._answers > 1).sum()),
            "offered_again": self._again_rows,
            "streams": self._streams,
            "longest_silence_s": round(self._longest_ns / 1e9, 2),
            "approved_by_epoch": self._approved,
            "reasons": self._reasons,
            "wrong": self._wrong[:10],
        }

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
            self._streams += 1
            self._link.ready()

    def down(self, lost: list[Shed[Ints]]) -> None:
        """What was under way has no answer: it goes first on the next stream."""
        rows = np.concatenate([part.payload[part.rows] for part in lost]) if lost else np.zeros(0, np.int64)
        self._again_rows += len(rows)
        self._again = np.append(rows, self._again)

    def _decided(self, batch: hub_pb2.DecisionBatch) -> None:
        flight, d = self._link.answered(batch.batch_id), batch.decisions
        rows = _rows(flight.chunks) if flight else np.zeros(0, np.int64)
        if len(rows) != len(d.reason):
            self._wrong.append(f"batch {batch.batch_id} of {len(rows)} open ticks got {len(d.reason)} decisions")
            return
        now_ns = time.monotonic_ns()
        self._longest_ns = max(self._longest_ns, now_ns - self._answered_ns) if self._answered_ns else 0
        self._answered_ns = now_ns
        self._answers[rows] += 1
        names = ("approved", *batch.reasons)
        for code in d.reason:
            self._reasons[names[code]] = self._reasons.get(names[code], 0) + 1
        self._approved[batch.epoch] = self._approved.get(batch.epoch, 0) + sum(d.approved)


def _rows(chunks: list[Chunk[Ints]]) -> Ints:
    return np.concatenate([c.payload if c.rows is None else c.payload[c.rows] for c in chunks])


def _small(side: Side) -> Side:
    return replace(side, size=side.size * SMALL)


async def _main(target: str) -> None:
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    print(json.dumps(await SteadyTicks(target).run(end)), flush=True)  # noqa: T201  # what the test reads


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
