"""The whole of arbhub with a Redis that is killed and comes back empty: decisions go on, and both ends recover."""

import asyncio
import sys
from pathlib import Path

from redis_server import redis_server
from running_arbhub import RunningArbhub

LISTINGS, ENOUGH = 6, 20


async def typed(*words: str) -> None:
    """A command that succeeds."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "arbhub", *words)
    assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_redis_may_go_and_come_back(tmp_path: Path) -> None:
    """The feed fills it and the hub reads it; gone, nothing stops; back and empty, the feed fills it again."""
    async with redis_server(tmp_path) as redis:
        arbhub = RunningArbhub(tmp_path, {"redis": {"url": redis.url}})
        try:
            await arbhub.start()
            before = await arbhub.until(
                lambda s: s.approved > 0 and s.reference_store.up and s.reference_store.entries >= LISTINGS, "approvals"
            )
            assert before.reference_store.refused == before.reference_store.outages == 0
            await redis.kill()
            down = await arbhub.until(lambda s: not s.reference_store.up, "the outage")
            await arbhub.until(lambda s: s.approved > down.approved and s.ticks > down.ticks + ENOUGH, "approvals")
            await redis.start()
            back = await arbhub.until(lambda s: s.reference_store.up, "Redis back")
            assert back.reference_store.outages == 1
            while await redis.do("DBSIZE") < LISTINGS:
                await arbhub.until(lambda s: s.ticks > back.ticks, "ticks")
            await typed("admin", "venue", "EX1", "halted", "--config", str(arbhub.config))
            await arbhub.until(lambda s: s.rejected.get("VENUE_NOT_OPEN", 0) > 0, "VENUE_NOT_OPEN")
        finally:
            await arbhub.household.end()
