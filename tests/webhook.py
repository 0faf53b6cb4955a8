"""A real HTTP server of a test's own that takes what Apprise posts to `json://`."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from aiohttp import web

PATIENCE_S = 45.0
TOKEN = "T0kenThatNobodyMaySee"  # noqa: S105  # of these tests


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@dataclass(frozen=True)
class Posted:
    """One message, as it came."""

    title: str
    message: str
    type: str


class Webhook:
    """Takes messages at a path that is a secret. `refusing` of them it answers with an error before it takes any."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.refusing = self.refused = 0
        self.port = 0
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """For Apprise, with the secret in it."""
        return f"json://127.0.0.1:{self.port}/hooks/{TOKEN}"

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator["Webhook"]:
        """Listen for as long as the block runs."""
        application = web.Application()
        application.router.add_post(f"/hooks/{TOKEN}", self._take)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        said = await request.json()
        if self.refused < self.refusing:
            self.refused += 1
            return web.Response(status=503)
        self.posted.append(Posted(said["title"], said["message"], said["type"]))
        self._changed.set()
        return web.Response()

    async def until(self, condition: Callable[[Posted], bool], what: str) -> Posted:
        """The first message that meets a condition; fails where none comes."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (found := [one for one in self.posted if condition(one)]):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} was never told; told was {self.posted}") from None
        return found[0]
