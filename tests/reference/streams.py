"""Streams of ticks to try the model and arbhub on: dense and lively, or short and nasty."""

import gzip
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from .model import Level, ModelSettings, Tick

Side = tuple[Level, ...]
Book = tuple[Side, Side]
SILENT: Book = ((), ())


# Captures


def write_capture(path: Path, ticks: Iterable[Tick]) -> None:
    """Write ticks as a capture, gzipped if the name ends in .gz; ValueError for NaN and infinity."""
    lines = (json.dumps(tick._asdict(), separators=(",", ":"), allow_nan=False) + "\n" for tick in ticks)
    content = "".join(lines).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def read_capture(path: Path) -> list[Tick]:
    """Read a capture that is known to be good."""
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
    return [_tick(json.loads(line)) for line in lines]


def _tick(line: dict[str, Any]) -> Tick:
    bids, asks = (tuple((float(price), float(size)) for price, size in line[side]) for side in ("bids", "asks"))
    return Tick(line["ts_ns"], line["venue"], line["symbol"], bids, asks)


# Dense captures


@dataclass
class Market:
    """A generated market: an instrument's mid-price wanders, venues deviate from it, edges come and go.

    `edge_bps` is the standard deviation of a venue's deviation.
    """

    chance: random.Random
    venues: Sequence[str]
    edge_bps: float
    levels: int
    mids: dict[str, float] = field(default_factory=dict)
    offsets_bps: dict[tuple[str, str], float] = field(default_factory=dict)
    books: dict[tuple[str, str], Book] = field(default_factory=dict)

    def next_book(self, venue: str, symbol: str) -> Book:
        """The venue's next book: silent, the same again, with one level changed, or new."""
        book = self.books.get((venue, symbol), SILENT)
        dice = self.chance.random()
        if dice < 0.02:
            book = SILENT
        elif book == SILENT or dice < 0.6:
            book = self._new(venue, symbol)
        elif dice < 0.8:
            book = self._touched(book)
        self.books[venue, symbol] = book
        return book

    def _new(self, venue: str, symbol: str) -> Book:
        mid = self.mids.setdefault(symbol, self.chance.uniform(100.0, 50_000.0))
        mid = self.mids[symbol] = mid * (1 + self.chance.gauss(0, 0.2) / 1e4)
        offset = self.offsets_bps.get((venue, symbol), 0.0)
        offset = self.offsets_bps[venue, symbol] = 0.97 * offset + self.chance.gauss(0, 0.24 * self.edge_bps)
        centre = mid * (1 + offset / 1e4)
        half = centre * self.chance.uniform(0.2, 2.0) / 1e4 + 0.01
        size = 1000.0 / centre
        return self._side(centre - half, -1, size), self._side(centre + half, 1, size)

    def _side(self, best: float, sign: int, size: float) -> Side:
        """Some levels on a grid of 0.01 from the best price outwards, each about `size`."""
        levels, price = [], round(best, 2)
        for _ in range(self.chance.randint(1, self.levels)):
            levels.append((price, max(round(size * self.chance.uniform(0.1, 3.0), 6), 1e-6)))
            price = round(price + sign * max(price * self.chance.expovariate(1.0) / 1e4, 0.01), 2)
        return tuple(levels)

    def _touched(self, book: Book) -> Book:
        """The book with the size of one level of one side changed."""
        side = self.chance.randrange(2)
        levels = list(book[side])
        at = self.chance.randrange(len(levels))
        price, size = levels[at]
        levels[at] = (price, max(round(size * self.chance.uniform(0.5, 2.0), 6), 1e-6))
        return (tuple(levels), book[1]) if side == 0 else (book[0], tuple(levels))


def dense_capture(
    seed: int,
    ticks: int = 3000,
    instruments: Sequence[str] = ("BTC/BRL", "ETH/BRL"),
    venues: Sequence[str] = ("EX1", "EX2", "EX3"),
    *,
    window_ms: float = 50.0,
    ticks_per_window: int = 300,
    edge_bps: float = 5.0,
    levels: int = 6,
    gap_chance: float = 0.001,
) -> list[Tick]:
    """A stream in time order: hundreds of ticks a latency window, many edges, now and then a gap of 12 s."""
    chance = random.Random(seed)
    market = Market(chance, venues, edge_bps, levels)
    mean_step_ns = window_ms * 1e6 / ticks_per_window
    now_ns, stream = 1_600_000_000_000_000_000, []
    for _ in range(ticks):
        if chance.random() >= 0.3:  # the others share their predecessor's time
            now_ns += round(chance.expovariate(0.7) * mean_step_ns)
        if chance.random() < gap_chance:
            now_ns += 12_000_000_000
        venue, symbol = chance.choice(venues), chance.choice(instruments)
        stream.append(Tick(now_ns, venue, symbol, *market.next_book(venue, symbol)))
    return stream


# Nasty streams

