"""The latest tick of every (instrument, venue), noted for many ticks at once and looked up when a book is asked for.
Pure. Most books are replaced many times before anybody looks at them, so a tick leaves a mark here and nothing else.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from arbhub.columns import Bools, Ints, Ticks
from arbhub.reference import Universe
from executor.orders import Key


@dataclass(frozen=True, slots=True, eq=False)
class Noted:
    """Ticks noted together, and when: stamps count up."""

    ticks: Ticks
    stamp: int


class LatestTicks:
    """Ids are those of one universe, which grows in place."""

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self._shape = (0, 0)
        self._noted = np.empty(0, np.object_)  # by instrument * venues + venue; None: no tick yet
        self._row: Ints = np.zeros(0, np.int64)

    def note(self, ticks: Ticks, start: int, stop: int, stamp: int) -> None:
        """Rows start to stop are the latest ticks now; of the same book the last one."""
        self._follow_universe()
        at = ticks.instrument[start:stop] * self._shape[1] + ticks.venue[start:stop]
        self._noted[at] = Noted(ticks, stamp)
        self._row[at] = np.arange(start, stop)  # in order: the last of equal places stays

    def of(self, key: Key) -> tuple[Noted, int] | None:
        """Where the latest tick of a (venue, symbol) is; None where there is none."""
        u = self._universe
        venue, instrument = u.venue_ids.get(key[0], -1), u.symbol_ids.get(key[1], -1)
        if not (0 <= venue < self._shape[1] and 0 <= instrument < self._shape[0]):
            return None
        at = instrument * self._shape[1] + venue
        noted = self._noted[at]
        return None if noted is None else (noted, int(self._row[at]))

    def __iter__(self) -> Iterator[Key]:
        """Every (venue, symbol) that has ticked."""
        for at in np.flatnonzero(self._noted != None).tolist():  # noqa: E711  # element by element
            instrument, venue = divmod(at, self._shape[1])
            yield self._universe.venues[venue], self._universe.symbols[instrument]

    def _follow_universe(self) -> None:
        old, new = self._shape, (len(self._universe.symbols), len(self._universe.venues))
        if new == old:
            return
        noted, row = np.empty(new, np.object_), np.zeros(new, np.int64)
        noted[: old[0], : old[1]], row[: old[0], : old[1]] = self._noted.reshape(old), self._row.reshape(old)
        self._shape, self._noted, self._row = new, noted.ravel(), row.ravel()


def rows_of(keys: Iterable[Key], universe: Universe, ticks: Ticks, start: int, stop: int) -> Ints:
    """The rows from start to stop whose book is one of `keys`, (venue, symbol) each, in order."""
    width = len(universe.venues)
    ids = ((universe.symbol_ids.get(symbol), universe.venue_ids.get(venue)) for venue, symbol in keys)
    wanted = [i * width + v for i, v in ids if i is not None and v is not None]
    at = ticks.instrument[start:stop] * width + ticks.venue[start:stop]
    return start + np.flatnonzero(np.isin(at, wanted))


def first_row(holds: Bools, start: int) -> int:
    """The first row from `start` on where it holds; the number of rows where it does nowhere."""
    at = start + int(holds[start:].argmax()) if start < len(holds) else start
    return at if at < len(holds) and holds[at] else len(holds)
