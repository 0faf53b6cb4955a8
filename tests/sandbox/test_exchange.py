"""The sandbox without its sockets: books by differences, the simulation, playback of recordings, faults."""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import MARKETDATA

from arbhub.settings.sandbox import SandboxSettings, SimulationSettings
from sandbox.book import UNIT, Book, Change, decimal, difference, units
from sandbox.exchange import Exchange
from sandbox.playback import load

INTERVAL_NS = 100_000_000
SECOND = 1_000_000_000
RECORDED = MARKETDATA / "binance-2024-08-08"
needs_recordings = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded market data at {RECORDED}")

sides = st.dictionaries(st.integers(1, 50), st.integers(1, 5))


@given(sides, sides)
def test_a_difference_leads_to_the_target(current: dict[int, int], target: dict[int, int]) -> None:
    """Applying the difference of two sides to the first gives the second; equal sides differ in nothing."""
    book = Book(bids=dict(current), last_id=7)
    assert book.apply(Change("EX1", "A/B", difference(current, target), {})) == (8, 8)
    assert book.bids == target
    assert difference(target, target) == {}


@given(st.integers(0, 10**18))
def test_decimals_are_exact(value: int) -> None:
    """A whole number of 1e-8 is written as a decimal and read back without a loss."""
    assert units(decimal(value)) == value


def test_lost_updates_leave_a_gap_in_the_numbers() -> None:
    """A change that stands for several updates, after some that were lost, takes their numbers."""
    book = Book(last_id=10)
    assert book.apply(Change("EX1", "A/B", {}, {}, updates=3, lost=2)) == (13, 15)
    assert book.last_id == 15


def run(settings: SandboxSettings, steps: Iterable[int]) -> tuple[Exchange, list[dict[str, Any]]]:
    """An exchange after these steps, and the messages it sent."""
    exchange = Exchange(settings)
    sent = [update for step in steps for update in exchange.advance(step * INTERVAL_NS, step)]
    return exchange, [orjson.loads(update.data) | {"venue": update.venue} for update in sent]


def replayed(book: Book, messages: list[dict[str, Any]]) -> Book:
    """What a client has that began with this book and got these messages; fails on a gap."""
    book = Book(dict(book.bids), dict(book.asks), book.last_id)
    for message in messages:
        assert message["U"] == book.last_id + 1
        for side, rows in (book.bids, message["b"]), (book.asks, message["a"]):
            for price, size in rows:
                side[units(price)] = units(size)
        book.last_id = message["u"]
    for side in (book.bids, book.asks):
        for price in [price for price, size in side.items() if not size]:
            del side[price]
    return book


def test_simulation_messages_lead_to_its_books() -> None:
    """A client that applies every message to the first book has the exchange's book, number for number."""
    settings = SandboxSettings()
    before = Exchange(settings)
    exchange, messages = run(settings, range(1, 50))
    for (venue, symbol), book in exchange.books.items():
        own = [m for m in messages if m["venue"] == venue and m["s"] == symbol.replace("/", "")]
        assert replayed(before.books[venue, symbol], own) == book


def test_simulation_depends_on_seed_and_steps_only() -> None:
    """The same seed gives the same market, another seed another, and a late step is one step."""
    first, messages = run(SandboxSettings(seed=5), range(1, 20))
    again, _ = run(SandboxSettings(seed=5), [step * 1000 + 3 for step in range(1, 20)])
    other, _ = run(SandboxSettings(seed=6), range(1, 20))
    assert first.books == again.books
    assert first.books != other.books
    assert {message["E"] for message in messages} == set(range(1, 20))


def test_simulated_books_are_books() -> None:
    """Every simulated book has positive prices and sizes on the instrument's steps, bids below asks."""
    exchange, _ = run(SandboxSettings(seed=2), range(1, 200))
    for book in exchange.books.values():
        (bid, _), (ask, _) = book.best_bids(1)[0], book.best_asks(1)[0]
        assert 0 < bid < ask
        assert len(book.bids) == len(book.asks) == 40
        assert min([*book.bids.values(), *book.asks.values()]) > 0
        assert {price % units(0.01) for price in [*book.bids, *book.asks]} == {0}


