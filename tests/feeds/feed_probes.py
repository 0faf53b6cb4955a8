"""What the tests of feeds share: a sink that remembers, and a sandbox whose books are known at every step."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from arbhub.reference import Listing, ReferenceData
from arbhub.settings.feed import FeedSettings
from arbhub.settings.sandbox import SandboxSettings
from feeds import live
from feeds.market import BookUpdate, Level
from sandbox.book import decimal
from sandbox.server import Server

DEPTH = 20
LIMIT_S = 20.0  # of patience; no test takes a fraction of it unless something is broken
Sides = tuple[tuple[Level, ...], tuple[Level, ...]]
Key = tuple[str, str]


class RememberingSink:
    """Keeps everything it is given, and wakes whoever waits for something to become true of it."""

    def __init__(self) -> None:
        self.stated: list[ReferenceData] = []
        self.updates: list[BookUpdate] = []
        self.last: dict[Key, BookUpdate] = {}
        self._changed = asyncio.Event()

    def reference(self, data: ReferenceData) -> None:
        self.stated.append(data)
        self._changed.set()

    def publish(self, update: BookUpdate) -> None:
        self.updates.append(update)
        self.last[update.venue, update.symbol] = update
        self._changed.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return as soon as the condition holds; fail if it does not within the limit."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: never came; last updates are {self.updates[-3:]}") from None

    def sides(self, key: Key) -> Sides | None:
        """The last book of a venue and symbol."""
        update = self.last.get(key)
        return (update.bids, update.asks) if update else None

    def listings(self) -> dict[Key, Listing]:
        """What was stated last of every listing."""
        return {(listing.venue, listing.symbol): listing for data in self.stated for listing in data.listings}


class SteppedSandbox:
    """A sandbox that moves only when told, and remembers every book that a client may rightly have seen."""

    def __init__(self, settings: SandboxSettings, port: int = 0) -> None:
        listen = {"listen": f"127.0.0.1:{port}"}
        self.server = Server(settings.model_copy(update=listen))
        self.interval_ns = int(settings.interval_ms * 1e6)
        self.steps = 0
        self.states: dict[Key, set[Sides]] = {key: set() for key in self.server.exchange.books}
        self._remember()

    def step(self) -> None:
        """Move all books once."""
        self.steps += 1
        self.server.step(self.steps * self.interval_ns)
        self._remember()

    async def keep_stepping(self) -> None:
        """Move the books again and again, giving others time in between."""
        while True:
            self.step()
            await asyncio.sleep(0.02)

    def book(self, key: Key) -> Sides:
        """The book now, as a feed should publish it."""
        book = self.server.exchange.books[key]
        bids, asks = (
            tuple((float(decimal(price)), float(decimal(size))) for price, size in side)
            for side in (book.best_bids(DEPTH), book.best_asks(DEPTH))
        )
        return bids, asks

    def _remember(self) -> None:
        for key, states in self.states.items():
            states.add(self.book(key))


def venue_settings(port: int, venue: str, **more: object) -> dict[str, object]:
    """Settings of a live venue in the sandbox."""
    return {
        "exchange": "binance",
        "rest_url": f"http://127.0.0.1:{port}/{venue}/api/v3",
        "ws_url": f"ws://127.0.0.1:{port}/{venue}/ws",
        "options": {"watchOrderBookLimit": 100},  # ccxt's rate limiter waits half a second for 1000
        **more,
    }


def feed_settings(port: int, names: tuple[str, ...], **more: object) -> FeedSettings:
    """Settings of a feed of sandbox venues."""
    content = {
        "symbols": ["BTC/USDT", "ETH/USDT"],
        "venues": {name: venue_settings(port, name) for name in names},
        "silent_after_ms": 60_000.0,
        "backoff": {"first_ms": 10.0, "max_ms": 100.0},
        **more,
    }
    return FeedSettings.model_validate(content)


@asynccontextmanager
async def feeding(settings: FeedSettings) -> AsyncIterator[RememberingSink]:
    """A live feed that runs within the block, and must not have ended before its end."""
    sink = RememberingSink()
    task = asyncio.create_task(live.run(settings, DEPTH, sink))
    try:
        yield sink
        assert not task.done(), "the feed ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def serving(sandbox: SteppedSandbox) -> AsyncIterator[int]:
    """The sandbox, listening within the block; its port."""
    port = await sandbox.server.start()
    try:
        yield port
    finally:
        await sandbox.server.stop()
