"""Recorded books played back: raw lines of Binance's combined spot stream, as in hftbacktest's examples.

A line is `<local time in ns> <JSON>`; of these the REST snapshot and the `@depth` differences after it are
played, on every venue with a delay and a price offset of its own. The recorded update numbers' spans and gaps
are kept, so a client notices what the recorder missed. Time is an argument; the files are read whole at the
start.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from arbhub.settings.sandbox import OffsetSettings, SandboxSettings
from sandbox.book import Book, Change, Levels, difference, units

_Rows = list[tuple[str, str]]


class _Snapshot(msgspec.Struct):
    last_id: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="lastUpdateId")
    bids: _Rows
    asks: _Rows


class _Difference(msgspec.Struct):
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: _Rows = msgspec.field(name="b")
    asks: _Rows = msgspec.field(name="a")


class _Message(msgspec.Struct):
    data: _Difference


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded difference, `at_ns` after the snapshot."""

    at_ns: int
    bids: Levels
    asks: Levels
    updates: int
    lost: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A snapshot and the differences that follow it, in order."""

    start: Book
    steps: tuple[Step, ...]


def load(path: Path) -> Recording:
    """Read a recording; ValueError or OSError says in a sentence what is wrong with it."""
    try:
        with gzip.open(path) as file:
            return _recording(file)
    except (EOFError, gzip.BadGzipFile, zlib.error, ArithmeticError, ValueError) as error:
        raise ValueError(f"{path} is not a recording that can be played back: {error}") from error


def _recording(lines: Iterable[bytes]) -> Recording:
    start: Book | None = None
    begun_ns = 0
    last_id = 0
    early: list[tuple[int, _Difference]] = []
    steps: list[Step] = []
    for line in lines:
        stamp, _, text = line.partition(b" ")
        if b'"lastUpdateId"' in text and start is None:
            snapshot = msgspec.json.decode(text, type=_Snapshot)
            begun_ns, last_id = int(stamp), snapshot.last_id
            start = Book(_levels(snapshot.bids), _levels(snapshot.asks), last_id)
        elif b"@depth" in text:
            early.append((int(stamp), msgspec.json.decode(text, type=_Message).data))
        if start is None:
            continue
        # Differences that came in before the snapshot may hold updates that are not in it yet.
        for at_ns, delta in early:
            if delta.last_id > last_id:
                steps.append(_step(at_ns - begun_ns, delta, last_id))
                last_id = delta.last_id
        early.clear()
    if start is None or not (start.bids and start.asks) or not steps or steps[-1].at_ns == 0:
        raise ValueError("it holds no snapshot with two sides and differences some time after it")
    return Recording(start, tuple(steps))


def _step(at_ns: int, delta: _Difference, last_id: int) -> Step:
    first_id = max(delta.first_id, last_id + 1)
    lost, updates = first_id - last_id - 1, delta.last_id - first_id + 1
    return Step(max(0, at_ns), _levels(delta.bids), _levels(delta.asks), updates, lost)


def _levels(rows: _Rows) -> dict[int, int]:
    return {units(price): units(size) for price, size in rows}


class Playback:
    """Moves the books of every venue by the recordings in the settings."""

    def __init__(self, settings: SandboxSettings) -> None:
        files = settings.playback.files
        recordings = {symbol: load(path) for symbol, path in files.items()}
        self._players = [
            _Player(settings, venue, symbol, recording)
            for symbol, recording in recordings.items()
            for venue in settings.venues
        ]
        self.books = {(player.venue, player.symbol): player.start() for player in self._players}

    def advance(self, elapsed_ns: int) -> Iterator[Change]:
        """What changes by `elapsed_ns` after the start; the caller applies each before it takes the next."""
        for player in self._players:
            yield from player.due(elapsed_ns, self.books[player.venue, player.symbol])


class _Player:
    """One recording on one venue."""

    def __init__(self, settings: SandboxSettings, venue: str, symbol: str, recording: Recording) -> None:
        offset = settings.playback.offsets.get(venue, OffsetSettings())
        tick = units(settings.instruments[symbol].tick_size)
        self.venue, self.symbol, self.recording = venue, symbol, recording
        self.loop = settings.playback.loop
        self.shift = round(recording.start.mid() * offset.price_bps / 1e4 / tick) * tick
        self.begun_ns = int(offset.delay_ms * 1e6)
        self.position = 0

    def start(self) -> Book:
        """The book before the first difference."""
        start = self.recording.start
        return Book(self._shifted(start.bids), self._shifted(start.asks), start.last_id)

    def due(self, elapsed_ns: int, book: Book) -> Iterator[Change]:
        """The differences up to now; after the last comes, in a loop, one that leads back to the start."""
        steps = self.recording.steps
        while elapsed_ns - self.begun_ns >= self._next_ns():
            if self.position < len(steps):
                yield self._change(steps[self.position])
                self.position += 1
            elif self.loop:
                start = self.start()
                bids, asks = difference(book.bids, start.bids), difference(book.asks, start.asks)
                self.begun_ns, self.position = self.begun_ns + self._next_ns(), 0
                yield Change(self.venue, self.symbol, bids, asks)
            else:
                return

    def _next_ns(self) -> int:
        steps = self.recording.steps
        return steps[min(self.position, len(steps) - 1)].at_ns

    def _change(self, step: Step) -> Change:
        bids, asks = self._shifted(step.bids), self._shifted(step.asks)
        return Change(self.venue, self.symbol, bids, asks, step.updates, step.lost)

    def _shifted(self, levels: Levels) -> dict[int, int]:
        """With the price offset; what it would lower to zero or less is left out."""
        return {price + self.shift: size for price, size in levels.items() if price + self.shift > 0}
