"""The hub with its second level of reference data: a real redis-server that is there, goes, stands still, comes back.

The market of these tests has names only, so that whatever is approved was approved by what Redis knew of fees.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hub_probes import SYMBOL, FeedClient, ScriptedExecutor, cheap, client_of, dear, hub_of, settings, status_of, within
from redis_server import RedisServer, redis_server

from arbhub.catalogue import Catalogue, Correction, Fact
from arbhub.processes import free_ports
from arbhub.reference import Listing, ReferenceData, Universe, VenueState
from arbhub.registry import Registry
from arbhub.settings.redis import RedisSettings
from arbhub.settings.schema import Settings
from arbhub.v1 import hub_pb2

APPROVED = ""
CATALOGUE = Catalogue(RedisSettings().key_prefix)
LISTINGS = [Listing(venue, SYMBOL, taker_bps=1.0) for venue in "AB"]


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A redis-server with nothing in it."""
    async with redis_server(tmp_path) as started:
        yield started


@pytest.fixture
async def registry(redis: RedisServer) -> AsyncIterator[Registry]:
    """A writer of it."""
    made = Registry(RedisSettings(url=redis.url))
    yield made
    await made.close()


async def state(registry: Registry, *facts: Fact) -> None:
    """Write facts and tell who follows."""
    await registry.state(dict(registry.catalogue.entry(fact) for fact in facts))


def names() -> Universe:
    """Two venues and an instrument, of which nothing is known."""
    universe = Universe()
    universe.merge(ReferenceData(("A", "B"), (SYMBOL,)))
    return universe


def with_redis(url: str, executor: str, **hub: Any) -> Settings:
    """A hub's settings."""
    return settings(executor, **hub).model_copy(update={"redis": RedisSettings(url=url)})


@contextlib.asynccontextmanager
async def deciding(url: str) -> AsyncIterator[tuple[FeedClient, str]]:
    """A client of a hub with this Redis and an executor, and the hub's address."""
    async with ScriptedExecutor().served() as executor, hub_of(with_redis(url, executor)) as at:
        await status_of(at, lambda s: s.executor_up, "the executor")
        async with client_of(at, names()) as client:
            yield client, at


async def store_of(at: str, up: bool) -> hub_pb2.ReferenceStoreStatus:
    """What the hub says of its store, once that is up or down."""
    status = await status_of(at, lambda s: s.reference_store.up == up, f"the store being {'up' if up else 'down'}")
    return status.reference_store


async def test_what_is_there_is_known_from_the_start(redis: RedisServer, registry: Registry) -> None:
    """A hub that no feed has told anything decides by what an earlier feed had written."""
    await state(registry, *LISTINGS)
    async with deciding(redis.url) as (client, at):
        assert await client.ask(cheap(), dear()) == ["NO_COUNTERPART", APPROVED]
        store = await store_of(at, True)
        assert (store.entries, store.refused, store.outages) == (2, 0, 0)
        assert store.loaded_unix_s > 0
        assert store.detail == f"reference data are followed at {redis.url}: 2 entries, 0 refused"


async def test_changes_are_pushed(redis: RedisServer, registry: Registry) -> None:
    """Listings, a venue's state, corrections: each reaches the engines without a restart or a question."""
    async with deciding(redis.url) as (client, at):
        await client.ask_until("UNKNOWN_VENUE")
        await state(registry, *LISTINGS)
        await client.ask_until(APPROVED)
        await state(registry, VenueState("B", "maintenance"))
        await client.ask_until("VENUE_NOT_OPEN")
        await state(registry, VenueState("B", "open"))
        await client.ask_until(APPROVED)
        await state(registry, Correction("A", SYMBOL, {"taker_bps": 400.0}))
        await client.ask_until("NET_EDGE_TOO_LOW")
        await state(registry, Correction("A", SYMBOL))
        await client.ask_until(APPROVED)
        assert (await store_of(at, True)).pushes == 5


async def test_an_operator_can_use_redis_cli(redis: RedisServer, registry: Registry) -> None:
    """A value and its key on the channel are all it takes."""
    await state(registry, *LISTINGS)
    async with deciding(redis.url) as (client, _):
        await redis.do("SET", "arbhub:venue:A", '{"venue": "A", "state": "halted"}')
        assert await redis.do("PUBLISH", "arbhub:changed", "arbhub:venue:A") == 1
        await client.ask_until("VENUE_NOT_OPEN")


async def test_the_last_known_values_count_while_redis_is_gone(redis: RedisServer, registry: Registry) -> None:
    """Killed, it is missed and said to be; back without its data it takes nothing back, and what is new is heard."""
    await state(registry, *LISTINGS, VenueState("C", "halted"))
    async with deciding(redis.url) as (client, at):
        await client.ask_until(APPROVED)
        await redis.kill()
        store = await store_of(at, False)
        assert (store.outages, store.entries) == (1, 3)
        assert "down since" in store.detail
        assert "the last known values count" in store.detail
        for _ in range(20):
            assert await client.ask(dear()) == [APPROVED]
        await redis.start()
        assert (await store_of(at, True)).outages == 1
        assert await client.ask(dear()) == [APPROVED]
        await state(registry, VenueState("A", "halted"))
        await client.ask_until("VENUE_NOT_OPEN")


async def test_what_changed_during_an_outage_is_caught_up_with(redis: RedisServer, registry: Registry) -> None:
    """A hub whose connection was cut subscribes anew and reads everything: a message that it missed is not missed."""
    await state(registry, *LISTINGS)
    async with deciding(redis.url) as (client, _):
        await client.ask_until(APPROVED)
        await redis.do("SET", *CATALOGUE.entry(VenueState("A", "halted")))  # of which nobody is told
        assert await client.ask(dear()) == [APPROVED]
        await redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        await client.ask_until("VENUE_NOT_OPEN")


