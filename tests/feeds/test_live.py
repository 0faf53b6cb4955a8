"""The live feed against the sandbox, through the unmodified ccxt.pro client and real sockets."""

import asyncio
import gc
import logging

import pytest
import structlog
from feed_probes import (
    Key,
    RememberingSink,
    SteppedSandbox,
    feed_settings,
    feeding,
    serving,
    venue_settings,
)
from log_records import amiss

from arbhub.settings.feed import FeedSettings
from arbhub.settings.sandbox import SandboxSettings
from feeds import live

VENUES = "EX1", "EX2"
KEYS = [(venue, symbol) for venue in VENUES for symbol in ("BTC/USDT", "ETH/USDT")]
BTC1, BTC2 = ("EX1", "BTC/USDT"), ("EX2", "BTC/USDT")
SETTINGS = SandboxSettings(venues=VENUES)


@pytest.fixture
def sandbox() -> SteppedSandbox:
    """Two venues, of which each test breaks the first."""
    return SteppedSandbox(SETTINGS)


async def synchronised(sandbox: SteppedSandbox, sink: RememberingSink, keys: list[Key] = KEYS) -> None:
    """Wait until the feed's books are the sandbox's."""
    await sink.until(lambda: all(sink.sides(key) == sandbox.book(key) for key in keys), "the sandbox's books")


def check_only_true_books(sandbox: SteppedSandbox, sink: RememberingSink, since: int = 0) -> None:
    """Every book published, after the first `since`, is one that the venue has had, or empty."""
    for update in sink.updates[since:]:
        states = sandbox.states[update.venue, update.symbol]
        assert update.silent or (update.bids, update.asks) in states


def emptied(sink: RememberingSink, key: Key, since: int) -> bool:
    """Whether an empty book was published for the key after the first `since` updates."""
    return any(update.silent and (update.venue, update.symbol) == key for update in sink.updates[since:])


async def test_first_book_is_the_snapshot(sandbox: SteppedSandbox) -> None:
    """Before any update the published books are the sandbox's, cut to the depth asked for."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        assert len(sink.last[BTC1].bids) == len(sink.last[BTC1].asks) == 20
        assert sink.last[BTC1].ts_event_ns is None


async def test_books_follow_every_update(sandbox: SteppedSandbox) -> None:
    """After each further update the published books are the sandbox's of that update, and carry its time."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        for _ in range(10):
            sandbox.step()
            await synchronised(sandbox, sink)
        check_only_true_books(sandbox, sink)
        assert sink.last[BTC1].ts_event_ns is not None
        assert not any(update.silent for update in sink.updates)


async def test_gap_is_an_empty_book_then_a_new_snapshot(sandbox: SteppedSandbox) -> None:
    """A lost update gives an empty book, never a wrong one, and then a full one equal to the sandbox's."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        sandbox.step()
        await synchronised(sandbox, sink)
        before = len(sink.updates)
        sandbox.server.fault("EX1", "skip")
        sandbox.step()
        await synchronised(sandbox, sink, [BTC2])
        sandbox.step()
        await sink.until(lambda: emptied(sink, BTC1, before), "an empty book")
        await synchronised(sandbox, sink)
        sandbox.step()
        await synchronised(sandbox, sink)
        check_only_true_books(sandbox, sink)
        assert not emptied(sink, BTC2, before)


async def test_gap_right_after_the_snapshot(sandbox: SteppedSandbox) -> None:
    """An update lost between snapshot and first update is noticed as well."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        sandbox.server.fault("EX1", "skip")
        sandbox.step()
        sandbox.step()
        await sink.until(lambda: emptied(sink, BTC1, 0), "an empty book")
        await synchronised(sandbox, sink)
        check_only_true_books(sandbox, sink)


