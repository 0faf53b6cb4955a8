"""The one normal form: what every source of market data turns its data into, and where it hands it.

Pure. A `BookUpdate` is always a full picture of one venue's top levels of one instrument, so losing one
update never corrupts the next; an update with an empty side says that the venue is silent or broken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from arbhub.columns import Side, Ticks
from arbhub.reference import ReferenceData, Universe

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


def ticks_of(updates: Sequence[BookUpdate], universe: Universe) -> Ticks:
    """Updates as ticks, with the universe's ids; it has to know their names."""
    return Ticks(
        np.array([u.ts_ns for u in updates], np.int64),
        np.array([universe.symbol_ids[u.symbol] for u in updates], np.int64),
        np.array([universe.venue_ids[u.venue] for u in updates], np.int64),
        Side.from_levels([u.bids for u in updates]),
        Side.from_levels([u.asks for u in updates]),
        np.array([u.ts_event_ns or 0 for u in updates], np.int64),
    )


class Sink(Protocol):
    """Takes what a source produces. Neither method may block: sources call them from the event loop."""

    def reference(self, data: ReferenceData) -> None:
        """Take reference data in; always called with an instrument before its first update."""

    def publish(self, update: BookUpdate) -> None:
        """Take one update in."""
