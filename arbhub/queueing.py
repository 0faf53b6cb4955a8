"""The one bounded queue of a sender's link: what waits for the window to open.

Sans-I/O, and the same in feed, load driver and hub. Data are chunks of rows, each row with a key (instrument and
venue); control frames keep their place among them and are never dropped; urgent ones, which concern nothing that
waits, go before all. When the queue is full, the oldest rows
that a newer row of the same key supersedes are shed first, then the oldest; the caller answers them.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from arbhub.columns import Bools, Ints

P = TypeVar("P")


@dataclass(slots=True)
class Chunk(Generic[P]):
    """Rows of one payload: `rows` are those still wanted (None: all), `keys` one a wanted row."""

    payload: P
    keys: Ints
    rows: Ints | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def kept(self) -> Ints:
        """The wanted rows' numbers within the payload."""
        return np.arange(len(self.keys)) if self.rows is None else self.rows


@dataclass(frozen=True, slots=True)
class Control:
    """A frame that goes out in its place, whatever the window says."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Shed(Generic[P]):
    """Rows of a payload that were given up."""

    payload: P
    rows: Ints


def keys(instrument: Ints, venue: Ints) -> Ints:
    """One key a tick: newer ticks of the same key supersede older ones."""
    return instrument << 32 | venue


class LinkQueue(Generic[P]):
    """First in, first out, at most `max_rows` rows. `rows` waits now, `shed_rows` had to go since the beginning."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._items: deque[Chunk[P] | Control] = deque()
        self._urgent: list[bytes] = []
        self.rows = self.shed_rows = 0

    def __len__(self) -> int:
        return len(self._items) + len(self._urgent)

    def push(self, payload: P, key: Ints) -> list[Shed[P]]:
        """Queue a payload's rows, if there are any; what had to go for them is returned."""
        if not len(key):
            return []
        self._items.append(Chunk(payload, key))
        self.rows += len(key)
        if self.rows <= self._max_rows:
            return []
        shed = self._make_room()
        self.shed_rows += sum(len(part.rows) for part in shed)
        return shed

    def push_control(self, frame: bytes) -> None:
        """Queue a control frame behind what is there."""
        self._items.append(Control(frame))

    def push_urgent(self, frame: bytes) -> None:
        """Queue a control frame before what is there, but for earlier urgent ones."""
        self._urgent.append(frame)

    def pop_controls(self) -> list[bytes]:
        """The urgent frames, and the control frames at the head."""
        frames, self._urgent = self._urgent, []
        while self._items and isinstance(self._items[0], Control):
            frames.append(self._items.popleft().frame)  # type: ignore[union-attr]  # just looked at
        return frames

    def pop(self, max_rows: int, wanted: Callable[[P], bool] = lambda _: True) -> list[Chunk[P]]:
        """The chunks at the head that fit into `max_rows` (at least one), none behind a control frame.

        Chunks that are no longer `wanted` are dropped on the way.
        """
        taken: list[Chunk[P]] = []
        total = 0
        while self._items:
            head = self._items[0]
            if isinstance(head, Control) or (taken and total + len(head) > max_rows):
                break
            self._items.popleft()
            self.rows -= len(head)
            if wanted(head.payload):
                taken.append(head)
                total += len(head)
        return taken

    def clear(self) -> list[Shed[P]]:
        """Empty the queue, control frames too; the rows that were in it are returned."""
        gone = [Shed(c.payload, c.kept()) for c in self._items if isinstance(c, Chunk)]
        self._items.clear()
        self._urgent.clear()
        self.rows = 0
        return gone

    def _make_room(self) -> list[Shed[P]]:
        chunks = [item for item in self._items if isinstance(item, Chunk)]
        key = np.concatenate([chunk.keys for chunk in chunks])
        # A little more than needed, so that a full queue is not sorted anew for every row that comes.
        excess = self.rows - self._max_rows + self._max_rows // 16
        _, newest = np.unique(key[::-1], return_index=True)
        superseded = np.ones(len(key), np.bool_)
        superseded[len(key) - 1 - newest] = False
        go = superseded & (np.cumsum(superseded) <= excess)
        short = excess - int(go.sum())
        if self.rows - int(go.sum()) > self._max_rows:
            go |= ~superseded & (np.cumsum(~superseded) <= short)
        return self._remove(chunks, go)

    def _remove(self, chunks: list[Chunk[P]], go: Bools) -> list[Shed[P]]:
        shed: list[Shed[P]] = []
        at = 0
        for chunk in chunks:
            mine = go[at : at + len(chunk)]
            at += len(chunk)
            if mine.any():
                rows = chunk.kept()
                shed.append(Shed(chunk.payload, rows[mine]))
                chunk.rows, chunk.keys = rows[~mine], chunk.keys[~mine]
                self.rows -= len(rows) - len(chunk.rows)
        self._items = deque(i for i in self._items if isinstance(i, Control) or len(i))
        return shed
