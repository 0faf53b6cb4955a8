"""What the hub knows of the market, who said it, and the same as bytes, encoded once for all who are told.

Who is believed, first to last:

1. the configuration, on its listings and fee schedules;
2. an operator, through the second level: corrections of single figures, and whether a venue may be traded on;
3. feeds on their streams, the later statement; that two contradict each other is said in the log;
4. what the second level remembers of feeds, on whatever no feed that is here has stated: it may be older than
   what they said since.
"""

from collections.abc import Hashable, Iterable
from dataclasses import replace

import structlog

from arbhub.catalogue import Correction
from arbhub.control import BadReferenceError, encode_reference
from arbhub.reference import Listing, ReferenceData, Universe

MAX_BOOKS = 1 << 20  # instruments times venues: every one of them takes memory in the tables
MAX_VENUES = 1 << 10

SECOND_LEVEL = "the second level"
"""The source of what a store remembers: of feeds, and of operators."""

log = structlog.get_logger()


class References:
    """The universe. `source` is whoever states data; `left` says that it is gone and can contradict nobody."""

    def __init__(self, configured: ReferenceData | None = None) -> None:
        self.universe = Universe()
        self.universe.merge(configured or ReferenceData())
        self._fixed_listings, self._fixed_schedules = set(self.universe.listings), set(self.universe.schedules)
        self._stated_by: dict[Hashable, Hashable] = {}
        self._stated: dict[tuple[str, str], Listing] = {}  # as stated, before corrections
        self._corrections: dict[tuple[str, str], Correction] = {}
        self._operators: set[str] = set()  # the venues on whose state an operator has the say
        self._sources: set[Hashable] = set()
        self._encoded: bytes | None = None

    def merge(self, data: ReferenceData, source: Hashable, corrections: Iterable[Correction] = ()) -> bool:
        """Take data in; whether anything changed. BadReferenceError, and no change, where it is too much."""
        data = self._believed(data, source)
        if source != SECOND_LEVEL:
            self._sources.add(source)
        self._bound(data)
        self._compare(data, source)
        data = self._corrected(data, corrections)
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
            and all(u.venue_states.get(m.venue) == m for m in data.venue_states)
        )

    def _believed(self, data: ReferenceData, source: Hashable) -> ReferenceData:
        """What of it nobody with more say has stated otherwise."""
        return ReferenceData(
            data.venues,
            data.symbols,
            tuple(m for m in data.listings if not self._stands((m.venue, m.symbol), source)),
            tuple(m for m in data.schedules if not self._stands(m.venue, source)),
            tuple(m for m in data.venue_states if source == SECOND_LEVEL or m.venue not in self._operators),
        )

    def _stands(self, what: Hashable, source: Hashable) -> bool:
        """Whether what is known of a listing or a schedule stands against `source`."""
        if what in self._fixed_listings or what in self._fixed_schedules:
            return True
        return source == SECOND_LEVEL and self._stated_by.get(what) in self._sources

    def _corrected(self, data: ReferenceData, corrections: Iterable[Correction]) -> ReferenceData:
        """Its listings with the figures that operators state; those that a new correction is about come too."""
        listings = {(m.venue, m.symbol): m for m in data.listings}
        self._stated.update(listings)
        for correction in corrections:
            pair = correction.venue, correction.symbol
            self._corrections[pair] = correction
            if pair in self._fixed_listings:
                log.warning("the configuration stands against a correction", venue=pair[0], symbol=pair[1])
            elif pair in self._stated:
                listings[pair] = self._stated[pair]
        known = self._corrections
        return replace(data, listings=tuple(known[p].of(m) if p in known else m for p, m in listings.items()))

    def _bound(self, data: ReferenceData) -> None:
        venues = len(self.universe.venue_ids.keys() | set(data.venues))
        symbols = len(self.universe.symbol_ids.keys() | set(data.symbols))
        if venues > MAX_VENUES or venues * symbols > MAX_BOOKS:
            raise BadReferenceError(
                f"reference data: {venues} venues and {symbols} symbols are more than this hub takes: "
                f"{MAX_VENUES} venues, {MAX_BOOKS} books"
            )

    def _compare(self, data: ReferenceData, source: Hashable) -> None:
        """Note who says what, and log contradictions; a feed may always correct itself, and whoever is gone."""
        against: list[tuple[Listing, Listing]] = []
        for listing in data.listings:
            pair = listing.venue, listing.symbol
            known, by = self._stated.get(pair), self._stated_by.get(pair)
            if known is not None and known != listing and by != source and by in self._sources:
                against.append((known, listing))
            self._stated_by[pair] = source
        self._stated_by.update({schedule.venue: source for schedule in data.schedules})
        if source == SECOND_LEVEL:
            self._operators.update(state.venue for state in data.venue_states)
        if against:
            was, now = against[0]
            log.warning("two feeds contradict each other", listings=len(against), was=repr(was), now=repr(now))
