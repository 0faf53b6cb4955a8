"""One client's stream: its ids translated to the hub's, its batches checked, its answers queued as they are made.

A batch that does not fit is refused whole, naming the column. Nothing here knows gRPC.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from arbhub.columns import NO_VENUE, Decisions, Ints, Ticks
from arbhub.control import decode_reference
from arbhub.v1 import hub_pb2, market_pb2
from arbhub.wire import ColumnError, decode_ticks, encode_decisions, submessage
from hub.hub import Hub

NAMES_BATCH = hub_pb2.StreamReply.BATCH_FIELD_NUMBER
REASONS = hub_pb2.DecisionBatch.REASONS_FIELD_NUMBER
DECISIONS = hub_pb2.DecisionBatch.DECISIONS_FIELD_NUMBER
MAX_UNREAD = 1024


class Session:
    """`outbox` has the frames to write; `unanswered` counts the batches whose decisions are not made yet."""

    def __init__(self, hub: Hub) -> None:
        self.outbox: deque[bytes] = deque()
        self.unanswered = 0
        self.ending = False
        self.on_answer: Callable[[], None] = lambda: None
        self._hub = hub
        self._venue: Ints = np.zeros(0, np.int64)  # the client's id -> the hub's
        self._instrument: Ints = np.zeros(0, np.int64)
        self._named = (0, 0)

    def reference(self, message: market_pb2.ReferenceData) -> None:
        """Take the client's reference data; BadReferenceError where it makes no sense."""
        data = decode_reference(message)
        self._hub.merge(data)
        u = self._hub.universe
        self._venue = np.array([u.venue_ids[name] for name in data.venues], np.int64)
        self._instrument = np.array([u.symbol_ids[name] for name in data.symbols], np.int64)
        self._name()
        self.on_answer()

    def batch(self, batch_id: int, message: market_pb2.TickColumns) -> None:
        """Submit a batch; ColumnError refuses all of it."""
        ticks = self._translated(decode_ticks(message))
        self.unanswered += 1
        self._hub.submit(ticks, lambda decided: self._answer(batch_id, decided))

    @property
    def overdue(self) -> bool:
        """Whether the client has left more answers unread than anyone may."""
        return len(self.outbox) > MAX_UNREAD

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
        return Ticks(t.ts_ns, self._instrument[t.instrument], self._venue[t.venue], t.bids, t.asks, t.ts_event_ns)

    def _answer(self, batch_id: int, decided: Decisions) -> None:
        self.unanswered -= 1
        u = self._hub.universe
        if self._named != (len(u.venues), len(u.symbols)):
            self._name()
        self.outbox.append(encode_batch(batch_id, decided, self._hub.epoch, self._hub.version))
        self.on_answer()

    def _name(self) -> None:
        u = self._hub.universe
        self._named = (len(u.venues), len(u.symbols))
        names = hub_pb2.Names(venues=u.venues, symbols=u.symbols, engines=[s.name for s in self._hub.seats])
        self.outbox.append(hub_pb2.StreamReply(names=names).SerializeToString())


def encode_batch(batch_id: int, decided: Decisions, epoch: int, version: str) -> bytes:
    """A StreamReply with one decision batch, whose reasons are those that occur in it."""
    codes, numbers = np.unique(decided.reason, return_inverse=True)
    names = [decided.reasons[code] for code in codes.tolist()]
    if names[:1] == [""]:
        names, offset = names[1:], 0
    else:
        offset = 1
    head = hub_pb2.DecisionBatch(batch_id=batch_id, epoch=epoch, config_version=version, reasons=names)
    columns = encode_decisions(replace(decided, reason=numbers + offset))
    return submessage(NAMES_BATCH, head.SerializeToString() + submessage(DECISIONS, columns))


def leg(venues: list[str], number: int) -> str:
    """A leg's venue by name; empty where there is no opportunity."""
    return "" if number == NO_VENUE else venues[number]
