"""An operator's word on reference data, over the admin port: kept in a real Redis, and followed from there."""

from pathlib import Path
from typing import Any

from admin_probes import REFUSED, UNUSABLE, AdministeredHub, administered, refused
from hub_probes import cheap, dear
from redis_server import RedisServer, redis_server

from arbhub.v1 import admin_pb2


async def stated(hub: AdministeredHub, **words: Any) -> None:
    """Say it."""
    await hub.stub.StateReference(admin_pb2.StateReferenceRequest(**words))


def followed(hub: AdministeredHub, redis: RedisServer) -> None:
    """Have it follow a Redis."""
    hub.content["redis"] = {"url": redis.url}


async def test_a_venue_is_closed_and_opened(tmp_path: Path) -> None:
    """What is traded meanwhile is rejected; the word is in Redis, where other hubs find it."""
    async with redis_server(tmp_path) as redis:
        hub = AdministeredHub(tmp_path)
        followed(hub, redis)
        async with hub.serve(up=False):
            await stated(hub, venue="A", state="halted")
            assert await redis.do("GET", "arbhub:venue:A") == b'{"venue":"A","state":"halted"}'
            await stated(hub, venue="A", symbol="BTC/USD", figures={"taker_bps": 7.5})
            assert b"7.5" in await redis.do("GET", "arbhub:correction:A:BTC/USD")
            await stated(hub, venue="A", symbol="BTC/USD")
            assert b"7.5" not in await redis.do("GET", "arbhub:correction:A:BTC/USD")
            for words in (
                {"venue": "A"},
                {"venue": "A", "state": "open", "symbol": "BTC/USD"},
                {"venue": "A", "state": "open", "figures": {"taker_bps": 1.0}},
                {"venue": "A", "symbol": "BTC/USD", "figures": {"taker": 1.0}},
                {"venue": "A", "symbol": "BTC", "figures": {"taker_bps": 1.0}},
                {"venue": "", "state": "open"},
            ):
                await refused(stated(hub, **words), UNUSABLE)
            await redis.kill()
            assert "Redis did not take it" in await refused(stated(hub, venue="A", state="open"))


async def test_without_a_redis_there_is_nowhere_to_keep_it(tmp_path: Path) -> None:
    """Which is said, and nothing has changed."""
    async with administered(tmp_path) as hub:
        assert "redis.url is not set" in await refused(stated(hub, venue="A", state="halted"), REFUSED)
        await hub.client.ask(cheap(), dear())
        await hub.until(lambda s: s.approved == 1, "the approval")
