"""Writes what the feed states of markets into the second level, in the background; a tick never waits for it.

What could not be written waits, the newest of each entry, and is written when the registry is there again. Now and
then the registry is asked whether all of it is still there: one that came back empty gets everything anew.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

import structlog

from arbhub.catalogue import BadEntryError, Catalogue
from arbhub.outages import through_outages
from arbhub.reference import FeeSchedule, Listing, ReferenceData
from arbhub.settings.redis import RedisSettings

CHECK_S = 5.0
AT_ONCE = 64  # entries, before ticks may pass

log = structlog.get_logger()


class Registry(Protocol):
    """Where entries go; whatever fails raises RegistryDownError, in bounded time."""

    place: str
    catalogue: Catalogue

    async def state(self, entries: Mapping[bytes, bytes]) -> None:
        """Write them and tell who follows."""

    async def missing(self, keys: Sequence[bytes]) -> bool:
        """Whether one of them is not there."""

    async def close(self) -> None:
        """Give up the connections."""


class Registrar:
    """`up` says whether the registry took what it was last given, `outages` how often it ceased to."""

    def __init__(self, registry: Registry, check_s: float = CHECK_S) -> None:
        self._registry, self._check_s = registry, check_s
        self.up, self.outages = True, 0
        self._stated: list[Listing | FeeSchedule] = []
        self._written: dict[bytes, bytes] = {}
        self._waiting: dict[bytes, bytes] = {}
        self._news = asyncio.Event()

    def reference(self, data: ReferenceData) -> None:
        """Have listings and fee schedules written; what is written already is not written again."""
        self._stated += [*data.listings, *data.schedules]
        self._news.set()

    async def run(self) -> None:
        """Write until cancelled, through all outages."""
        try:
            await through_outages(self._write, self._lost, "reference data could not be written")
        finally:
            await self._registry.close()

    async def _write(self) -> None:
        """Write what waits; where nothing does, until something comes, look after what was written now and then."""
        if not (self._waiting or self._stated):
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._check_s)
        await self._encode()
        if await self._registry.missing(list(self._written)):
            self._waiting = self._written | self._waiting
        writing = dict(self._waiting)
        await self._registry.state(writing)
        self._written |= writing
        self._waiting = {key: value for key, value in self._waiting.items() if writing.get(key) != value}
        if not self.up:
            log.info("the second level is written again", place=self._registry.place, entries=len(writing))
        self.up = True

    async def _encode(self) -> None:
        """Make entries of what was stated, a few at a time, so that ticks pass between."""
        while self._stated:
            some, self._stated = self._stated[:AT_ONCE], self._stated[AT_ONCE:]
            for fact in some:
                try:
                    key, value = self._registry.catalogue.entry(fact)
                except BadEntryError as error:
                    log.warning("not written to the second level", entry=str(error))
                    continue
                if self._waiting.get(key, self._written.get(key)) != value:
                    self._waiting[key] = value
            await asyncio.sleep(0)

    def _lost(self, why: str) -> None:
        if self.up:
            self.outages += 1
            log.warning("reference data wait to be written", entries=len(self._waiting), reason=why)
        self.up = False


@contextlib.asynccontextmanager
async def registered(settings: RedisSettings) -> AsyncIterator[Callable[[ReferenceData], None]]:
    """Whom to tell reference data, which are written for as long as the block runs; nobody, without a url."""
    if not settings.url:
        yield lambda _: None
        return
    from arbhub.registry import Registry  # redis is for those who have one

    registrar = Registrar(Registry(settings))
    writing = asyncio.create_task(registrar.run())
    try:
        yield registrar.reference
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
