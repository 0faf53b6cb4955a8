"""One client's stream: its ids translated to the hub's, its batches checked, its answers queued as they are made.

A batch that does not fit is refused whole, naming the column. Nothing here knows gRPC.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from google.protobuf.message import DecodeError

from arbhub import rowwire
from arbhub.columns import MAX_LEVELS, MAX_TS_NS, NO_VENUE, Decisions, Ints, Ticks
from arbhub.control import BadReferenceError, decode_reference
from arbhub.rows import Decision, Tick
from arbhub.scan import Columns, batch_of
from arbhub.v1 import hub_pb2, market_pb2
from arbhub.wire import ColumnError, decision_parts, decode_ticks, nested, submessage, ticks_in
from hub.hub import Hub
from hub.reasons import APPROVED
from hub.replies import Decided

BATCH = hub_pb2.StreamRequest.BATCH_FIELD_NUMBER
TICKS = hub_pb2.TickBatch.TICKS_FIELD_NUMBER
NAMES_BATCH = hub_pb2.StreamReply.BATCH_FIELD_NUMBER
DECISIONS = hub_pb2.DecisionBatch.DECISIONS_FIELD_NUMBER
MAX_UNREAD = 1024
MAX_UNREAD_BYTES = 32 << 20
MAX_UNREAD_S = 10.0
MAX_TICKS = 1 << 16  # of a batch
MAX_CELLS = 1 << 23  # ticks of a batch times the levels of its deepest: what it takes in memory


class RefusedError(ValueError):
    """A frame that cannot be taken; the text says what is wrong with it."""


class Session:
    """`outbox` has the frames to write, `written` counts those that the client's window has taken.

    `unanswered` counts the batches whose decisions are not made yet.
    """

    def __init__(self, hub: Hub) -> None:
        self.outbox: deque[bytes] = deque()
        self.unanswered = self.written = 0
        self.ending = self.left = False
        self.on_answer: Callable[[], None] = lambda: None
        self._hub = hub
        self._unread_bytes = self._frames = 0
        self._progress = (-1, 0)  # how many frames had been written when that last changed, and when (ns)
        self._names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # venues and symbols, as the client has them
        self._venue: Ints = np.zeros(0, np.int64)  # the client's id -> the hub's
        self._instrument: Ints = np.zeros(0, np.int64)
        self._venue_ids: list[int] = []  # the same
        self._instrument_ids: list[int] = []
        self._named = (0, 0)

    def take(self, frame: bytes) -> None:
        """Take a frame in; RefusedError refuses all of it."""
        try:
            if self._plain(frame):
                return
            request = hub_pb2.StreamRequest.FromString(frame)
            kind = request.WhichOneof("frame")
            if kind == "batch":
                self._batch(request.batch.batch_id, request.batch.ticks)
            elif kind == "reference":
                self._reference(request.reference)
            else:
                raise RefusedError("a frame is neither reference data nor ticks")
        except (ColumnError, BadReferenceError) as error:
            raise RefusedError(str(error)) from None
        except DecodeError:
            raise RefusedError("a frame is no StreamRequest") from None

    def pop(self) -> bytes:
        """The next frame to write."""
        frame = self.outbox.popleft()
        self._unread_bytes -= len(frame)
        return frame

    def leave(self) -> None:
        """The client is gone: what it stated stands, what it would have been told is forgotten."""
        self.ending = self.left = True
        self.outbox.clear()
        self._hub.references.left(self)
        self.on_answer()

    @property
    def done(self) -> bool:
        """Whether all that will ever be answered is written."""
        return self.ending and self.unanswered == 0 and not self.outbox

    @property
    def overdue(self) -> bool:
        """Whether the client has left more answers unread than anyone may."""
        return len(self.outbox) > MAX_UNREAD or self._unread_bytes > MAX_UNREAD_BYTES

    def stalled(self, now_ns: int) -> bool:
        """Whether the client has read nothing for longer than anyone may, though there was something; ask regularly."""
        written, since_ns = self._progress
        if written != self.written or self.written == self._frames:
            self._progress = self.written, now_ns
            return False
        return now_ns - since_ns > MAX_UNREAD_S * 1e9

    def _reference(self, message: market_pb2.ReferenceData) -> None:
        data = decode_reference(message)
        for kind, names, earlier in zip(("venues", "symbols"), (data.venues, data.symbols), self._names, strict=True):
            if names[: len(earlier)] != earlier or len(set(names)) != len(names):
                raise BadReferenceError(f"reference data: {kind} are not the earlier ones with new ones after them")
        self._hub.merge(data, self)
        u = self._hub.universe
        self._names = data.venues, data.symbols
        self._venue = np.array([u.venue_ids[name] for name in data.venues], np.int64)
        self._instrument = np.array([u.symbol_ids[name] for name in data.symbols], np.int64)
        self._venue_ids, self._instrument_ids = self._venue.tolist(), self._instrument.tolist()
        self._name()
        self.on_answer()

    def _batch(self, batch_id: int, message: market_pb2.TickColumns | Columns) -> None:
        received_ns = time.monotonic_ns()
        _bound(message)
        ticks = self._translated(decode_ticks(message))
        self.unanswered += 1
        version = self._hub.version  # that it is judged by, whatever is in force when it is answered
        self._hub.submit(ticks, lambda decided: self._answer(batch_id, received_ns, version, decided), received_ns)

    def _plain(self, frame: bytes) -> bool:
        """Take a batch that is laid out as our own clients do; False where it is none, and protobuf has to read it."""
        batch = batch_of(frame, BATCH)
        if batch is None or len(batch[1]) != 1 or batch[1][0][0] != TICKS:
            return False
        batch_id, ((_, start, stop),) = batch
        ticks = rowwire.decode_ticks(frame, start, stop)
        if ticks is not None:
            return self._rows(batch_id, ticks)
        columns = ticks_in(frame, start, stop)
        if columns is None:
            return False
        self._batch(batch_id, columns)
        return True

    def _rows(self, batch_id: int, ticks: list[Tick]) -> bool:
        """Take a batch of a few ticks; False where not all is well, which `_batch` looks into."""
        received_ns, rows = time.monotonic_ns(), []
        instruments, venues = self._instrument_ids, self._venue_ids
        for t in ticks:
            if t.instrument >= len(instruments) or t.venue >= len(venues) or abs(t.ts_ns) > MAX_TS_NS:
                return False
            rows.append(Tick(t.ts_ns, instruments[t.instrument], venues[t.venue], *t[3:]))
        self.unanswered += 1
        version = self._hub.version
        self._hub.submit_rows(rows, lambda decided: self._answer(batch_id, received_ns, version, decided), received_ns)
        return True

    def _translated(self, t: Ticks) -> Ticks:
        for column, ids, known in (
            ("instrument", t.instrument, self._instrument),
            ("venue", t.venue, self._venue),
        ):
            if len(ids) and int(ids.max()) >= len(known):
                raise ColumnError(
                    f"column {column} has the id {int(ids.max())}, but this stream's reference data "
                    f"names only {len(known)}"
                )
        if len(t) and max(int(t.ts_ns.max()), -int(t.ts_ns.min())) > MAX_TS_NS:
            raise ColumnError("column ts_ns has a time beyond all years: it is in nanoseconds since 1970")
        return Ticks(t.ts_ns, self._instrument[t.instrument], self._venue[t.venue], t.bids, t.asks, t.ts_event_ns)

    def _answer(self, batch_id: int, received_ns: int, version: str, decided: Decided) -> None:
        self.unanswered -= 1
        u = self._hub.universe
        if self._named != (len(u.venues), len(u.symbols)):
            self._name()
        held_ns = time.monotonic_ns() - received_ns
        hub = self._hub
        if isinstance(decided, list):
            self._put(encode_rows(batch_id, decided, hub.reasons.names, hub.epoch, version, held_ns))
        else:
            self._put(encode_batch(batch_id, decided, hub.epoch, version, held_ns))
        self.on_answer()

    def _name(self) -> None:
        u = self._hub.universe
        self._named = (len(u.venues), len(u.symbols))
        names = hub_pb2.Names(venues=u.venues, symbols=u.symbols, engines=[s.name for s in self._hub.seats])
        self._put(hub_pb2.StreamReply(names=names).SerializeToString())

    def _put(self, frame: bytes) -> None:
        if self.left:
            return
        self.outbox.append(frame)
        self._frames += 1
        self._unread_bytes += len(frame)


def _bound(message: market_pb2.TickColumns | Columns) -> None:
    """Refuse what would take far more memory as columns than it took on the wire."""
    rows = len(message.ts_ns)
    if rows > MAX_TICKS:
        raise ColumnError(f"column ts_ns has {rows} values: a batch has at most {MAX_TICKS} ticks")
    if rows * MAX_LEVELS <= MAX_CELLS:
        return
    for column in ("bid_levels", "ask_levels"):
        deepest = int(np.array(getattr(message, column), np.int64).max(initial=0))
        if rows * min(deepest, MAX_LEVELS) > MAX_CELLS:
            raise ColumnError(
                f"column {column} has {deepest} levels in a batch of {rows} ticks: so deep a book goes into a "
                f"batch of at most {MAX_CELLS // MAX_LEVELS} ticks"
            )


def encode_batch(batch_id: int, decided: Decisions, epoch: int, version: str, held_ns: int) -> bytes:
    """A StreamReply with one decision batch, whose reasons are those that occur in it; `held_ns`: how long it took."""
    counts = np.bincount(decided.reason, minlength=1)
    codes = np.nonzero(counts[1:])[0] + 1
    number = np.zeros(len(counts), np.int64)
    number[codes] = np.arange(1, len(codes) + 1)
    names = [decided.reasons[code] for code in codes.tolist()]
    columns = decision_parts(replace(decided, reason=number[decided.reason]))
    return _frame(batch_id, names, columns, epoch, version, held_ns)


def encode_rows(
    batch_id: int, decided: list[Decision], names: Sequence[str], epoch: int, version: str, held_ns: int
) -> bytes:
    """The same of rows, whose reasons are codes of `names`."""
    codes = list(dict.fromkeys(d.reason for d in decided if d.reason))
    numbers = {code: number for number, code in enumerate(codes, 1)} | {APPROVED: 0}
    columns = [rowwire.encode_decisions([d._replace(reason=numbers[d.reason]) for d in decided])]
    return _frame(batch_id, [names[code] for code in codes], columns, epoch, version, held_ns)


def _frame(batch_id: int, names: list[str], columns: list[bytes], epoch: int, version: str, held_ns: int) -> bytes:
    head = hub_pb2.DecisionBatch(batch_id=batch_id, epoch=epoch, config_version=version, reasons=names, held_ns=held_ns)
    return submessage(NAMES_BATCH, head.SerializeToString(), *nested(DECISIONS, columns))


def leg(venues: list[str], number: int) -> str:
    """A leg's venue by name; empty where there is no opportunity."""
    return "" if number == NO_VENUE else venues[number]
