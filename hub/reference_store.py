"""The second level of reference data: what a registry holds, followed in the background and merged into the hub's own.

The hub judges by the map in its memory alone, so no decision ever waits for the registry. Without the registry the
last known values count; when it is there again everything is read once more, and what has changed meanwhile is
merged. An empty registry takes nothing back. What cannot be used is refused entry by entry.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol

import structlog

from arbhub.catalogue import BadEntryError, Catalogue, Correction, Fact
from arbhub.control import BadReferenceError
from arbhub.outages import through_outages
from arbhub.reference import FeeSchedule, Listing, ReferenceData, Universe, VenueState
from arbhub.settings.redis import RedisSettings
from hub.references import SECOND_LEVEL

FIRST_LOAD_S = 1.0  # how long a starting hub waits for it

log = structlog.get_logger()


class Following(Protocol):
    """A subscription to changes."""

    async def news(self) -> list[bytes] | None:
        """The keys of what has changed; None where it may be everything."""


class Registry(Protocol):
    """Where entries are; whatever fails raises RegistryDownError, in bounded time."""

    place: str
    catalogue: Catalogue

    async def keys(self) -> list[bytes]:
        """Of all entries."""

    def entries(self, keys: Sequence[bytes]) -> AsyncIterator[dict[bytes, bytes]]:
        """Those there are, a few at a time."""

    def followed(self) -> AbstractAsyncContextManager[Following]:
        """Be told of changes."""

    async def close(self) -> None:
        """Give up the connections."""


class Merger(Protocol):
    """The first level."""

    universe: Universe

    def merge(self, data: ReferenceData, source: str, corrections: Iterable[Correction]) -> None:
        """Take facts in; BadReferenceError where they are more than fit."""


class ReferenceStore:
    """What a collector of metrics reads: whether the registry is `up`, how many `outages` there were, when all of it
    was read last (`loaded_at`, Unix time, None before the first), how many `entries` are known and how many of those
    are `refused`, and how many `pushes` have come.
    """

    def __init__(self, registry: Registry, first_level: Merger) -> None:
        self._registry, self._first_level = registry, first_level
        self.up = False
        self.outages = self.pushes = 0
        self.loaded_at: float | None = None
        self._seen: dict[bytes, bytes] = {}
        self._refused: set[bytes] = set()
        self._tried = asyncio.Event()
        self._why = "not read yet"
        self._down_since = time.time()

    @property
    def entries(self) -> int:
        """How many entries have been read."""
        return len(self._seen)

    @property
    def refused(self) -> int:
        """How many of them cannot be used."""
        return len(self._refused)

    @property
    def detail(self) -> str:
        """How things are, in a sentence."""
        if self.up:
            place = self._registry.place
            return f"reference data are followed at {place}: {self.entries} entries, {self.refused} refused"
        since = datetime.fromtimestamp(self._down_since, UTC)
        known = "the last known values count" if self.loaded_at else "nothing was read from it yet"
        return f"reference data's second level is down since {since:%Y-%m-%d %H:%M:%S} UTC, {known}: {self._why}"

    async def first_load(self) -> None:
        """Wait until the registry was read or has failed once, and not for long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), FIRST_LOAD_S)

    async def run(self) -> None:
        """Follow the registry until cancelled, through all its outages."""
        try:
            await through_outages(self._follow, self._lost, "reference data could not be followed")
        finally:
            await self._registry.close()

    async def _follow(self) -> None:
        async with self._registry.followed() as following:
            await self._load()
            while True:
                keys = await following.news()
                if keys is None:
                    await self._load()
                elif keys:
                    self.pushes += 1
                    await self._read(keys)

    async def _load(self) -> None:
        """Read everything; subscribed before, so that nothing changes unseen."""
        await self._read(await self._registry.keys())
        self.up, self.loaded_at = True, time.time()
        log.info("reference data loaded", place=self._registry.place, entries=self.entries, refused=self.refused)
        self._tried.set()

    async def _read(self, keys: Sequence[bytes]) -> None:
        """Merge those that are not as they were, all at once: every merge is told to all engines."""
        news: dict[bytes, bytes] = {}
        facts: list[Fact] = []
        try:
            async for entries in self._registry.entries(keys):
                fresh = {key: value for key, value in entries.items() if self._seen.get(key) != value}
                facts += [fact for key, value in fresh.items() if (fact := self._fact(key, value)) is not None]
                news |= fresh
        finally:
            if facts:
                self._take(facts)
            self._seen |= news  # not before: what could not be merged for a fault of ours is read again

    def _fact(self, key: bytes, value: bytes) -> Fact | None:
        """What an entry says, None where it cannot be used."""
        self._refused.discard(key)
        try:
            return self._registry.catalogue.fact(key, value)
        except BadEntryError as error:
            self._refused.add(key)
            log.warning("entry refused, what was known stands", entry=str(error), place=self._registry.place)
            return None

    def _take(self, facts: Sequence[Fact]) -> None:
        """Merge facts; where they are more than fit, those about what is known already."""
        try:
            self._merge(facts)
        except BadReferenceError as error:
            known = [fact for fact in facts if self._is_known(fact)]
            new = len(facts) - len(known)
            log.warning("entries refused", entries=new, place=self._registry.place, reason=str(error))
            self._merge(known)

    def _merge(self, facts: Sequence[Fact]) -> None:
        listings = tuple(fact for fact in facts if isinstance(fact, Listing))
        data = ReferenceData(
            venues=tuple(dict.fromkeys(fact.venue for fact in facts if not isinstance(fact, Correction))),
            symbols=tuple(dict.fromkeys(listing.symbol for listing in listings)),
            listings=listings,
            schedules=tuple(fact for fact in facts if isinstance(fact, FeeSchedule)),
            venue_states=tuple(fact for fact in facts if isinstance(fact, VenueState)),
        )
        self._first_level.merge(data, SECOND_LEVEL, [fact for fact in facts if isinstance(fact, Correction)])

    def _is_known(self, fact: Fact) -> bool:
        u = self._first_level.universe
        return fact.venue in u.venue_ids and (not isinstance(fact, Listing) or fact.symbol in u.symbol_ids)

    def _lost(self, why: str) -> None:
        """Note an outage once, however often it is tried again."""
        if self.up or not self._tried.is_set():
            self.outages += 1
            self._down_since = time.time()
            log.warning("reference data are not followed: the last known values count", reason=why)
        self.up, self._why = False, why
        self._tried.set()


@contextlib.asynccontextmanager
async def second_level(settings: RedisSettings, first_level: Merger) -> AsyncIterator[ReferenceStore | None]:
    """The store, followed for as long as the block runs and read once where that is soon done; None without a url."""
    if not settings.url:
        yield None
        return
    from arbhub.registry import Registry  # redis is for those who have one

    store = ReferenceStore(Registry(settings), first_level)
    following = asyncio.create_task(store.run())
    try:
        await store.first_load()
        yield store
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
