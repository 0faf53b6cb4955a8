"""What a feed writes into the second level, with a real redis-server that is there, late, emptied, or stands still."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import structlog
from feed_probes import SteppedSandbox, feed_settings, serving
from redis_server import RedisServer, redis_server

from arbhub.reference import FeeSchedule, FeeTier, Listing, ReferenceData
from arbhub.registry import Following, Registry
from arbhub.settings.redis import RedisSettings
from arbhub.settings.sandbox import SandboxSettings
from arbhub.settings.schema import Settings
from feeds.registrar import Registrar
from feeds.server import run

PATIENCE_S = 20.0
LISTING = Listing("A", "BTC/USD", tick_size=0.1, lot_size=0.01, taker_bps=7.5)
SCHEDULE = FeeSchedule("A", (FeeTier(0.0, 1.0, 2.0),))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A redis-server of this test."""
    async with redis_server(tmp_path) as started:
        yield started


@contextlib.asynccontextmanager
async def registering(server: RedisServer, check_s: float = 5.0) -> AsyncIterator[tuple[Registrar, Registry]]:
    """A registrar that writes, and a registry to look at what it wrote."""
    looking, writing = (Registry(RedisSettings(url=server.url)) for _ in range(2))
    registrar = Registrar(writing, check_s)
    task = asyncio.create_task(registrar.run())
    try:
        yield registrar, looking
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await looking.close()


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110  # what Redis holds is known by asking only
            await asyncio.sleep(0.01)


async def facts_in(registry: Registry) -> list[object]:
    """Everything in it."""
    keys = await registry.keys()
    return [registry.catalogue.fact(*entry) async for some in registry.entries(keys) for entry in some.items()]


async def test_listings_and_fees_are_written_and_told(server: RedisServer) -> None:
    """In one go, once: what is stated again as it was is no news."""
    async with registering(server) as (registrar, registry), registry.followed() as following:
        data = ReferenceData(("A",), ("BTC/USD", "ETH/USD"), (LISTING,), (SCHEDULE,))
        registrar.reference(data)
        assert await told(following) == [b"arbhub:listing:A:BTC/USD", b"arbhub:schedule:A"]
        assert await facts_in(registry) == [LISTING, SCHEDULE]
        registrar.reference(data)
        registrar.reference(ReferenceData(listings=(Listing("A", "BTC/USD", active=False),)))
        assert await told(following) == [b"arbhub:listing:A:BTC/USD"]
        assert await facts_in(registry) == [Listing("A", "BTC/USD", active=False), SCHEDULE]


async def told(following: Following) -> list[bytes] | None:
    """The next keys that are named."""
    async with asyncio.timeout(PATIENCE_S):
        while (keys := await following.news()) == []:
            pass
    return keys


async def test_what_could_not_be_written_waits(server: RedisServer) -> None:
    """The newest of each entry, until there is a Redis; the outage is counted once."""
    await server.kill()
    async with registering(server) as (registrar, registry):
        registrar.reference(ReferenceData(listings=(Listing("A", "BTC/USD"),)))

        async def down() -> bool:
            return not registrar.up

        await until(down)
        registrar.reference(ReferenceData(listings=(LISTING,)))
        await server.start()

        async def written() -> bool:
            return await facts_in(registry) == [LISTING]

        await until(written)
        assert registrar.outages == 1


async def test_a_redis_that_comes_back_empty_is_filled_again(server: RedisServer) -> None:
    """Nothing has to be stated again for it."""
    async with registering(server, check_s=0.05) as (registrar, registry):
        registrar.reference(ReferenceData(listings=(LISTING,), schedules=(SCHEDULE,)))

        async def written() -> bool:
            return await facts_in(registry) == [LISTING, SCHEDULE]

        await until(written)
        await server.do("FLUSHALL")
        await until(written)
        assert await server.do("DEL", "arbhub:schedule:A") == 1
        await until(written)


async def test_what_cannot_be_written_is_said_and_the_rest_is(server: RedisServer) -> None:
    """A figure that is none is named in the log."""
    with structlog.testing.capture_logs() as logs:
        async with registering(server) as (registrar, registry):
            bad = Listing("B", "BTC/USD", lot_size=float("nan"))
            registrar.reference(ReferenceData(listings=(bad, LISTING)))

            async def written() -> bool:
                return await facts_in(registry) == [LISTING]

            await until(written)
    assert [entry["entry"].partition(": ")[0] for entry in logs] == ["arbhub:listing:B:BTC/USD"]


@contextlib.asynccontextmanager
async def feeding(settings: Settings) -> AsyncIterator[None]:
    """The feed as a service."""
    shutdown = asyncio.Event()
    task = asyncio.create_task(run(settings, shutdown))
    try:
        yield
        assert not task.done(), "the feed ended by itself"
    finally:
        shutdown.set()
        await asyncio.wait_for(task, PATIENCE_S)


async def test_the_feed_writes_its_market_load(server: RedisServer) -> None:
    """What the venues of the sandbox state through ccxt is in Redis as it goes to the hub."""
    sandbox = SteppedSandbox(SandboxSettings(venues=("EX1", "EX2")))
    async with serving(sandbox) as port:
        feed = feed_settings(port, ("EX1", "EX2"), listen="127.0.0.1:0")
        made = Settings.model_validate({"hub": {"listen": "127.0.0.1:1"}})
        registry = Registry(RedisSettings(url=server.url))
        async with feeding(made.model_copy(update={"feed": feed, "redis": RedisSettings(url=server.url)})):

            async def written() -> bool:
                return len(await facts_in(registry)) == 4

            await until(written)
        listings = [fact for fact in await facts_in(registry) if isinstance(fact, Listing)]
        await registry.close()
    assert {(listing.venue, listing.symbol) for listing in listings} == {
        (venue, symbol) for venue in ("EX1", "EX2") for symbol in ("BTC/USDT", "ETH/USDT")
    }
    assert all(listing.tick_size > 0 and listing.lot_size > 0 and listing.active for listing in listings)


async def test_a_replay_writes_nothing(server: RedisServer, tmp_path: Path) -> None:
    """A recording knows names only: its listings without figures are not to stand for a market load."""
    capture = tmp_path / "one.jsonl"
    capture.write_text('{"ts_ns": 1, "venue": "A", "symbol": "BTC/USD", "bids": [[99, 1]], "asks": [[100, 1]]}\n')
    given = {"source": "replay", "captures": [capture], "listen": "127.0.0.1:0"}
    content = {"feed": given, "hub": {"listen": "127.0.0.1:1"}, "redis": {"url": server.url}}
    with structlog.testing.capture_logs() as logs:
        async with feeding(Settings.model_validate(content)):

            async def played() -> bool:
                return any(entry["event"] == "captures played" for entry in logs)

            await until(played)
    assert await server.do("DBSIZE") == 0