async def test_dropped_connection_is_an_empty_book_then_a_new_snapshot(sandbox: SteppedSandbox) -> None:
    """A connection closed by the venue gives an empty book and then, by itself, the present one."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        for _ in range(3):
            before = len(sink.updates)
            sandbox.server.fault("EX1", "drop")
            sandbox.step()
            await sink.until(lambda before=before: emptied(sink, BTC1, before), "an empty book")  # type: ignore[misc]
            await synchronised(sandbox, sink)
            sandbox.step()
            await synchronised(sandbox, sink)
        check_only_true_books(sandbox, sink)
        assert not emptied(sink, BTC2, 0)


async def test_drop_amid_updates_shows_no_old_book(sandbox: SteppedSandbox) -> None:
    """An update and the end of its connection that arrive together leave an empty book, not the update's."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        for _ in range(5):
            before = len(sink.updates)
            sandbox.step()
            sandbox.server.fault("EX1", "drop")
            await sink.until(lambda before=before: emptied(sink, BTC1, before), "an empty book")  # type: ignore[misc]
            await synchronised(sandbox, sink)
        check_only_true_books(sandbox, sink)


@pytest.mark.parametrize("how", ["reset", "nonsense"])
async def test_connection_that_breaks_without_a_word(sandbox: SteppedSandbox, how: str) -> None:
    """A connection that is reset, or on which nonsense comes, gives an empty book and then the present one."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        before = len(sink.updates)
        for client in [client for client in sandbox.server._clients if client.venue == "EX1"]:
            if how == "reset":
                request = client.socket._req
                assert request is not None
                assert request.transport is not None
                request.transport.abort()
            else:
                client.offer(b"[1]")
        await sink.until(lambda: emptied(sink, BTC1, before), "an empty book")
        await synchronised(sandbox, sink)
        check_only_true_books(sandbox, sink)


async def test_silence_is_an_empty_book(sandbox: SteppedSandbox) -> None:
    """A venue that sends nothing is published as empty, alone, and comes back when it speaks."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES, silent_after_ms=300.0)) as sink:
        moving = asyncio.create_task(sandbox.keep_stepping())
        await sink.until(lambda: all(key in sink.last and not sink.last[key].silent for key in KEYS), "books")
        sandbox.server.fault("EX1", "silence")
        await sink.until(lambda: sink.last[BTC1].silent, "an empty book")
        assert not sink.last[BTC2].silent
        sandbox.server.fault("EX1", "resume")
        await sink.until(lambda: not sink.last[BTC1].silent, "a book again")
        moving.cancel()
        await synchronised(sandbox, sink)
        check_only_true_books(sandbox, sink)


async def test_halted_market_has_no_prices(sandbox: SteppedSandbox) -> None:
    """When a reload says that a market stopped trading, its book is empty, whatever is sent."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES, reload_markets_s=0.2)) as sink:
        moving = asyncio.create_task(sandbox.keep_stepping())
        await sink.until(lambda: BTC1 in sink.last and not sink.last[BTC1].silent, "a book")
        sandbox.server.fault("EX1", "halt")
        await sink.until(lambda: not sink.listings()[BTC1].active, "the halt")
        halted = len(sink.updates)
        await sink.until(lambda: len(sink.updates) > halted + 20, "further updates")
        assert sink.last[BTC1].silent
        assert all(update.silent for update in sink.updates[halted:] if update.venue == "EX1")
        assert sink.listings()[BTC2].active
        sandbox.server.fault("EX1", "resume")
        await sink.until(lambda: not sink.last[BTC1].silent, "a book again")
        moving.cancel()


async def test_venue_that_goes_and_comes_back(sandbox: SteppedSandbox) -> None:
    """A venue that cannot be reached is empty until it is there again; the feed goes on and finds it."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        await sandbox.server.stop()
        await sink.until(lambda: all(sink.last[key].silent for key in KEYS), "empty books")
        emptied_at = len(sink.updates)
        again = SteppedSandbox(SETTINGS.model_copy(update={"seed": 2}), port)
        async with serving(again):
            await synchronised(again, sink)
            check_only_true_books(again, sink, since=emptied_at)


async def test_venue_that_is_late(sandbox: SteppedSandbox) -> None:
    """A venue that is not there at the start holds up no other, and is taken in when it comes."""
    async with serving(sandbox) as port:
        free = SteppedSandbox(SETTINGS)
        async with serving(free) as late_port:
            pass
        venues = {"EX1": venue_settings(late_port, "EX1"), "EX2": venue_settings(port, "EX2")}
        async with feeding(feed_settings(port, (), venues=venues)) as sink:
            await synchronised(sandbox, sink, [BTC2])
            assert BTC1 not in sink.last
            late = SteppedSandbox(SETTINGS.model_copy(update={"seed": 2}), late_port)
            async with serving(late):
                await synchronised(late, sink, [BTC1])


