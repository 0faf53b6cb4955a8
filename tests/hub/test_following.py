"""The hub's follower of a registry, against registries and a first level that do what real ones seldom do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

import structlog
from hub_probes import Noticing, within

from arbhub.catalogue import Catalogue, Correction, RegistryDownError
from arbhub.reference import ReferenceData, Universe, VenueState
from hub.reference_store import Following, ReferenceStore

CATALOGUE = Catalogue("test:")


class KeepingFirstLevel(Noticing):
    """Keeps what it is told; fails to take the first `failures`."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.universe, self.failures = Universe(), failures

    def merge(self, data: ReferenceData, source: str, corrections: Iterable[Correction]) -> None:
        self.changed()
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("an engine tripped over it")
        self.universe.merge(data)


class QuietFollowing:
    """Nothing ever changes."""

    async def news(self) -> list[bytes] | None:
        await asyncio.Event().wait()
        return []


class KeepingRegistry:
    """Two venue states; the first `cuts` readings end between them."""

    place, catalogue = "nowhere", CATALOGUE

    def __init__(self, cuts: int = 0) -> None:
        self.cuts, self.closed = cuts, False
        self.held = dict(CATALOGUE.entry(VenueState(venue, "halted")) for venue in "AB")

    async def keys(self) -> list[bytes]:
        return sorted(self.held)

    async def entries(self, keys: Sequence[bytes]) -> AsyncIterator[dict[bytes, bytes]]:
        yield {keys[0]: self.held[keys[0]]}
        if self.cuts:
            self.cuts -= 1
            raise RegistryDownError("nowhere: cut")
        yield {key: self.held[key] for key in keys[1:]}

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator[Following]:
        yield QuietFollowing()

    async def close(self) -> None:
        self.closed = True


class EndlessRegistry(KeepingRegistry):
    """Its keys never come to an end."""

    async def keys(self) -> list[bytes]:
        await asyncio.Event().wait()
        return []


@contextlib.asynccontextmanager
async def followed(registry: KeepingRegistry, first: KeepingFirstLevel) -> AsyncIterator[ReferenceStore]:
    """A store that follows."""
    store = ReferenceStore(registry, first)
    task = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert registry.closed


async def test_the_first_load_is_not_waited_for_without_end() -> None:
    """However long it takes to read all of it: the hub starts, and the store is not up."""
    async with followed(EndlessRegistry(), KeepingFirstLevel()) as store:
        await within(store.first_load(), "the end of waiting")
        assert not store.up


async def test_what_was_read_before_a_cut_counts() -> None:
    """What came is merged, and what did not comes when everything is read again."""
    first = KeepingFirstLevel()
    async with followed(KeepingRegistry(cuts=1), first) as store:
        await within(store.first_load(), "the first try")
        assert (list(first.universe.venue_states), store.up, store.outages) == (["A"], False, 1)
        await first.until(lambda: len(first.universe.venue_states) == 2, "the rest")


async def test_a_failure_of_ours_is_an_outage_and_no_end() -> None:
    """The log has the whole of it; the store tries again, as it would after any other."""
    first = KeepingFirstLevel(failures=1)
    with structlog.testing.capture_logs() as logs:
        async with followed(KeepingRegistry(), first) as store:
            await within(store.first_load(), "the first try")
            assert (store.up, store.outages) == (False, 1)
            await first.until(lambda: len(first.universe.venue_states) == 2, "another try")
    assert "reference data could not be followed" in {entry["event"] for entry in logs}
