"""Plays captures into a sink, at the recorded pace, faster, or as fast as possible.

What is played is what is in the files, in merged order; only the stamps are moved to the present (unless told
otherwise), so that the ages downstream are real. Late updates are published at once, so a pace that cannot be
held loses no update, only its timing.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from arbhub.reference import Listing, ReferenceData
from feeds.capture import OnBad, merge
from feeds.market import BookUpdate, Sink

_BURST = 64  # updates published before others on the event loop get a turn


async def play(
    paths: Sequence[Path | str],
    sink: Sink,
    *,
    pace: float = 1.0,
    restamp: bool = True,
    reference: ReferenceData | None = None,
    on_bad: OnBad | None = None,
) -> int:
    """Publish the captures' updates and return how many; CaptureError as `feeds.capture.read`.

    `pace` is the speed, inf for as fast as possible. Without `reference` the files are read once before, to
    state what occurs in them.
    """
    if reference is None:
        reference = await asyncio.to_thread(survey, paths, on_bad)
        on_bad = _ignore if on_bad else None  # each bad line is reported once
    sink.reference(reference)
    count = 0
    begun_s, first_ns = time.monotonic(), None
    for update in merge(paths, on_bad):
        first_ns = update.ts_ns if first_ns is None else first_ns
        wait_s = begun_s + (update.ts_ns - first_ns) / 1e9 / pace - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        elif count % _BURST == 0:
            await asyncio.sleep(0)
        sink.publish(restamped(update, time.time_ns()) if restamp else update)
        count += 1
    return count


def survey(paths: Iterable[Path | str], on_bad: OnBad | None = None) -> ReferenceData:
    """The venues, instruments and listings that occur, in that order; nothing is known of fees or lots."""
    listings = {(update.venue, update.symbol): None for update in merge(paths, on_bad)}
    return ReferenceData(
        venues=tuple(dict.fromkeys(venue for venue, _ in listings)),
        symbols=tuple(dict.fromkeys(symbol for _, symbol in listings)),
        listings=tuple(Listing(venue, symbol) for venue, symbol in listings),
    )


def restamped(update: BookUpdate, now_ns: int) -> BookUpdate:
    """The update as if received at `now_ns`, the venue's time as far before it as it was."""
    event_ns = update.ts_event_ns
    if event_ns is not None:
        event_ns += now_ns - update.ts_ns
    return replace(update, ts_ns=now_ns, ts_event_ns=event_ns)


def _ignore(_: Exception) -> None:
    """A bad line that has been reported already."""
