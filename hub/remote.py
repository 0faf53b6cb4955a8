"""Engines in a process of their own: the windowed stream to their host, and a seat for each engine there.

At each connection the host is told configuration, reference data and, once all its engines have said hello and one
of them wants it, the ledger's state as of then, before it is asked anything; reports follow in their order among the
cases. A case is sent once for all engines of the host; cases that wait for the window go out joined, as bytes. An
engine's answer that is none counts as no answer of that engine, and of no other.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from google.protobuf.message import DecodeError, Message

from arbhub import rowwire
from arbhub.columns import Ints, Verdicts
from arbhub.control import encode_report, encode_snapshot
from arbhub.link import Link, LinkOptions
from arbhub.queueing import Chunk, Shed
from arbhub.rows import Verdict, verdict_rows
from arbhub.scan import batch_of
from arbhub.state import Report, Snapshot
from arbhub.v1 import engine_pb2, opportunity_pb2
from arbhub.wire import ColumnError, batch_frame, decode_verdicts, needed, nested, submessage, varint, verdicts_in
from hub import rowfold
from hub.breaker import Breaker
from hub.chunks import are_rows, as_columns, kept, merged, spread
from hub.configured import Configured, Offering
from hub.policy import sound
from hub.references import References
from hub.seats import Case, Owner, Tally

METHOD = "/arbhub.v1.Engine/Evaluate"
REFERENCE = engine_pb2.EngineRequest.REFERENCE_FIELD_NUMBER
BATCH = engine_pb2.EngineRequest.BATCH_FIELD_NUMBER
OPPORTUNITIES = engine_pb2.OpportunityBatch.OPPORTUNITIES_FIELD_NUMBER
DEPTH = engine_pb2.OpportunityBatch.DEPTH_FIELD_NUMBER
BUDGET = varint(engine_pb2.OpportunityBatch.BUDGET_NS_FIELD_NUMBER << 3)
VERDICT_BATCH = engine_pb2.EngineReply.BATCH_FIELD_NUMBER
VERDICTS = engine_pb2.VerdictBatch.VERDICTS_FIELD_NUMBER


class RemoteSeat:
    """One engine of a host. It is up once the host is; until then there is no answer."""

    reason_codes: Ints
    breaker: Breaker

    def __init__(self, name: str, host: "RemoteHost") -> None:
        self.name, self.place, self.tally = name, host.place, Tally()
        self.wants_depth = self.wants_state = False
        self.reads: Sequence[str] = ()
        self._link, self._reasons = host.link, 0

    @property
    def up(self) -> bool:
        """Whether all engines of the host have said hello over a stream that stands."""
        return self._link.up

    def greeted(self, hello: engine_pb2.EngineHello) -> None:
        """Keep what the engine says of itself."""
        self.wants_depth, self.wants_state, self.reads = hello.wants_depth, hello.wants_state, hello.reads
        self._reasons = len(hello.reasons)

    def decoded(self, columns: bytes, rows: int) -> Verdicts | None:
        """The verdicts, None where they are no answer to what was asked; DecodeError where they are none at all."""
        try:
            scanned = verdicts_in(columns, 0, len(columns))
            answer = decode_verdicts(scanned or opportunity_pb2.VerdictColumns.FromString(columns))
        except ColumnError:
            return None
        return answer if sound(answer, rows, self._reasons) else None

    def decoded_rows(self, columns: bytes, rows: int) -> list[Verdict] | None:
        """The same as rows."""
        few = rowwire.decode_verdicts(columns, 0, len(columns))
        if few is not None:
            return few if rowfold.sound(few, rows, self._reasons) else None
        answer = self.decoded(columns, rows)
        return None if answer is None else verdict_rows(answer)


class RemoteHost:
    """Engines behind one link. It is up once each of them has said hello, and no other.

    `others` takes a case that was lost with the stream, where there are replicas that may be asked instead.
    """

    def __init__(
        self,
        place: str,
        names: Sequence[str],
        configured: Configured,
        owner: Owner,
        options: LinkOptions,
        others: Callable[[Case], None] | None = None,
    ) -> None:
        self.place, self.names = place, tuple(names)
        self.replica = f" at {place}" if others else ""
        """What tells it from others with the same engines."""
        self.shadow = False
        """Whether nobody waits for any of them: then they are asked what is decided already, too."""
        self._owner, self._lost = owner, others or self._silent
        self.configuration = Offering(", ".join(names), configured, _frame)
        self._references: References | None = None
        self.link: Link[Case] = Link(", ".join(names) + self.replica, place, METHOD, self, options)
        self.seats = {name: RemoteSeat(name, self) for name in names}
        self._greeted: list[RemoteSeat] = []  # in the order of their hellos, which is that of verdicts
        self._wants_depth = self._wants_state = False
        self._read: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Keep the stream, until cancelled."""
        await self.link.run()

    def adopt(self, configured: Configured) -> None:
        """Commit what they accepted, or tell them whole; without a stream the next one begins with it."""
        self.configuration.adopt(configured, self.link.control if self.link.open else None)

    def reference(self, references: References) -> None:
        """Tell them now, and at each connection."""
        self._references = references
        if self.link.open:
            self.link.control(submessage(REFERENCE, references.encoded()))

    def snapshot(self, snapshot: Snapshot) -> None:
        """Tell them where one wants it; at connections to come the owner is asked for it."""
        if self._wants_state:
            self.link.control(_frame(snapshot=encode_snapshot(snapshot)))

    def report(self, report: Report) -> None:
        """Tell them where one wants it."""
        if self._wants_state:
            self.link.control(_frame(report=encode_report(report)))

    def ask(self, case: Case) -> None:
        """Queue the case; without a connection there will be no answer."""
        shed = self.link.offer(case, case.keys)
        if shed is None:
            for seat in self.seats.values():
                self._owner.away(seat, case)
        for gone in shed or ():
            self._owner.shed(gone.payload, gone.rows, self.names)

    # What the link asks of its peer object.

    def greeting(self) -> Iterable[bytes]:
        """Configuration and reference data; the state follows the hellos where an engine wants it."""
        yield self.configuration.greeting()
        if self._references is not None:
            yield submessage(REFERENCE, self._references.encoded())

    def encode(self, batch_id: int, chunks: list[Chunk[Case]]) -> bytes:
        """The chunks' columns joined; only those that an engine reads."""
        cases = self._cases(chunks)
        parts = nested(OPPORTUNITIES, [part for case in cases for part in case.columns(self._read)])
        if self._wants_depth:
            parts += nested(DEPTH, [part for case in cases for part in case.depth()])
        return batch_frame(BATCH, batch_id, self._budget(chunks), *parts)

    @staticmethod
    def _cases(chunks: list[Chunk[Case]]) -> list[Case]:
        if len(chunks) == 1:
            return [kept(chunks[0])]
        return [merged(chunks)] if are_rows(chunks) else [as_columns(chunk) for chunk in chunks]

    def _budget(self, chunks: list[Chunk[Case]]) -> bytes:
        """How long somebody waits for an answer to one of them at least; nothing where that has no end.

        Not the least of them: the oldest of the cases that joined would take the younger ones with it.
        """
        due_ns = max([self._owner.due_ns(chunk.payload, self.names) for chunk in chunks])
        return BUDGET + varint(max(1, due_ns - time.monotonic_ns())) if due_ns else b""

    def wanted(self, payload: Case) -> bool:
        """A case that is decided already need not be asked."""
        return self.shadow or self._owner.still_open(payload)

    def received(self, message: bytes) -> None:
        """A hello or an answer; whatever is neither ends the stream."""
        batch = batch_of(message, VERDICT_BATCH)
        if batch is not None and all(number == VERDICTS for number, _, _ in batch[1]):
            self._answered(batch[0], [message[start:stop] for _, start, stop in batch[1]])
            return
        reply = engine_pb2.EngineReply.FromString(message)
        kind = reply.WhichOneof("frame")
        if kind == "batch" and reply.batch.skipped:
            self._skipped(reply.batch.batch_id)
        elif kind == "batch":
            self._answered(reply.batch.batch_id, [columns.SerializeToString() for columns in reply.batch.verdicts])
        elif kind == "hello":
            self._hello(reply.hello)
        elif kind == "offer_reply":
            self.configuration.replied(reply.offer_reply)
        else:
            raise DecodeError("an engine's frame is neither hello nor verdicts")

    def down(self, lost: list[Shed[Case]]) -> None:
        """Nobody need wait for what was asked."""
        self._greeted, self._wants_state = [], False  # until they say so again
        self.configuration.ended()
        for gone in lost:
            self._lost(gone.payload)

    def _silent(self, case: Case) -> None:
        for seat in self.seats.values():
            self._owner.no_answer(seat, case)

    def _hello(self, hello: engine_pb2.EngineHello) -> None:
        hosted = hello.hosted or [hello.name]
        if {hello.name, *hosted} != self.seats.keys():
            raise ConnectionError(f"{self.place} is the engine {_listed(hosted)}, not {_listed(self.seats)}")
        seat = self.seats[hello.name]
        if seat in self._greeted:
            raise DecodeError("an engine says hello once")
        self._greeted.append(seat)
        seat.greeted(hello)
        self._owner.stated_reasons(seat, hello.reasons)
        if len(self._greeted) == len(self.seats):
            self._complete()

    def _complete(self) -> None:
        """All have said hello: from here on they are asked, once they have the state."""
        self._wants_depth = any(seat.wants_depth for seat in self._greeted)
        self._read = needed(seat.reads for seat in self._greeted)
        self._wants_state = any(seat.wants_state for seat in self._greeted)
        ledger = self._owner.ledger()
        if self._wants_state and ledger is not None:
            self.link.control(_frame(snapshot=encode_snapshot(ledger)))
        self.link.ready()

    def _skipped(self, batch_id: int) -> None:
        """They got to it when nobody waited for it any more, and say so."""
        flight = self.link.answered(batch_id)
        for chunk in flight.chunks if flight else ():
            for seat in self.seats.values():
                seat.tally.skipped += len(chunk)
            self._silent(chunk.payload)

    def _answered(self, batch_id: int, columns: Sequence[bytes]) -> None:
        flight = self.link.answered(batch_id)
        if flight is None:
            return
        took_ns, chunks = time.monotonic_ns() - flight.sent_ns, flight.chunks
        rows = len(chunks[0]) if len(chunks) == 1 else sum(len(chunk) for chunk in chunks)
        whose_is_known, as_rows = len(columns) == len(self._greeted), are_rows(chunks)
        for number, seat in enumerate(self._greeted):
            seat.tally.answers += 1
            seat.tally.latency_ns.append(took_ns)
            if as_rows:
                few = seat.decoded_rows(columns[number], rows) if whose_is_known else None
                self._deliver_rows(seat, chunks, few)
            else:
                self._deliver(seat, chunks, seat.decoded(columns[number], rows) if whose_is_known else None)

    def _deliver_rows(self, seat: RemoteSeat, chunks: list[Chunk[Case]], answer: list[Verdict] | None) -> None:
        """Each case's own part of an engine's answer to all of them."""
        at = 0
        for chunk in chunks:
            if answer is None:
                self._owner.no_answer(seat, chunk.payload)
                continue
            end = at + len(chunk)
            self._owner.verdicts(seat, chunk.payload, answer[at:end])
            at = end

    def _deliver(self, seat: RemoteSeat, chunks: list[Chunk[Case]], answer: Verdicts | None) -> None:
        """The same of columns, rows of which may have been shed."""
        at = 0
        for chunk in chunks:
            if answer is None:
                self._owner.no_answer(seat, chunk.payload)
                continue
            part = answer if len(chunks) == 1 else answer.take(np.arange(at, at + len(chunk)))
            at += len(chunk)
            whole = part if chunk.rows is None else spread(part, chunk.rows, len(chunk.payload))
            self._owner.verdicts(seat, chunk.payload, whole)


def _frame(**frame: Message) -> bytes:
    return engine_pb2.EngineRequest(**frame).SerializeToString()  # type: ignore[arg-type]  # one of its frames


def _listed(names: Iterable[str]) -> str:
    return " and ".join(repr(name) for name in names)