async def test_markets_are_reference_data(sandbox: SteppedSandbox) -> None:
    """Steps, minimums and fees of each listing are stated before its first book, names before all."""
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await sink.until(lambda: BTC1 in sink.last, "a book")
        assert sink.stated[0].venues == VENUES
        assert sink.stated[0].symbols == ("BTC/USDT", "ETH/USDT")
        listing = sink.listings()[BTC1]
        assert (listing.tick_size, listing.lot_size, listing.min_quantity) == (0.01, 0.00001, 0.00001)
        assert (listing.min_notional, listing.maker_bps, listing.taker_bps) == (5.0, 10.0, 10.0)
        assert listing.active


async def test_symbol_that_is_not_listed(sandbox: SteppedSandbox) -> None:
    """A symbol that a venue does not list is named in a warning, and the others are watched."""
    async with serving(sandbox) as port:
        with structlog.testing.capture_logs() as logs:
            symbols = ["XRP/USDT", "BTC/USDT"]
            async with feeding(feed_settings(port, ("EX1",), symbols=symbols)) as sink:
                await synchronised(sandbox, sink, [BTC1])
        warned = [entry for entry in logs if "not list" in entry["event"]]
        assert [(entry["venue"], entry["symbol"]) for entry in warned] == [("EX1", "XRP/USDT")]


async def test_nothing_listed_ends_the_feed(sandbox: SteppedSandbox) -> None:
    """A feed of which no venue lists any symbol ends with a sentence that names them."""
    async with serving(sandbox) as port:
        settings = feed_settings(port, VENUES, symbols=["XRP/USDT"])
        with pytest.raises(ValueError, match="none of the venues EX1, EX2 lists any of XRP/USDT"):
            await asyncio.wait_for(live.run(settings, 20, RememberingSink()), 20)


@pytest.mark.parametrize(
    ("venues", "sentence"),
    [
        ({}, "the feed has no venues"),
        ({"A": {"exchange": "mtgox"}}, 'venue A: ccxt.pro knows no exchange "mtgox"'),
        ({"A": {"exchange": "Exchange"}}, 'venue A: ccxt.pro knows no exchange "Exchange"'),
        ({"A": {"exchange": "mudrex"}}, 'venue A: ccxt.pro\'s "mudrex" cannot watch order books'),
    ],
)
async def test_venues_that_cannot_be_watched(venues: dict[str, object], sentence: str) -> None:
    """No venues, an unknown exchange, and one without order books to watch: one sentence each."""
    settings = FeedSettings.model_validate({"symbols": ["BTC/USDT"], "venues": venues})
    with pytest.raises(ValueError, match=sentence):
        await live.run(settings, 20, RememberingSink())


async def test_stop_leaves_nothing_open(
    sandbox: SteppedSandbox, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """After the feed is cancelled no session, task or exception is left, even amid a resynchronisation."""
    caplog.set_level(logging.WARNING)
    gc.collect()  # what tests before this one have left begins its own end now, and not in the midst of this one
    await asyncio.sleep(0)
    recwarn.clear()
    others = asyncio.all_tasks()
    async with serving(sandbox) as port, feeding(feed_settings(port, VENUES)) as sink:
        await synchronised(sandbox, sink)
        sandbox.server.fault("EX1", "drop")
        sandbox.server.fault("EX2", "skip")
        sandbox.step()
        sandbox.step()
        await sink.until(lambda: emptied(sink, BTC1, 0), "an empty book")
    gc.collect()
    await asyncio.sleep(0)
    assert amiss(caplog.records) == []
    assert [str(warning.message) for warning in recwarn if "nclosed" in str(warning.message)] == []
    left = asyncio.all_tasks() - others
    if left:  # the garbage of others may have begun to end meanwhile, and does so at once
        await asyncio.wait(left, timeout=1)
    assert [task for task in left if not task.done()] == []
