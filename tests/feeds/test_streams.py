"""What a live stream makes of a client's misbehaviour that no sandbox can be made to show on time."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import ccxt
import pytest
from feed_probes import RememberingSink

from arbhub.settings.feed import FeedSettings
from feeds import live

SETTINGS = FeedSettings.model_validate(
    {
        "symbols": ["A/B"],
        "venues": {"EX1": {"exchange": "scripted"}},
        "backoff": {"first_ms": 1.0, "max_ms": 2.0},
    }
)
BOOK: dict[str, Any] = {"bids": [[10.0, 1.0]], "asks": [[11.0, 1.0]], "timestamp": 1_700_000_000_123}
Step = Callable[["ScriptedClient"], dict[str, Any]]


class ScriptedClient:
    """In place of a ccxt client: each wait for a book is the next step of a script, then there is silence."""

    precisionMode = ccxt.TICK_SIZE  # noqa: N815 - ccxt's name

    def __init__(self, *script: Step) -> None:
        self.script = list(script)
        self.markets = {"A/B": {"active": True}}
        self.fees: dict[str, Any] = {}
        self.failures_to_load = 0
        self.closed = False

    async def load_markets(self, reload: bool = False) -> None:
        if self.failures_to_load:
            self.failures_to_load -= 1
            raise ccxt.ExchangeNotAvailable("maintenance\n<html>page after page</html>")

    async def watch_order_book(self, symbol: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.script:
            return self.script.pop(0)(self)
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    def on_error(self, connection: object, error: object) -> None:
        """Called by ccxt when a connection fails."""

    def on_close(self, connection: object, code: object) -> None:
        """Called by ccxt when a connection is closed."""

    async def close(self) -> None:
        self.closed = True


def good(_: ScriptedClient) -> dict[str, Any]:
    """A book."""
    return BOOK


def cancelled(_: ScriptedClient) -> dict[str, Any]:
    """What ccxt does to all who wait on a connection that it closes."""
    raise asyncio.CancelledError


def failed(_: ScriptedClient) -> dict[str, Any]:
    """An error that is none of ccxt's own."""
    raise KeyError("symbol")


def broken_behind(client: ScriptedClient) -> dict[str, Any]:
    """A book whose connection has been closed by the time it is taken."""
    client.on_close(object(), 1006)
    return BOOK


def failed_behind(client: ScriptedClient) -> dict[str, Any]:
    """A book whose connection has failed by the time it is taken."""
    client.on_error(object(), ccxt.NetworkError("reset"))
    return BOOK


def with_price(price: float | None) -> Step:
    """A book with a strange second bid."""
    return lambda _: BOOK | {"bids": [[10.0, 1.0], [price, 1.0]]}


async def published(monkeypatch: pytest.MonkeyPatch, *script: Step, failures_to_load: int = 0) -> list[bool]:
    """Of each update that the script leads to, whether it is empty; then the feed is cancelled."""
    client, sink = ScriptedClient(*script), RememberingSink()
    client.failures_to_load = failures_to_load
    monkeypatch.setattr(live, "make_client", lambda *_: client)
    task = asyncio.create_task(live.run(SETTINGS, 20, sink))
    await sink.until(lambda: not client.script and bool(sink.updates), "the end of the script")
    for _ in range(5):  # the stream has taken the last step when it waits again
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    assert client.closed
    full = [update for update in sink.updates if not update.silent]
    assert all(update.ts_event_ns == 1_700_000_000_123_000_000 for update in full)
    return [update.silent for update in sink.updates]


@pytest.mark.parametrize(
    "step",
    [cancelled, failed, broken_behind, failed_behind, *map(with_price, (None, math.nan, math.inf, -math.inf))],
)
async def test_whatever_goes_wrong_is_an_empty_book(monkeypatch: pytest.MonkeyPatch, step: Step) -> None:
    """Between two good books anything else is one empty book, and the stream goes on."""
    assert await published(monkeypatch, good, step, step, good) == [False, True, False]


async def test_a_stream_that_begins_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that fails before its first book is published as empty too."""
    assert await published(monkeypatch, failed, failed, good) == [True, False]


async def test_markets_are_asked_for_until_they_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue whose markets do not load at first is asked again."""
    assert await published(monkeypatch, good, failures_to_load=3) == [False]
