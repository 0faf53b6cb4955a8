"""What the tests of the HTTP port share: a hub that serves it, a client, and those who stand behind its routes."""

import contextlib
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import aiohttp
from hub_probes import ScriptedExecutor, client_of, hub_of, settings, status_of

from arbhub.processes import free_ports
from arbhub.service import ServiceError
from hub.admin.refused import AdminRefused
from hub.http.app import Backing

JSON = {"Content-Type": "application/json"}
DEAR = {"venue": "B", "symbol": "BTC/USD", "bids": [[103.0, 5.0]], "asks": [[104.0, 5.0]], "ts_ns": 1_000_000}
DEAR_QUERY = "venue=B&symbol=BTC/USD&bid=103&bid_size=5&ask=104&ask_size=5&ts_ns=1000000"


class Answer(NamedTuple):
    """A response, with its body read: as JSON where it is that."""

    status: int
    content: Any
    headers: Mapping[str, str]


class HttpClient:
    """Asks one hub."""

    def __init__(self, session: aiohttp.ClientSession, url: str, grpc: str) -> None:
        self.url, self.grpc = url, grpc
        self._session = session

    async def ask(self, method: str, path: str, **kwargs: Any) -> Answer:
        """One request."""
        async with self._session.request(method, self.url + path, **kwargs) as response:
            is_json = "json" in response.content_type
            return Answer(response.status, await (response.json() if is_json else response.text()), response.headers)

    async def get(self, path: str, **kwargs: Any) -> Answer:
        """A GET."""
        return await self.ask("GET", path, **kwargs)

    async def post(self, path: str, content: Any, **kwargs: Any) -> Answer:
        """A POST of JSON."""
        return await self.ask("POST", path, json=content, **kwargs)


@contextlib.asynccontextmanager
async def http_hub(
    backing: Backing | None = None, executor: str = "127.0.0.1:1", **hub: Any
) -> AsyncIterator[HttpClient]:
    """A client of a hub whose HTTP port is on loopback."""
    (port,) = free_ports(1)
    made = settings(executor, http_listen=f"127.0.0.1:{port}", **hub)
    async with hub_of(made, backing) as address, aiohttp.ClientSession() as session:
        yield HttpClient(session, f"http://127.0.0.1:{port}", address)


@contextlib.asynccontextmanager
async def trading_hub(backing: Backing | None = None) -> AsyncIterator[HttpClient]:
    """The same, with an executor, and a market in which whoever buys on A can sell on B."""
    async with ScriptedExecutor().served() as executor, http_hub(backing, executor) as client:
        await status_of(client.grpc, lambda s: s.executor_up, "the executor")
        async with client_of(client.grpc) as feed:
            await feed.ask_until("")
        yield client


class RecordedTrades:
    """A ledger with as many trades as it is told, of one epoch."""

    def __init__(self, count: int) -> None:
        self._trades = [{"id": f"1-{sequence}"} for sequence in reversed(range(count))]

    def page(self, limit: int, before: tuple[int, int] | None) -> Sequence[Mapping[str, Any]]:
        older = [t for t in self._trades if before is None or int(t["id"].split("-")[1]) < before[1]]
        return older[:limit]


class LostTrades:
    """A ledger that cannot be read."""

    def page(self, limit: int, before: tuple[int, int] | None) -> Sequence[Mapping[str, Any]]:
        raise ServiceError("ledger sqlite:///nowhere.db: there is no such file")


class StuckTrades:
    """A ledger that answers when it is allowed to."""

    def __init__(self) -> None:
        self.allowed = threading.Event()

    def page(self, limit: int, before: tuple[int, int] | None) -> Sequence[Mapping[str, Any]]:
        self.allowed.wait(30)
        return []


class RecordingAdmin:
    """Does what it is asked, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, bool, str]] = []

    async def reload(self, toml: str | None, dry_run: bool, who: str) -> dict[str, Any]:
        self.asked.append((toml, dry_run, who))
        return {"version": "2-abc"}


class RefusingAdmin:
    """Does nothing of it."""

    async def reload(self, toml: str | None, dry_run: bool, who: str) -> dict[str, Any]:
        raise AdminRefused(["hub.depth: cannot change while it runs", "engine fee: no"])


class OneTokenDoor:
    """Lets in who has the token."""

    def refusal(self, peer: str, authorization: str | None) -> HTTPStatus | None:
        return None if authorization == "Bearer right" else HTTPStatus.UNAUTHORIZED
