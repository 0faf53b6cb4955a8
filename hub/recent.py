"""The latest ticks and what the books made of them, for a new configuration to be tried on.

Only references to what was made anyway are kept, by whole batches: about as many ticks as asked for, and at most
one batch more.
"""

from collections import deque
from collections.abc import Iterator
from itertools import groupby

from arbhub.columns import Ticks
from arbhub.rows import Tick, tick_columns
from hub.book import Resolved
from hub.rowbook import ResolvedRow
from hub.submissions import resolved_columns

Kept = tuple[Ticks | list[Tick], Resolved | list[ResolvedRow]]


class RecentTicks:
    """`limit` 0 keeps nothing."""

    def __init__(self, limit: int) -> None:
        self._limit, self._ticks = limit, 0
        self._batches: deque[Kept] = deque()

    def keep(self, ticks: Ticks | list[Tick], resolved: Resolved | list[ResolvedRow]) -> None:
        """Take a batch in; the oldest go for it."""
        batches = self._batches
        batches.append((ticks, resolved))
        self._ticks += len(ticks)
        while batches and self._ticks - len(batches[0][0]) >= self._limit:
            self._ticks -= len(batches.popleft()[0])

    def cut(self, rows: int) -> list[tuple[Ticks, Resolved]]:
        """All of them in order, as columns of at most so many ticks, short batches joined."""
        found: list[tuple[Ticks, Resolved]] = []
        for _, group in groupby(tuple(self._batches), lambda kept: isinstance(kept[0], list)):
            found += _cut(list(group), rows)
        return found


def _cut(batches: list[Kept], rows: int) -> Iterator[tuple[Ticks, Resolved]]:
    """Batches of one kind."""
    ticks: list[Tick] = []
    resolved: list[ResolvedRow] = []
    for some, theirs in batches:
        if isinstance(some, Ticks) and isinstance(theirs, Resolved):
            for start in range(0, len(some), rows):
                yield some.slice(start, start + rows), theirs.slice(start, min(start + rows, len(some)))
        elif isinstance(some, list) and isinstance(theirs, list):
            ticks += some
            resolved += theirs
    for start in range(0, len(ticks), rows):
        yield tick_columns(ticks[start : start + rows]), resolved_columns(resolved[start : start + rows])
