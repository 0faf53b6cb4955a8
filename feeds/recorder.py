"""A sink that writes what it is given as captures: gzipped, rotated by size and time, sortable by name.

A file is named by the time of its first line and is `.part` until it is finished, so whatever ends in `.gz`
is whole. Each begins with the books as they stand and so replays alone. What is written is flushed in a form
that can be unpacked every `flush_seconds`: after a kill the `.part` file holds everything up to the last
flush and reads as a cut capture (`--skip-bad`). Such a leftover is reported at the next start, never touched.

A disk that fails ends the recording, with an error in the log, and not the feed: trading needs no recording.
Lines never go back in time, as captures must not: should the clock be set back, updates get the last time.
Writing is done in the event loop: a line is some 2 kB into the page cache, less than handing it to a thread.
"""

import gzip
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import structlog

from arbhub.reference import ReferenceData
from arbhub.settings.feed import RecordSettings
from feeds.capture import line
from feeds.market import BookUpdate

_SUFFIX = ".jsonl.gz"
_PART = ".part"
_LEVEL = 5  # of compression: nearly as small as 9 at a third of the work
_log = structlog.get_logger()


class Recorder:
    """Records updates into `settings.directory`, made if missing; `close` finishes the last file.

    OSError where the directory cannot be used. Use as a context manager or call `close`.
    """

    def __init__(self, settings: RecordSettings) -> None:
        self._settings = settings
        self._books: dict[tuple[str, str], BookUpdate] = {}
        self._file: _File | None = None
        self._last_ns = -(2**63)
        self._failed = False
        settings.directory.mkdir(parents=True, exist_ok=True)
        for leftover in sorted(settings.directory.glob(f"*{_SUFFIX}{_PART}")):
            _log.warning("unfinished recording left as it is", file=str(leftover))

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reference(self, data: ReferenceData) -> None:
        """Nothing: a capture holds books only."""

    def publish(self, update: BookUpdate) -> None:
        """Write one update, into a new file if the present one is full."""
        if self._failed:
            return
        if update.ts_ns < self._last_ns:
            update = replace(update, ts_ns=self._last_ns)
        self._last_ns = update.ts_ns
        try:
            self._write(update)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._failed = True
        _log.error("recording has ended", directory=str(self._settings.directory), error=str(error))

    def _write(self, update: BookUpdate) -> None:
        if self._file is not None and self._file.full(update.ts_ns):
            self._finish()
        if self._file is None:
            self._file = _File(self._settings, update.ts_ns)
            for book in self._standing(update.ts_ns):
                self._file.write(book)
        self._file.write(update)
        self._books[update.venue, update.symbol] = update

    def close(self) -> None:
        """Finish the present file; the next update begins another."""
        try:
            self._finish()
        except OSError as error:
            self._fail(error)

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is not None and not self._failed:
            file.finish()

    def _standing(self, now_ns: int) -> list[BookUpdate]:
        """The books as they are, in order of time.

        Only those of silent venues get a new time: their age means nothing, and may be hours that a paced
        replay would wait for.
        """
        books = [replace(book, ts_ns=now_ns) if book.silent else book for book in self._books.values()]
        return sorted(books, key=lambda book: book.ts_ns)


class _File:
    """One capture being written."""

    def __init__(self, settings: RecordSettings, begun_ns: int) -> None:
        self._settings, self._begun_ns, self._flushed_ns = settings, begun_ns, begun_ns
        self._path = _free_path(settings.directory, begun_ns)
        self._raw: BinaryIO = self._path.with_name(self._path.name + _PART).open("xb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=self._raw, mtime=0)

    def full(self, now_ns: int) -> bool:
        """Whether size or time asks for the next file."""
        lasted_s = (now_ns - self._begun_ns) / 1e9
        return self._raw.tell() >= self._settings.max_bytes or lasted_s >= self._settings.max_seconds

    def write(self, update: BookUpdate) -> None:
        """Add a line, and flush if it is time to."""
        self._gzip.write(line(update))
        if (update.ts_ns - self._flushed_ns) / 1e9 >= self._settings.flush_seconds:
            self._flushed_ns = update.ts_ns
            self._gzip.flush()
            self._raw.flush()

    def finish(self) -> None:
        """Close the file and give it its name."""
        self._gzip.close()
        self._raw.close()
        Path(self._raw.name).rename(self._path)


def _free_path(directory: Path, begun_ns: int) -> Path:
    """A name by time that is not taken, whether by a finished file or an unfinished one."""
    seconds, ns = divmod(begun_ns, 1_000_000_000)
    stem = f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{ns:09d}Z"
    number = 0
    while True:
        path = directory / f"{stem}-{number:03d}{_SUFFIX}"
        if not path.exists() and not path.with_name(path.name + _PART).exists():
            return path
        number += 1
