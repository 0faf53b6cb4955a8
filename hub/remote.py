"""An engine in a process of its own, as a seat: the windowed stream to it and what is said over that.

At each connection the engine is told configuration, reference data and, once it has said that it wants it, the
ledger's state as of then, before it is asked anything; reports follow in their order among the cases. Cases that
wait for the window go out joined, as bytes. An answer that is none counts as no answer.
"""

import time
from collections.abc import Iterable

import numpy as np
from google.protobuf.message import DecodeError, Message

from arbhub.columns import ABSTAIN, Floats, Ints, Verdicts
from arbhub.control import encode_report, encode_snapshot
from arbhub.engine import EngineConfiguration
from arbhub.link import Link, LinkOptions
from arbhub.queueing import Chunk, Shed
from arbhub.state import Report, Snapshot
from arbhub.v1 import engine_pb2
from arbhub.wire import ColumnError, batch_frame, decode_verdicts, submessage
from hub.policy import sound
from hub.references import References
from hub.seats import Case, Owner, Tally

METHOD = "/arbhub.v1.Engine/Evaluate"
REFERENCE = engine_pb2.EngineRequest.REFERENCE_FIELD_NUMBER
BATCH = engine_pb2.EngineRequest.BATCH_FIELD_NUMBER
OPPORTUNITIES = engine_pb2.OpportunityBatch.OPPORTUNITIES_FIELD_NUMBER
DEPTH = engine_pb2.OpportunityBatch.DEPTH_FIELD_NUMBER


class RemoteSeat:
    """An engine behind a link. It is up once it has said hello; until then there is no answer."""

    reason_codes: Ints

    def __init__(
        self,
        name: str,
        place: str,
        configuration: tuple[str, EngineConfiguration],
        owner: Owner,
        options: LinkOptions,
    ) -> None:
        self.name, self.place, self.tally = name, place, Tally()
        self._owner = owner
        self._version, self._configuration = configuration
        self._reasons = 0
        self._wants_depth = self._wants_state = False
        self._references: References | None = None
        self.link: Link[Case] = Link(name, place, METHOD, self, options)

    @property
    def up(self) -> bool:
        """Whether the engine has said hello over a stream that stands."""
        return self.link.up

    def reference(self, references: References) -> None:
        """Tell it now, and at each connection."""
        self._references = references
        if self.link.open:
            self.link.control(submessage(REFERENCE, references.encoded()))

    def snapshot(self, snapshot: Snapshot) -> None:
        """Tell it where it is wanted; at connections to come the owner is asked for it."""
        if self._wants_state:
            self.link.control(_frame(snapshot=encode_snapshot(snapshot)))

    def report(self, report: Report) -> None:
        """Tell it where it is wanted."""
        if self._wants_state:
            self.link.control(_frame(report=encode_report(report)))

    def ask(self, case: Case) -> None:
        """Queue the case; without a connection there will be no answer."""
        shed = self.link.offer(case, case.keys)
        if shed is None:
            self._owner.no_answer(self, case)
            return
        for gone in shed:
            self._owner.shed(gone.payload, gone.rows)

    # What the link asks of its peer object.

    def greeting(self) -> Iterable[bytes]:
        """Configuration and reference data; the state follows the hello of an engine that wants it."""
        configuration = engine_pb2.Configuration(
            version=self._version, settings_json=self._configuration.model_dump_json().encode()
        )
        yield _frame(configuration=configuration)
        if self._references is not None:
            yield submessage(REFERENCE, self._references.encoded())

    def encode(self, batch_id: int, chunks: list[Chunk[Case]]) -> bytes:
        """The chunks' columns joined; depth only where the engine reads it."""
        columns, depth = [], []
        for chunk in chunks:
            whole = chunk.rows is None
            case = chunk.payload if whole else chunk.payload.cut(chunk.kept())
            columns.append(case.columns())
            if self._wants_depth:
                depth.append(case.depth())
        body = submessage(OPPORTUNITIES, b"".join(columns)) + submessage(DEPTH, b"".join(depth))
        return batch_frame(BATCH, batch_id, body)

    def wanted(self, payload: Case) -> bool:
        """A case that is decided already need not be asked."""
        return self._owner.still_open(payload)

    def received(self, message: bytes) -> None:
        """A hello or an answer; whatever is neither ends the stream."""
        reply = engine_pb2.EngineReply.FromString(message)
        if reply.WhichOneof("frame") == "hello":
            self._greeted(reply.hello)
        elif reply.WhichOneof("frame") == "batch":
            self._answered(reply.batch)
        else:
            raise DecodeError("an engine's frame is neither hello nor verdicts")

    def down(self, lost: list[Shed[Case]]) -> None:
        """Nobody need wait for what was asked."""
        self._wants_state = False  # until it says so again
        for gone in lost:
            self._owner.no_answer(self, gone.payload)

    def _greeted(self, hello: engine_pb2.EngineHello) -> None:
        if hello.name != self.name:
            raise ConnectionError(f"{self.place} is the engine {hello.name!r}, not {self.name!r}")
        if self.link.up:
            raise DecodeError("an engine says hello once")
        self._reasons = len(hello.reasons)
        self._wants_depth, self._wants_state = hello.wants_depth, hello.wants_state
        self._owner.stated_reasons(self, hello.reasons)
        ledger = self._owner.ledger()
        if self._wants_state and ledger is not None:
            self.link.control(_frame(snapshot=encode_snapshot(ledger)))
        self.link.ready()

    def _answered(self, batch: engine_pb2.VerdictBatch) -> None:
        flight = self.link.answered(batch.batch_id)
        if flight is None:
            return
        self.tally.latency_ns.append(time.monotonic_ns() - flight.sent_ns)
        answer = self._decoded(batch, sum(len(chunk) for chunk in flight.chunks))
        at = 0
        for chunk in flight.chunks:
            if answer is None:
                self._owner.no_answer(self, chunk.payload)
                continue
            part = answer if len(flight.chunks) == 1 else answer.take(np.arange(at, at + len(chunk)))
            at += len(chunk)
            whole = part if chunk.rows is None else _spread(part, chunk.rows, len(chunk.payload))
            self._owner.verdicts(self, chunk.payload, whole)

    def _decoded(self, batch: engine_pb2.VerdictBatch, rows: int) -> Verdicts | None:
        """The verdicts, None where they are no answer to what was asked."""
        try:
            answer = decode_verdicts(batch.verdicts)
        except ColumnError:
            return None
        return answer if sound(answer, rows, self._reasons) else None


def _spread(answer: Verdicts, rows: Ints, n: int) -> Verdicts:
    """Verdicts on some rows as verdicts on all n; the others were shed and are decided as such."""

    def full(column: Floats, rest: float) -> Floats:
        spread = np.full(n, rest)
        spread[rows] = column
        return spread

    verdict, reason = np.full(n, ABSTAIN, np.int64), np.zeros(n, np.int64)
    verdict[rows], reason[rows] = answer.verdict, answer.reason
    limits = (None if c is None else full(c, np.nan) for c in (answer.buy_limit, answer.sell_limit))
    return Verdicts(verdict, reason, full(answer.bps, 0.0), full(answer.quantity, 0.0), *limits)


def _frame(**frame: Message) -> bytes:
    return engine_pb2.EngineRequest(**frame).SerializeToString()  # type: ignore[arg-type]  # one of its frames
