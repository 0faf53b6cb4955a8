"""Live order books through ccxt.pro: one task a venue and symbol, none of which ends before the feed does.

Invariants: whatever breaks a stream (an error, a lost connection, a gap in the venue's numbers, silence, a
market that stops trading) is at once an empty book; after an error or a gap prices come again only from a
book that ccxt has built anew from a snapshot. Reference data of a listing precede its first update.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import structlog

from arbhub.reference import ReferenceData
from arbhub.settings.feed import BackoffSettings, FeedSettings
from feeds.clients import Client, make_client, on_break
from feeds.market import BookUpdate, Level, Sink
from feeds.markets import reference_data, side

CLOSE_S = 2.0
_CHECKS_PER_SILENCE = 4  # how often the watchdog looks while a stream may be silent
_log = structlog.get_logger()


async def run(settings: FeedSettings, depth: int, sink: Sink) -> None:
    """Publish the books of every venue in the settings, `depth` levels a side, until cancelled.

    ValueError says in a sentence if there is nothing to watch.
    """
    if not settings.venues:
        raise ValueError('the feed has no venues: feed.source = "ccxt" needs at least one in feed.venues')
    venues = [
        _Venue(name, settings, make_client(name, venue, settings.keep_alive_ms), depth, sink)
        for name, venue in settings.venues.items()
    ]
    symbols = dict.fromkeys(symbol for venue in venues for symbol in venue.symbols)
    sink.reference(ReferenceData(tuple(settings.venues), tuple(symbols)))
    try:
        async with asyncio.TaskGroup() as tasks:
            for venue in venues:
                tasks.create_task(venue.run())
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):  # a venue that does not say goodbye holds nobody up
                await asyncio.gather(*(venue.client.close() for venue in venues), return_exceptions=True)
    raise ValueError(f"none of the venues {', '.join(settings.venues)} lists any of {', '.join(symbols)}")


def _delays_s(backoff: BackoffSettings) -> Iterator[float]:
    """How long to wait before each next try: doubling, each shortened by up to a half at random."""
    delay_ms = backoff.first_ms
    while True:
        yield delay_ms / 1e3 * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnections, no secret
        delay_ms = min(delay_ms * 2, backoff.max_ms)


class _Venue:
    """One venue: its client, its markets and its streams."""

    def __init__(self, name: str, settings: FeedSettings, client: Client, depth: int, sink: Sink) -> None:
        self.name, self.settings, self.client, self.depth, self.sink = name, settings, client, depth, sink
        self.symbols = tuple(dict.fromkeys(settings.venues[name].symbols or settings.symbols))
        self.streams: list[_Stream] = []
        self.breaks = 0
        on_break(client, self._broken)

    def _broken(self) -> None:
        self.breaks += 1

    async def run(self) -> None:
        """Load the markets, then watch every symbol listed; returns only if none is."""
        await self._load_patiently()
        listed = [symbol for symbol in self.symbols if symbol in self.client.markets]
        for symbol in self.symbols:
            if symbol not in listed:
                _log.warning("venue does not list symbol", venue=self.name, symbol=symbol)
        if not listed:
            return
        self.streams = [_Stream(self, symbol) for symbol in listed]
        self._state_markets()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reload())
            tasks.create_task(self._watch_silence())
            for stream in self.streams:
                tasks.create_task(stream.run())

    async def _load_patiently(self) -> None:
        for delay_s in _delays_s(self.settings.backoff):
            try:
                await self.client.load_markets()
            except Exception as error:
                _log.warning("markets not loaded", venue=self.name, error=_brief(error), retry_s=round(delay_s, 3))
                await asyncio.sleep(delay_s)
            else:
                return

    def _state_markets(self) -> None:
        """Hand on what the loaded markets say, to the sink and to the streams."""
        symbols = [stream.symbol for stream in self.streams]
        client = self.client
        data = reference_data(self.name, symbols, client.markets, client.fees, client.precisionMode)
        active = {listing.symbol for listing in data.listings if listing.active}
        self.sink.reference(data)
        for stream in self.streams:
            stream.halt(stream.symbol not in active)

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(self.settings.reload_markets_s)
            try:
                await self.client.load_markets(True)
            except Exception as error:
                _log.warning("markets not reloaded", venue=self.name, error=_brief(error))
            else:
                self._state_markets()

    async def _watch_silence(self) -> None:
        silent_s = self.settings.silent_after_ms / 1e3
        while True:
            await asyncio.sleep(silent_s / _CHECKS_PER_SILENCE)
            for stream in self.streams:
                stream.check_silence(time.monotonic() - silent_s)


class _Stream:
    """The order book of one symbol on one venue."""

    def __init__(self, venue: _Venue, symbol: str) -> None:
        self.venue, self.symbol = venue, symbol
        self.halted = False
        self.empty: bool | None = None  # what was published last; None before the first
        self.seen_s = time.monotonic()

    async def run(self) -> None:
        """Publish each book as it comes; on an error an empty one, then try again. Never returns."""
        delays = _delays_s(self.venue.settings.backoff)
        while True:
            breaks = self.venue.breaks
            try:
                book = await self.venue.client.watch_order_book(self.symbol)
                if breaks == self.venue.breaks:
                    self._take(book)
                    delays = _delays_s(self.venue.settings.backoff)
                else:
                    self.silence("a connection broke")
            except (Exception, asyncio.CancelledError) as error:
                # Closing one connection, ccxt cancels what others wait for: that is not our own end.
                if isinstance(error, asyncio.CancelledError) and _cancelled():
                    raise
                self.silence(_brief(error))
                await asyncio.sleep(next(delays))

    def silence(self, why: str) -> None:
        """Publish an empty book, unless the last one was."""
        if self.empty:
            return
        _log.warning("book is empty from now", venue=self.venue.name, symbol=self.symbol, why=why)
        self._publish((), (), None)

    def check_silence(self, since_s: float) -> None:
        """Publish an empty book if the last update is from before `since_s` (monotonic clock)."""
        if self.seen_s < since_s:
            self.silence(f"no update for {self.venue.settings.silent_after_ms:g} ms")

    def halt(self, halted: bool) -> None:
        """Note whether the market has stopped trading; then it has no prices, whatever is sent."""
        self.halted = halted
        if halted:
            self.silence("the market is not active")

    def _take(self, book: Mapping[str, Any]) -> None:
        self.seen_s = time.monotonic()
        bids, asks = side(book["bids"], self.venue.depth), side(book["asks"], self.venue.depth)
        if self.halted:
            self.silence("the market is not active")
        elif bids is None or asks is None:
            self.silence("a price or size is not a number")
        else:
            self._publish(bids, asks, book.get("timestamp"))

    def _publish(self, bids: tuple[Level, ...], asks: tuple[Level, ...], timestamp_ms: int | None) -> None:
        event_ns = None if timestamp_ms is None else int(timestamp_ms) * 1_000_000
        update = BookUpdate(time.time_ns(), self.venue.name, self.symbol, bids, asks, event_ns)
        self.empty = update.silent
        self.venue.sink.publish(update)


def _cancelled() -> bool:
    """Whether someone wants this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _brief(error: BaseException) -> str:
    """The error's name and the first line of its text, which in ccxt may hold whole pages."""
    text = ""
    with contextlib.suppress(IndexError):
        text = str(error).splitlines()[0][:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
