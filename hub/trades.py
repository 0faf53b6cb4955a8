"""The link to the executor: approved decisions (and in paper mode the ticks) out, state and reports in.

Every connection begins with the executor's snapshot and a new epoch; before it nothing is approved. Then it is
given every book there is. Decisions keep their place behind the ticks they follow and are never shed; ticks are,
as a full queue of them only makes the paper books coarser.
"""

import time
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from google.protobuf.message import DecodeError, Message

from arbhub.columns import Decisions, Ints, Ticks
from arbhub.control import decode_report, decode_snapshot
from arbhub.link import Link, LinkOptions
from arbhub.queueing import Chunk, Shed, keys
from arbhub.state import Report, Snapshot
from arbhub.v1 import executor_pb2
from arbhub.v1.ledger_pb2 import TradingState
from arbhub.wire import INT64, batch_frame, encode_decisions, encode_ticks, packed, submessage
from hub.configured import Configured, Offering
from hub.references import References

METHOD = "/arbhub.v1.Executor/Execute"
REFERENCE = executor_pb2.ExecuteRequest.REFERENCE_FIELD_NUMBER
BATCH = executor_pb2.ExecuteRequest.BATCH_FIELD_NUMBER
SLICES = executor_pb2.ExecuteBatch.SLICES_FIELD_NUMBER
SEQUENCE = executor_pb2.ExecuteSlice.TICK_SEQUENCE_FIELD_NUMBER
TICKS = executor_pb2.ExecuteSlice.TICKS_FIELD_NUMBER
DECISIONS = executor_pb2.ExecuteSlice.DECISIONS_FIELD_NUMBER
MAX_AWAITED = 65_536  # of an executor that reports on nothing no more is remembered


class Listener(Protocol):
    """Who is told what the executor says."""

    def connected(self, snapshot: Snapshot) -> None:
        """A new connection, with its epoch and the whole state."""

    def disconnected(self) -> None:
        """The executor cannot be reached."""

    def reported(self, report: Report) -> None:
        """What became of a decision."""

    def trading_changed(self, state: int) -> None:
        """The ledger's trading state is this now."""


class TradeLink:
    """The executor as the hub sees it."""

    def __init__(self, address: str, configured: Configured, listener: Listener, options: LinkOptions) -> None:
        self.configuration = Offering("executor", configured, _frame)
        self._listener = listener
        self.awaited: dict[int, int] = {}
        """Approved decisions of which no report has come yet: sequence -> when they were handed over, monotonic ns."""
        self._references: References | None = None
        self._batch_rows = options.max_batch_rows
        self.link: Link[tuple[Ints, Ticks]] = Link("executor", address, METHOD, self, options)

    @property
    def up(self) -> bool:
        """Whether a snapshot has come over a stream that stands."""
        return self.link.up

    def adopt(self, configured: Configured) -> None:
        """As for the engines."""
        self.configuration.adopt(configured, self.link.control if self.link.open else None)

    def reference(self, references: References) -> None:
        """Tell it now, and at each connection."""
        self._references = references
        if self.link.open:
            self.link.control(submessage(REFERENCE, references.encoded()))

    def books(self, sequence: int, ticks: Ticks) -> None:
        """Every book there is, as ticks of this sequence that are never shed: a connection begins with them."""
        for start in range(0, len(ticks), self._batch_rows):
            part = ticks.slice(start, start + self._batch_rows)
            self.link.control(submessage(BATCH, _slice(np.full(len(part), sequence), part)))

    def ticks(self, sequence: Ints, ticks: Ticks) -> None:
        """Ticks in order, for the paper books."""
        self.link.offer((sequence, ticks), keys(ticks.instrument, ticks.venue))

    def approved(self, decisions: Decisions) -> None:
        """Approved decisions, behind the ticks so far."""
        if len(self.awaited) < MAX_AWAITED:
            self.awaited.update(dict.fromkeys(decisions.sequence.tolist(), time.monotonic_ns()))
        body = submessage(DECISIONS, encode_decisions(decisions))
        self.link.control(submessage(BATCH, submessage(SLICES, body)))

    def trading(self, state: int) -> None:
        """The operator's word on trading, for the ledger to keep; without a connection nobody hears it."""
        if self.link.up:
            self.link.control(_frame(trading=executor_pb2.SetTrading(state=TradingState.ValueType(state))))

    # What the link asks of its peer object.

    def greeting(self) -> Iterable[bytes]:
        """Configuration and reference data; the executor answers with a snapshot."""
        yield self.configuration.greeting()
        yield submessage(REFERENCE, self._references.encoded() if self._references else b"")

    def encode(self, batch_id: int, chunks: list[Chunk[tuple[Ints, Ticks]]]) -> bytes:
        """One slice of ticks a chunk."""
        slices = []
        for chunk in chunks:
            sequence, ticks = chunk.payload
            if chunk.rows is not None:
                sequence, ticks = sequence[chunk.rows], ticks.take(chunk.rows)
            slices.append(_slice(sequence, ticks))
        return batch_frame(BATCH, batch_id, *slices)

    def wanted(self, _: tuple[Ints, Ticks]) -> bool:
        """Ticks are always wanted: they are the books."""
        return True

    def received(self, message: bytes) -> None:
        """A snapshot first, then reports and acknowledgements; whatever is none of them ends the stream."""
        reply = executor_pb2.ExecuteReply.FromString(message)
        kind = reply.WhichOneof("frame")
        if kind is None or (kind == "snapshot") == self.link.up:
            raise DecodeError(f"from an executor a snapshot comes first and once, not {kind or 'an unknown frame'}")
        if kind == "report":
            report = decode_report(reply.report)
            self.awaited.pop(report.sequence, None)
            self._listener.reported(report)
        elif kind == "ack":
            self.link.answered(reply.ack.batch_id)
        elif kind == "offer_reply":
            self.configuration.replied(reply.offer_reply)
        elif kind == "trading":
            self._listener.trading_changed(reply.trading.state)
        else:
            snapshot = decode_snapshot(reply.snapshot)
            self.link.ready()
            self._listener.connected(snapshot)

    def down(self, _: list[Shed[tuple[Ints, Ticks]]]) -> None:
        """Ticks that were lost need no answer: they were decided long ago; decisions get none any more."""
        self.awaited.clear()
        self.configuration.ended()
        self._listener.disconnected()


def _frame(**frame: Message) -> bytes:
    return executor_pb2.ExecuteRequest(**frame).SerializeToString()  # type: ignore[arg-type]  # one of its frames


def _slice(sequence: Ints, ticks: Ticks) -> bytes:
    body = packed(SEQUENCE, sequence, INT64) + submessage(TICKS, encode_ticks(ticks))
    return submessage(SLICES, body)
