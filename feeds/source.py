"""Runs the source that the settings ask for, and the recorder beside the sink if they do."""

import contextlib
from collections.abc import Iterator

import structlog

from arbhub.reference import ReferenceData
from arbhub.settings.feed import FeedSettings
from feeds import replay
from feeds.capture import SkippedLines
from feeds.market import BookUpdate, Sink
from feeds.recorder import Recorder

_log = structlog.get_logger()


class Both:
    """Hands everything to two sinks, the first one first."""

    def __init__(self, first: Sink, second: Sink) -> None:
        self._sinks = first, second

    def reference(self, data: ReferenceData) -> None:
        """Take reference data in."""
        for sink in self._sinks:
            sink.reference(data)

    def publish(self, update: BookUpdate) -> None:
        """Take one update in."""
        for sink in self._sinks:
            sink.publish(update)


async def run(settings: FeedSettings, depth: int, sink: Sink) -> None:
    """Feed `sink` until cancelled, or until the captures end; `depth` is the levels a side of live books.

    ValueError (a CaptureError among them) and OSError say in a sentence what cannot be used.
    """
    with _recorded(settings, sink) as target:
        if settings.source == "ccxt":
            from feeds import live  # ccxt is half a second and 80 MB that a replay can do without

            await live.run(settings, depth, target)
        else:
            await _replay(settings, target)


async def _replay(settings: FeedSettings, sink: Sink) -> None:
    skipped = SkippedLines()
    played = await replay.play(
        settings.captures,
        sink,
        pace=settings.pace,
        restamp=settings.restamp,
        on_bad=skipped if settings.skip_bad else None,
    )
    _log.info("captures played", updates=played, skipped=skipped.count, first_skipped=str(skipped.first or ""))


@contextlib.contextmanager
def _recorded(settings: FeedSettings, sink: Sink) -> Iterator[Sink]:
    if settings.record is None:
        yield sink
        return
    with Recorder(settings.record) as recorder:
        yield Both(sink, recorder)
