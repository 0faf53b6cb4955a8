"""Publishes book updates to the hub over one windowed stream; a Sink like any other.

While the window is closed updates collect, newer ones superseding older when the queue is full. Whenever the
stream is opened anew the hub is first told all reference data and then given every book in full, so a restarted
hub has the whole market at once.
"""

from collections.abc import Callable, Iterable

import structlog
from google.protobuf.message import DecodeError

from arbhub.columns import Ticks
from arbhub.control import encode_reference
from arbhub.link import Link, LinkOptions
from arbhub.queueing import Chunk, Shed, keys
from arbhub.reference import ReferenceData, Universe
from arbhub.v1 import hub_pb2
from arbhub.wire import batch_frame, encode_ticks, submessage
from feeds.market import BookUpdate, ticks_of
from feeds.tracing import TickTraces

METHOD = "/arbhub.v1.Hub/Stream"
BATCH = hub_pb2.StreamRequest.BATCH_FIELD_NUMBER
TICKS = hub_pb2.TickBatch.TICKS_FIELD_NUMBER

log = structlog.get_logger()


class Publisher:
    """The hub as a feed sees it. `shed` counts the ticks that newer ones made room for; `noted` is told reference data
    too.
    """

    def __init__(
        self,
        address: str,
        max_feed_delay_ms: float,
        options: LinkOptions,
        noted: Callable[[ReferenceData], None] = lambda _: None,
    ) -> None:
        self.shed, self._noted = 0, noted
        self.traces: TickTraces | None = None
        self.universe = Universe()
        self._books: dict[tuple[str, str], BookUpdate] = {}
        self._max_delay_ns = max_feed_delay_ms * 1e6
        self.link: Link[Ticks] = Link("hub", address, METHOD, self, options)

    def reference(self, data: ReferenceData) -> None:
        """State reference data, now and at each connection."""
        self.universe.merge(data)
        self._state_reference()
        self._noted(data)

    def publish(self, update: BookUpdate) -> None:
        """Send a book; one whose venue is too far behind its own clock goes out empty."""
        if update.ts_event_ns is not None and update.ts_ns - update.ts_event_ns > self._max_delay_ns:
            update = BookUpdate(update.ts_ns, update.venue, update.symbol, (), (), update.ts_event_ns)
        if update.venue not in self.universe.venue_ids or update.symbol not in self.universe.symbol_ids:
            self.universe.merge(ReferenceData(venues=(update.venue,), symbols=(update.symbol,)))
            self._state_reference()
        self._books[update.venue, update.symbol] = update
        self._offer(update)

    def _state_reference(self) -> None:
        if self.link.open:
            self.link.control(self._reference())

    def _reference(self) -> bytes:
        return hub_pb2.StreamRequest(reference=encode_reference(self.universe)).SerializeToString()

    def _offer(self, update: BookUpdate) -> None:
        tick = ticks_of([update], self.universe)
        for gone in self.link.offer(tick, keys(tick.instrument, tick.venue)) or ():
            self.shed += len(gone.rows)

    # What the link asks of its peer object.

    def greeting(self) -> Iterable[bytes]:
        """Reference data; the hub answers with its names."""
        yield self._reference()

    def encode(self, batch_id: int, chunks: list[Chunk[Ticks]]) -> bytes:
        """The chunks' ticks as one batch."""
        ticks = b"".join(encode_ticks(c.payload if c.rows is None else c.payload.take(c.rows)) for c in chunks)
        return batch_frame(BATCH, batch_id, submessage(TICKS, ticks))

    def wanted(self, _: Ticks) -> bool:
        """Every tick is to be decided."""
        return True

    def received(self, message: bytes) -> None:
        """Names or decisions; whatever is neither ends the stream."""
        reply = hub_pb2.StreamReply.FromString(message)
        kind = reply.WhichOneof("frame")
        if kind == "batch":
            flight = self.link.answered(reply.batch.batch_id)
            if self.traces is not None and flight is not None:
                self.traces.decided(reply.batch, flight)
        elif kind != "names":
            raise DecodeError("a hub's frame is neither names nor decisions")
        elif not self.link.up:
            self.link.ready()
            for update in list(self._books.values()):
                self._offer(update)

    def down(self, lost: list[Shed[Ticks]]) -> None:
        """Lost ticks are not sent again: full books follow at the next connection."""
        self.shed += sum(len(gone.rows) for gone in lost)
