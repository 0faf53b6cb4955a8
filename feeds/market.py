"""The one normal form: what every source of market data turns its data into, and where it hands it.

Pure. A `BookUpdate` is always a full picture of one venue's top levels of one instrument, so losing one
update never corrupts the next; an update with an empty side says that the venue is silent or broken.
"""

from dataclasses import dataclass
from typing import Protocol

from arbhub.reference import ReferenceData

Level = tuple[float, float]
"""(price in quote currency, size in base currency)"""


@dataclass(frozen=True, slots=True)
class BookUpdate:
    """The book of one instrument on one venue, best level first; replaces the one before it.

    `ts_ns` is when we received it (wall clock, one for all feeds of a machine), `ts_event_ns` the venue's own
    time.
    """

    ts_ns: int
    venue: str
    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts_event_ns: int | None = None

    @property
    def silent(self) -> bool:
        """Whether this says that the venue has no book to trade on."""
        return not (self.bids and self.asks)


class Sink(Protocol):
    """Takes what a source produces. Neither method may block: sources call them from the event loop."""

    def reference(self, data: ReferenceData) -> None:
        """Take reference data in; always called with an instrument before its first update."""

    def publish(self, update: BookUpdate) -> None:
        """Take one update in."""
