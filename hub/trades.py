"""The link to the executor: approved decisions (and in paper mode the ticks) out, state and reports in.

Every connection begins with the executor's snapshot and a new epoch; before it nothing is approved. Decisions
keep their place behind the ticks they follow and are never shed; ticks are, as a full queue of them only makes
the paper books coarser.
"""

from collections.abc import Iterable
from typing import Protocol

from google.protobuf.message import DecodeError, Message

from arbhub.columns import Decisions, Ints, Ticks
from arbhub.control import decode_report, decode_snapshot, encode_reference
from arbhub.link import Link, LinkOptions
from arbhub.queueing import Chunk, Shed, keys
from arbhub.reference import Universe
from arbhub.state import Report, Snapshot
from arbhub.v1 import executor_pb2
from arbhub.v1.engine_pb2 import Configuration
from arbhub.wire import INT64, encode_decisions, encode_ticks, packed, submessage, varint

METHOD = "/arbhub.v1.Executor/Execute"
BATCH = executor_pb2.ExecuteRequest.BATCH_FIELD_NUMBER
SLICES = executor_pb2.ExecuteBatch.SLICES_FIELD_NUMBER
SEQUENCE = executor_pb2.ExecuteSlice.TICK_SEQUENCE_FIELD_NUMBER
TICKS = executor_pb2.ExecuteSlice.TICKS_FIELD_NUMBER
DECISIONS = executor_pb2.ExecuteSlice.DECISIONS_FIELD_NUMBER


class Listener(Protocol):
    """Who is told what the executor says."""

    def connected(self, snapshot: Snapshot) -> None:
        """A new connection, with its epoch and the whole state."""

    def disconnected(self) -> None:
        """The executor cannot be reached."""

    def reported(self, report: Report) -> None:
        """What became of a decision."""


class TradeLink:
    """The executor as the hub sees it."""

    def __init__(
        self, address: str, configuration: tuple[str, bytes], listener: Listener, options: LinkOptions
    ) -> None:
        self._configuration, self._listener = configuration, listener
        self._universe: Universe | None = None
        self.link: Link[tuple[Ints, Ticks]] = Link("executor", address, METHOD, self, options)

    @property
    def up(self) -> bool:
        """Whether a snapshot has come over a stream that stands."""
        return self.link.up

    def reference(self, universe: Universe) -> None:
        """Tell it now, and at each connection."""
        self._universe = universe
        self.link.control(_frame(reference=encode_reference(universe)))

    def ticks(self, sequence: Ints, ticks: Ticks) -> None:
        """Ticks in order, for the paper books."""
        self.link.offer((sequence, ticks), keys(ticks.instrument, ticks.venue))

    def approved(self, decisions: Decisions) -> None:
        """Approved decisions, behind the ticks so far."""
        body = submessage(DECISIONS, encode_decisions(decisions))
        self.link.control(submessage(BATCH, submessage(SLICES, body)))

    # What the link asks of its peer object.

    def greeting(self) -> Iterable[bytes]:
        """Configuration and reference data; the executor answers with a snapshot."""
        version, settings = self._configuration
        yield _frame(configuration=Configuration(version=version, settings_json=settings))
        yield _frame(reference=encode_reference(self._universe or Universe()))

    def encode(self, batch_id: int, chunks: list[Chunk[tuple[Ints, Ticks]]]) -> bytes:
        """One slice of ticks a chunk."""
        slices = []
        for chunk in chunks:
            sequence, ticks = chunk.payload
            if chunk.rows is not None:
                sequence, ticks = sequence[chunk.rows], ticks.take(chunk.rows)
            body = packed(SEQUENCE, sequence, INT64) + submessage(TICKS, encode_ticks(ticks))
            slices.append(submessage(SLICES, body))
        return submessage(BATCH, b"\x08" + varint(batch_id) + b"".join(slices))

    def wanted(self, _: tuple[Ints, Ticks]) -> bool:
        """Ticks are always wanted: they are the books."""
        return True

    def received(self, message: bytes) -> None:
        """A snapshot, a report or an acknowledgement; whatever is none of them ends the stream."""
        reply = executor_pb2.ExecuteReply.FromString(message)
        kind = reply.WhichOneof("frame")
        if kind == "report":
            self._listener.reported(decode_report(reply.report))
        elif kind == "ack":
            self.link.answered(reply.ack.batch_id)
        elif kind == "snapshot":
            self.link.ready()
            self._listener.connected(decode_snapshot(reply.snapshot))
        else:
            raise DecodeError("an executor's frame is neither snapshot, report nor acknowledgement")

    def down(self, _: list[Shed[tuple[Ints, Ticks]]]) -> None:
        """Ticks that were lost need no answer: they were decided long ago."""
        self._listener.disconnected()


def _frame(**frame: Message) -> bytes:
    return executor_pb2.ExecuteRequest(**frame).SerializeToString()  # type: ignore[arg-type]  # one of its frames
