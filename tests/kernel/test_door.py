"""The token in front of HTTP, over a real socket: the statuses that callers get, and what is written down."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest_asyncio
from aiohttp import web

from arbhub.security.audit import Audit
from arbhub.security.bearer import Bearer
from arbhub.security.door import TokenDoor

TOKEN = "an-http-token-for-tests-0123456789"  # noqa: S105  # of this test


class Port:
    """An HTTP server behind a door, and the trail of its refusals."""

    def __init__(self, trail: Path) -> None:
        self.audit = Audit(trail)
        self.door, self.trail, self.url = TokenDoor(Bearer(TOKEN, lambda: 0.0), self.audit), trail, ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """200 to who is let in."""
        refusal = self.door.refusal(request.remote or "", request.headers.get("Authorization"))
        return web.Response(status=refusal or 200)

    async def status(self, **headers: str) -> int:
        """Of one request."""
        async with aiohttp.ClientSession() as session, session.get(self.url, headers=headers) as answer:
            return answer.status

    async def written(self) -> list[str]:
        """Who was refused."""
        await self.door.rest()
        return [orjson.loads(line)["who"] for line in self.trail.read_bytes().splitlines()]


@pytest_asyncio.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    """On loopback."""
    made = Port(tmp_path / "audit.jsonl")
    runner = web.ServerRunner(web.Server(made.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()
    made.audit.close()


async def test_who_has_the_token_is_let_in(port: Port) -> None:
    """200, and nothing is written down as refused."""
    assert await port.status(Authorization=f"Bearer {TOKEN}") == 200
    assert await port.written() == []


async def test_who_has_not_is_told_to_bring_it_or_to_wait(port: Port) -> None:
    """401 and a line for each attempt within the rate; 429 and no line beyond it, also with the token."""
    at_once = Bearer.PEER[0]
    statuses = [await port.status() for _ in range(at_once + 3)]
    assert statuses == [401] * at_once + [429] * 3
    assert await port.status(Authorization=f"Bearer {TOKEN}") == 429
    assert await port.written() == ["from 127.0.0.1"] * at_once
    assert TOKEN not in port.trail.read_text()
