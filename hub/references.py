"""What the hub knows of the market, who said it, and the same as bytes, encoded once for all who are told.

The configuration's word on a listing stands whatever a feed says. Of two feeds the later statement counts; that
they contradict each other is said in the log.
"""

from collections.abc import Hashable

import structlog

from arbhub.control import BadReferenceError, encode_reference
from arbhub.reference import Listing, ReferenceData, Universe

MAX_BOOKS = 1 << 20  # instruments times venues: every one of them takes memory in the tables
MAX_VENUES = 1 << 10

log = structlog.get_logger()


class References:
    """The universe. `source` is whoever states data; `left` says that it is gone and can contradict nobody."""

    def __init__(self, configured: ReferenceData | None = None) -> None:
        self.universe = Universe()
        self.universe.merge(configured or ReferenceData())
        self._fixed_listings, self._fixed_schedules = set(self.universe.listings), set(self.universe.schedules)
        self._stated_by: dict[tuple[str, str], Hashable] = {}
        self._sources: set[Hashable] = set()
        self._encoded: bytes | None = None

    def merge(self, data: ReferenceData, source: Hashable) -> bool:
        """Take data in; whether anything changed. BadReferenceError, and no change, where it is too much."""
        data = ReferenceData(
            data.venues,
            data.symbols,
            tuple(m for m in data.listings if (m.venue, m.symbol) not in self._fixed_listings),
            tuple(m for m in data.schedules if m.venue not in self._fixed_schedules),
        )
        self._sources.add(source)
        self._bound(data)
        self._compare(data, source)
        if not self._is_news(data):
            return False
        self.universe.merge(data)
        self.changed()
        return True

    def left(self, source: Hashable) -> None:
        """A source is gone; what it said stands."""
        self._sources.discard(source)

    def changed(self) -> None:
        """Say that the universe was written to directly."""
        self._encoded = None

    def encoded(self) -> bytes:
        """All of it as ReferenceData."""
        if self._encoded is None:
            self._encoded = encode_reference(self.universe).SerializeToString()
        return self._encoded

    def _is_news(self, data: ReferenceData) -> bool:
        u = self.universe
        return not (
            u.venue_ids.keys() >= set(data.venues)
            and u.symbol_ids.keys() >= set(data.symbols)
            and all(u.listings.get((m.venue, m.symbol)) == m for m in data.listings)
            and all(u.schedules.get(m.venue) == m for m in data.schedules)
        )

    def _bound(self, data: ReferenceData) -> None:
        venues = len(self.universe.venue_ids.keys() | set(data.venues))
        symbols = len(self.universe.symbol_ids.keys() | set(data.symbols))
        if venues > MAX_VENUES or venues * symbols > MAX_BOOKS:
            raise BadReferenceError(
                f"reference data: {venues} venues and {symbols} symbols are more than this hub takes: "
                f"{MAX_VENUES} venues, {MAX_BOOKS} books"
            )

    def _compare(self, data: ReferenceData, source: Hashable) -> None:
        """Log contradictions; a feed may always correct itself, and whoever is gone."""
        against: list[tuple[Listing, Listing]] = []
        for listing in data.listings:
            pair = listing.venue, listing.symbol
            known, by = self.universe.listings.get(pair), self._stated_by.get(pair)
            if known is not None and known != listing and by != source and by in self._sources:
                against.append((known, listing))
            self._stated_by[pair] = source
        if against:
            was, now = against[0]
            log.warning("two feeds contradict each other", listings=len(against), was=repr(was), now=repr(now))