def test_a_cheap_instrument_keeps_its_prices_positive() -> None:
    """Even where a few levels reach down to zero no price does."""
    instruments = {"A/B": {"price": 0.00000005, "tick_size": 0.00000001, "lot_size": 1.0}}
    settings = SandboxSettings.model_validate({"instruments": instruments})
    exchange, _ = run(settings, range(1, 50))
    for book in exchange.books.values():
        assert 0 < min(book.bids) <= max(book.bids) < min(book.asks)


def edges(settings: SandboxSettings, steps: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The best gross edge between the venues after each step, in bps."""
    exchange, found = Exchange(settings), []
    for step in range(1, steps):
        exchange.advance(step * INTERVAL_NS, step)
        books = [book for (_, symbol), book in exchange.books.items() if symbol == "BTC/USDT"]
        bid, ask = max(max(book.bids) for book in books), min(min(book.asks) for book in books)
        found.append((bid / ask - 1) * 1e4)
    return np.array(found)


def test_edges_come_and_go() -> None:
    """Edges of tens of bps open and close within seconds, and without deviations there are none."""
    found = edges(SandboxSettings(), 1200)
    assert 10 < np.median(found) < 30
    assert np.mean(found > 20) > 0.1
    assert np.sum(np.diff(found > 20) != 0) > 20
    assert np.max(edges(SandboxSettings(simulation=SimulationSettings(edge_bps=0.0)), 100)) < 0


@pytest.mark.parametrize("fault", ["skip", "silence"])
def test_faults_hide_updates_of_one_venue(fault: str) -> None:
    """During a fault books and numbers go on, but the venue's messages are lost, until it resumes."""
    exchange = Exchange(SandboxSettings())
    number = exchange.books["EX1", "BTC/USDT"].last_id
    exchange.fault("EX1", fault)
    sent = exchange.advance(INTERVAL_NS, 1)
    assert {update.venue for update in sent} == {"EX2", "EX3"}
    assert exchange.books["EX1", "BTC/USDT"].last_id == number + 1
    assert any(update.venue == "EX1" for update in exchange.advance(2 * INTERVAL_NS, 2)) == (fault == "skip")
    exchange.fault("EX1", "resume")
    assert {update.venue for update in exchange.advance(3 * INTERVAL_NS, 3)} == {"EX1", "EX2", "EX3"}


def test_halt_is_a_status() -> None:
    """Halted markets have another status, at that venue only, until it resumes."""
    exchange = Exchange(SandboxSettings())

    def statuses(venue: str) -> set[str]:
        return {market["status"] for market in exchange.exchange_info(venue, 0)["symbols"]}

    exchange.fault("EX1", "halt")
    assert (statuses("EX1"), statuses("EX2")) == ({"BREAK"}, {"TRADING"})
    exchange.fault("EX1", "resume")
    assert statuses("EX1") == {"TRADING"}


def depth(at_s: float, first: int, last: int, bids: list[list[str]], asks: list[list[str]]) -> bytes:
    """A recorded difference."""
    data = {"e": "depthUpdate", "E": 0, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": asks}
    return b"%d %s\n" % (at_s * SECOND, orjson.dumps({"stream": "btcusdt@depth@100ms", "data": data}))


SNAPSHOT = b'10000000000 {"lastUpdateId": 10, "bids": [["100", "1"], ["99", "2"]], "asks": [["101", "3"]]}\n'
NOISE = b'10000000001 {"stream":"btcusdt@trade","data":{"e":"trade"}}\n'


def recording(path: Path, *lines: bytes) -> Path:
    """A raw recording of these lines."""
    path.write_bytes(gzip.compress(b"".join(lines)))
    return path


def playing(path: Path, **playback: object) -> SandboxSettings:
    """Settings that play a recording on two venues, the second a second later and 2% dearer."""
    offsets = {"EX2": {"delay_ms": 1000.0, "price_bps": 200.0}}
    content = {
        "mode": "playback",
        "venues": ["EX1", "EX2"],
        "playback": {"files": {"BTC/USDT": path}, "offsets": offsets, **playback},
    }
    return SandboxSettings.model_validate(content)


def test_playback_follows_the_recording(tmp_path: Path) -> None:
    """Differences are played at their times, from those that straddle the snapshot on, with their numbers."""
    path = recording(
        tmp_path / "raw.gz",
        depth(9.8, 5, 8, [["98.00", "9"]], []),
        depth(9.9, 9, 12, [["99.00", "0"]], []),
        NOISE,
        SNAPSHOT,
        depth(12.0, 13, 13, [], [["101.00", "4"]]),
        depth(13.0, 16, 17, [["100.50", "1"]], []),
    )
    exchange = Exchange(playing(path, loop=False))
    first, second = exchange.books["EX1", "BTC/USDT"], exchange.books["EX2", "BTC/USDT"]
    assert second.bids == {price + units(2.01): size for price, size in first.bids.items()}
    exchange.advance(0, 0)
    assert (first.bids, first.last_id) == ({100 * UNIT: UNIT}, 12)
    assert second.last_id == 10
    (update, late) = exchange.advance(2 * SECOND, 0)
    assert orjson.loads(update.data)["a"] == [["101.00000000", "4.00000000"]]
    assert (late.venue, second.last_id) == ("EX2", 12)
    gap = orjson.loads(exchange.advance(3 * SECOND, 0)[0].data)
    assert (gap["U"], gap["u"]) == (16, 17)
    exchange.advance(100 * SECOND, 0)
    assert first.last_id == second.last_id == 17
    assert exchange.advance(1000 * SECOND, 0) == []


def test_playback_begins_again(tmp_path: Path) -> None:
    """In a loop the recording's end is followed by its start, with numbers that go on without a gap."""
    path = recording(
        tmp_path / "raw.gz",
        SNAPSHOT,
        depth(11.0, 11, 11, [["100.50", "1"]], []),
        depth(12.0, 12, 12, [["100.00", "0"]], [["101.00", "0"], ["102.00", "1"]]),
    )
    exchange = Exchange(playing(path))
    first = exchange.books["EX1", "BTC/USDT"]
    start = Book(dict(first.bids), dict(first.asks), first.last_id)
    sent = [update for step in range(50) for update in exchange.advance(step * INTERVAL_NS, 0)]
    messages = [orjson.loads(update.data) for update in sent if update.venue == "EX1"]
    assert len(messages) == 6
    assert replayed(start, messages) == exchange.books["EX1", "BTC/USDT"]
    back = replayed(start, messages[:3])
    assert (back.bids, back.asks) == (start.bids, start.asks)
    at_once = Exchange(playing(path))
    assert len(at_once.advance(49 * INTERVAL_NS, 0)) == len(sent)


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(SNAPSHOT)[:-9],
        gzip.compress(NOISE),
        gzip.compress(SNAPSHOT),
        gzip.compress(SNAPSHOT + depth(10.0, 11, 11, [], [])),
        gzip.compress(b'1 {"lastUpdateId": 10}\n'),
        gzip.compress(SNAPSHOT + depth(12.0, 11, 11, [["cheap", "1"]], [])),
        gzip.compress(SNAPSHOT.replace(b"10000000000", b"now") + depth(12.0, 11, 11, [], [])),
        b"\x1f\x8b" + bytes(40),
    ],
)
def test_what_is_no_recording_is_named(tmp_path: Path, content: bytes) -> None:
    """A file that is no recording, or one without a start, gives one sentence with its path."""
    path = tmp_path / "raw.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"raw\.gz is not a recording that can be played back: "):
        load(path)


def test_missing_recording_is_named(tmp_path: Path) -> None:
    """A recording that is not there is an OSError that names it."""
    with pytest.raises(OSError, match="missing"):
        Exchange(playing(tmp_path / "missing"))


@needs_recordings
@pytest.mark.parametrize("symbol", ["BTC/USDT", "ETH/USDT"])
def test_real_recordings_play_to_their_end(symbol: str) -> None:
    """A real recording plays without a gap or a crossed book; at the end a client has the exchange's book."""
    name = f"spot_{symbol.replace('/', '').lower()}.gz"
    content = {"mode": "playback", "venues": ["EX1"], "playback": {"files": {symbol: RECORDED / name}}}
    settings = SandboxSettings.model_validate(content)
    exchange = Exchange(settings)
    start = exchange.books["EX1", symbol]
    start = Book(dict(start.bids), dict(start.asks), start.last_id)
    messages = []
    for step in range(3000):
        messages += [orjson.loads(update.data) for update in exchange.advance(step * INTERVAL_NS, step)]
        if step % 100 == 0:
            book = exchange.books["EX1", symbol]
            assert max(book.bids) < min(book.asks)
    assert len(messages) > 2500
    assert replayed(start, messages) == exchange.books["EX1", symbol]