VENUES = ("A", "B", "EX10", "EX2")
SYMBOLS = ("BTC/BRL", "ETH/BRL", "BTC/USD")
STEPS_NS = (*[0, 1, 1_000_000] * 6, 9_999_999, 10_000_000, 10_000_001, 999_000_000, 60_000_000_000)
PRICES = tuple(98 + 0.25 * i for i in range(17))  # few, so that venues tie
SIZES = (0.1, 0.3, 0.7, 1.0, 25.0, 1000.0)
BAD = (0.0, -0.0, -1.0)
NOT_NUMBERS = (math.nan, math.inf, -math.inf)
EXTREMES = (5e-324, 1e-300, 1e-160, 1e160, 1e308, 1.7976931348623157e308)
FLAWS = (
    "silent",
    "no bids",
    "no asks",
    "bad price",
    "bad size",
    "crossed",
    "unsorted",
    "touching",
    "swapped",
)


@st.composite
def sound_books(draw: st.DrawFn, extremes: bool = False) -> Book:
    """A book in order, whose levels may share a price; extremes: figures of any finite magnitude."""
    count = st.integers(1, 5)
    prices, sizes = st.sampled_from(PRICES), st.sampled_from(SIZES)
    if extremes:
        prices, sizes = prices | st.sampled_from(EXTREMES), sizes | st.sampled_from(EXTREMES)
    several = st.lists(prices, min_size=2, max_size=10).filter(lambda drawn: min(drawn) < max(drawn))
    drawn = sorted(draw(several))
    best_bid = draw(st.sampled_from([p for p in drawn if p < drawn[-1]]))
    bids = [p for p in reversed(drawn) if p <= best_bid][: draw(count)]
    asks = [p for p in drawn if p > best_bid][: draw(count)]
    return tuple((p, draw(sizes)) for p in bids), tuple((p, draw(sizes)) for p in asks)


@st.composite
def flawed_books(draw: st.DrawFn, finite: bool = False) -> Book:
    """A book with one thing wrong (or nothing, where a flaw does not apply), at the top or deeper."""
    bids, asks = draw(sound_books())
    flaw, bad = draw(st.sampled_from(FLAWS)), draw(st.sampled_from(BAD if finite else BAD + NOT_NUMBERS))
    if flaw == "silent":
        return SILENT
    if flaw == "crossed":
        return asks, bids
    if flaw == "touching":
        return ((asks[0][0], 1.0), *bids), asks
    if flaw == "no bids":
        return (), asks
    if flaw == "no asks":
        return bids, ()
    side = draw(st.booleans())
    levels = list(asks if side else bids)
    at = draw(st.integers(0, len(levels) - 1))
    price, size = levels[at]
    if flaw == "unsorted":
        levels.reverse()
    else:
        levels[at] = {"bad price": (bad, size), "bad size": (price, bad), "swapped": (size, price)}[flaw]
    return (bids, tuple(levels)) if side else (tuple(levels), asks)


@st.composite
def nasty_streams(
    draw: st.DrawFn,
    max_ticks: int = 40,
    *,
    finite: bool = False,
    extremes: bool = False,
    backwards: bool = False,
) -> list[Tick]:
    """A short stream of good, bad and broken books of 1..4 venues and 1..3 symbols.

    `finite` leaves NaN and infinity out, `extremes` adds finite prices and sizes whose products overflow and
    underflow, `backwards` lets time go back (which no capture may).
    """
    venues = draw(st.permutations(VENUES))[: draw(st.sampled_from((3, 2, 4, 1)))]
    symbols = draw(st.permutations(SYMBOLS))[: draw(st.integers(1, 3))]
    steps = st.sampled_from((*STEPS_NS, -1, -20_000_000) if backwards else STEPS_NS)
    good, flawed = sound_books(extremes=extremes), flawed_books(finite=finite)
    now_ns, stream = 1_600_000_000_000_000_000, []
    for _ in range(draw(st.integers(1, max_ticks))):
        now_ns += draw(steps)
        venue, symbol = draw(st.sampled_from(venues)), draw(st.sampled_from(symbols))
        book = draw(flawed if draw(st.integers(0, 5)) == 5 else good)
        stream.append(Tick(now_ns, venue, symbol, *book))
    return stream


@st.composite
def nasty_settings(draw: st.DrawFn) -> ModelSettings:
    """Settings that bite on nasty streams: shallow depths, boundary ages, unknown fees, lots and minimums."""
    listing = st.tuples(*(st.sampled_from((0.0, x)) for x in (0.1, 0.7, 98.25)))
    fees = st.dictionaries(st.sampled_from(VENUES), st.sampled_from((0.0, -1.0, 2.5, 10.0)), min_size=2)
    full = dict.fromkeys(VENUES, 1.0)
    return ModelSettings(
        max_quote_age_ms=draw(st.sampled_from((math.inf, 10_000.0, 1000.0, 10.0, 0.0))),
        min_net_edge_bps=draw(st.sampled_from((0.0, -1e6, 20.0))),
        depth=draw(st.sampled_from((1, 2, 3, 20))),
        max_gross_edge_bps=draw(st.sampled_from((math.inf, math.inf, 150.0, 0.0))),
        max_leg_skew_ms=draw(st.sampled_from((math.inf, math.inf, 10.0, 0.0))),
        min_edge_age_ms=draw(st.sampled_from((0.0, 0.0, 1.0, 10.0))),
        taker_bps=draw(st.one_of(st.just(full), fees)),
        max_notional=draw(st.sampled_from((5000.0, 100.0, 1.0, 1e9, math.inf))),
        listings=draw(st.dictionaries(st.tuples(st.sampled_from(VENUES), st.sampled_from(SYMBOLS)), listing)),
    )
