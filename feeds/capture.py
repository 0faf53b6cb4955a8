"""Captures: recordings of order books as JSON lines, gzipped or not (DESIGN section 6), read and written.

Knows the file format and nothing of where the updates go. What is accepted is exactly the format: numbers
that are numbers, finite and in range, times that never go back within a file. Whether a book makes *sense*
(crossed, zero or negative prices) is the hub's to judge, on recorded and live data alike. Blank lines at the
end of a file are nothing; a blank line before another line is a bad line, as a piece of the recording may be
missing there.
"""

import gzip
import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Annotated, Any, cast

import msgspec
import orjson

from arbhub.columns import MAX_TS_NS
from arbhub.reference import split_symbol
from feeds.market import BookUpdate, Level

_GZIP_MAGIC = b"\x1f\x8b"
_Nanoseconds = Annotated[int, msgspec.Meta(ge=-MAX_TS_NS, le=MAX_TS_NS)]


class _Line(msgspec.Struct):
    ts_ns: _Nanoseconds
    venue: Annotated[str, msgspec.Meta(min_length=1)]
    symbol: str
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    ts_event_ns: _Nanoseconds | None = None


_DECODER = msgspec.json.Decoder(_Line)


class CaptureError(ValueError):
    """A capture, or a line of one, that cannot be used; the text is `file:line: what is wrong`."""


OnBad = Callable[[CaptureError], None]


class SkippedLines:
    """Takes bad lines in place of an exception: counts them and keeps the first for the report."""

    def __init__(self) -> None:
        self.count = 0
        self.first: CaptureError | None = None

    def __call__(self, error: CaptureError) -> None:
        """Count one bad line."""
        self.count += 1
        self.first = self.first or error


def read(path: Path | str, on_bad: OnBad | None = None) -> Iterator[BookUpdate]:
    """Yield a capture's updates in order; a bad line raises CaptureError, or goes to `on_bad` and is skipped.

    A file that cannot be opened raises in either case. What is readable of a cut gzip file is yielded first.
    """
    reader = _Reader(str(path), on_bad)
    try:
        with Path(path).open("rb") as raw:
            yield from reader.updates(_plain(raw))
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror or error}") from error


def merge(paths: Iterable[Path | str], on_bad: OnBad | None = None) -> Iterator[BookUpdate]:
    """Yield the updates of several captures by `ts_ns`; ties go by argument, then line."""
    return heapq.merge(*(read(path, on_bad) for path in paths), key=lambda update: update.ts_ns)


def line(update: BookUpdate) -> bytes:
    """The update as one line of a capture, newline included; ValueError for numbers no capture may hold."""
    fields: dict[str, Any] = {
        "ts_ns": update.ts_ns,
        "venue": update.venue,
        "symbol": update.symbol,
        "bids": update.bids,
        "asks": update.asks,
    }
    if update.ts_event_ns is not None:
        fields["ts_event_ns"] = update.ts_event_ns
    data = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    if b"null" in data and not finite(update.bids + update.asks):  # orjson writes NaN and infinity as null
        raise ValueError(f"book of {update.symbol} on {update.venue} has a price or size that is not finite")
    return data


def finite(levels: Iterable[Level]) -> bool:
    """Whether every price and size is a finite number."""
    return all(abs(price) < float("inf") and abs(size) < float("inf") for price, size in levels)


def _plain(raw: BufferedReader) -> IO[bytes]:
    """The uncompressed stream; told by content, as names lie and pipes have none."""
    return cast(IO[bytes], gzip.open(raw)) if raw.peek(2)[:2] == _GZIP_MAGIC else raw


class _Reader:
    """Reads one file's lines; keeps its place, for messages, and its last time."""

    def __init__(self, path: str, on_bad: OnBad | None) -> None:
        self.path = path
        self.number = 0
        self.last_ns = -(2**63)
        self.on_bad = on_bad
        self.symbols: set[str] = set()

    def updates(self, stream: IO[bytes]) -> Iterator[BookUpdate]:
        blanks: list[int] = []
        for text in self._lines(stream):
            if not text.strip():
                blanks.append(self.number)
                continue
            while blanks:
                self._bad("blank line", blanks.pop(0))
            try:
                update = self._update(text)
            except (ValueError, RecursionError) as error:
                self._bad(_reason(error))
            else:
                yield update

    def _lines(self, stream: IO[bytes]) -> Iterator[bytes]:
        """The stream's lines, counted; a gzip stream that is cut or damaged ends here as one bad line."""
        lines = iter(stream)
        while True:
            self.number += 1
            try:
                text = next(lines)
            except StopIteration:
                return
            except EOFError:
                return self._bad("the gzip data end too early: the file is cut")
            except (gzip.BadGzipFile, zlib.error) as error:
                return self._bad(f"the gzip data are damaged: {error}")
            yield text

    def _update(self, text: bytes) -> BookUpdate:
        row = _DECODER.decode(text)
        if row.symbol not in self.symbols:
            split_symbol(row.symbol)
            self.symbols.add(row.symbol)
        if row.ts_ns < self.last_ns:
            raise ValueError(f"ts_ns {row.ts_ns} goes back in time: a line before it has {self.last_ns}")
        self.last_ns = row.ts_ns
        return BookUpdate(row.ts_ns, row.venue, row.symbol, row.bids, row.asks, row.ts_event_ns)

    def _bad(self, what: str, number: int | None = None) -> None:
        error = CaptureError(f"{self.path}:{number or self.number}: {what}")
        if self.on_bad is None:
            raise error
        self.on_bad(error)


def _reason(error: Exception) -> str:
    """What is wrong, said of the line rather than of the parser."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason}"
    if isinstance(error, msgspec.ValidationError) or not isinstance(error, msgspec.DecodeError):
        return str(error)
    return f"not JSON: {error}"