async def test_a_redis_that_stands_still_delays_no_decision(redis: RedisServer, registry: Registry) -> None:
    """It accepts and never answers: the hub decides on, says so, and follows it again once it goes on."""
    await state(registry, *LISTINGS)
    async with deciding(redis.url) as (client, at):
        await client.ask_until(APPROVED)
        redis.halt()
        for _ in range(20):
            assert await client.ask(dear()) == [APPROVED]
        assert "the last known values count" in (await store_of(at, False)).detail
        assert await client.ask(dear()) == [APPROVED]
        redis.go_on()
        await store_of(at, True)
        await state(registry, VenueState("A", "halted"))
        await client.ask_until("VENUE_NOT_OPEN")


async def test_a_hub_starts_without_redis(redis: RedisServer, registry: Registry) -> None:
    """One that stands still is waited for and not for long; the hub serves, and knows it all once Redis goes on."""
    await state(registry, *LISTINGS)
    redis.halt()
    async with deciding(redis.url) as (client, at):
        await client.ask_until("UNKNOWN_VENUE")
        store = await store_of(at, False)
        assert (store.entries, store.loaded_unix_s) == (0, 0.0)
        assert "nothing was read from it yet" in store.detail
        redis.go_on()
        await client.ask_until(APPROVED)


async def test_a_hub_starts_where_there_is_no_redis() -> None:
    """Refused connections are an outage, counted once however often it is tried."""
    (port,) = free_ports(1)
    async with deciding(f"redis://127.0.0.1:{port}") as (client, at):
        assert await client.ask(cheap(), dear()) == ["NO_COUNTERPART", "UNKNOWN_VENUE"]
        assert (await store_of(at, False)).outages == 1


async def test_garbage_is_refused_and_the_rest_is_taken(redis: RedisServer, registry: Registry) -> None:
    """Each bad entry is named in the log once; mended, it is taken."""
    await state(registry, *LISTINGS)
    await redis.do("SET", "arbhub:venue:A", "\x00 no json")
    await redis.do("SET", "arbhub:nonsense", "1")
    await redis.do("RPUSH", "arbhub:listing:A:ETH/USD", "a list")
    with structlog.testing.capture_logs() as logs:
        async with deciding(redis.url) as (client, at):
            await client.ask_until(APPROVED)
            store = await store_of(at, True)
            assert (store.entries, store.refused) == (5, 3)
            await redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            await state(registry, VenueState("A", "halted"))
            await client.ask_until("VENUE_NOT_OPEN")
            await status_of(at, lambda s: s.reference_store.refused == 2, "the mended entry")
    refused = [entry["entry"] for entry in logs if entry["event"] == "entry refused, what was known stands"]
    assert sorted(text.partition(": ")[0] for text in refused) == [
        "arbhub:listing:A:ETH/USD",
        "arbhub:nonsense",
        "arbhub:venue:A",
    ]


async def test_more_venues_than_fit_are_refused(redis: RedisServer, registry: Registry) -> None:
    """What is too much is refused and said; what is about known venues is taken even where it comes with that."""
    await state(registry, *LISTINGS)
    with structlog.testing.capture_logs() as logs:
        async with deciding(redis.url) as (client, _):
            await client.ask_until(APPROVED)
            await redis.do(
                "MSET", *(part for n in range(2000) for part in CATALOGUE.entry(VenueState(f"V{n}", "open")))
            )
            await redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            await state(registry, VenueState("A", "halted"))
            await client.ask_until("VENUE_NOT_OPEN")
    assert "entries refused" in {entry["event"] for entry in logs}


async def test_a_feed_that_is_here_is_believed(redis: RedisServer, registry: Registry) -> None:
    """What a connected feed states of a listing stands against what another has written; an operator's does not."""
    await state(registry, *LISTINGS)
    async with deciding(redis.url) as (client, at):
        client.universe.merge(ReferenceData(listings=(Listing("A", SYMBOL, taker_bps=2.0), LISTINGS[1])))
        await client.refer()
        assert await client.ask(cheap(), dear()) == ["NO_COUNTERPART", APPROVED]
        await state(registry, Listing("A", SYMBOL, taker_bps=500.0))
        await status_of(at, lambda s: s.reference_store.pushes == 1, "the push")
        assert await client.ask(dear()) == [APPROVED]
        await state(registry, Correction("A", SYMBOL, {"taker_bps": 500.0}))
        await client.ask_until("NET_EDGE_TOO_LOW")


RUNS_WITHOUT = """
import asyncio, sys
from arbhub.settings.schema import Settings
from hub.server import run as hub
from feeds.server import run as feed
from arbhub.cli.services import in_process_engines

async def main():
    settings = Settings.model_validate({"hub": {"listen": "127.0.0.1:0"}, "feed": {"listen": "127.0.0.1:0"}})
    shutdown = asyncio.Event()
    await hub(settings, in_process_engines(settings), shutdown, lambda port: shutdown.set())

asyncio.run(main())
print("redis" in sys.modules)
"""


async def test_without_a_url_redis_is_not_even_imported() -> None:
    """A hub that served, with the feed's modules beside it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUNS_WITHOUT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await within(process.communicate(), "the end")
    assert said.decode().splitlines()[-1] == "False"


async def test_without_a_url_there_is_no_store() -> None:
    """The status says so by its absence."""
    async with hub_of(settings()) as at:
        assert not (await status_of(at, lambda s: s.engines, "the engines")).HasField("reference_store")
