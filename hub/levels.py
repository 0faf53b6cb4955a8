"""Stored levels: one side of every (instrument, venue)'s book, as of the last batch."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from arbhub.columns import Bools, Floats, Ints, Side

Scalar = TypeVar("Scalar", np.bool_, np.int64, np.float64)


def moved(old: NDArray[Scalar], shape: tuple[int, int], at: Ints, fill: float) -> NDArray[Scalar]:
    """A table over (instruments, venues) grown to `shape`, its columns put to `at`; `fill` where it is new."""
    new = np.full((*shape, *old.shape[2:]), fill, old.dtype)
    new[: len(old), at] = old
    return new


class Levels:
    """count (instruments, venues), price and size (instruments, venues, levels); zeros beyond a book's count."""

    def __init__(self) -> None:
        self.count: Ints = np.zeros((0, 0), np.int64)
        self.price: Floats = np.zeros((0, 0, 1))
        self.size: Floats = np.zeros((0, 0, 1))

    def resize(self, shape: tuple[int, int], at: Ints) -> None:
        """Grow as `moved` does."""
        self.count = moved(self.count, shape, at, 0)
        self.price, self.size = moved(self.price, shape, at, 0.0), moved(self.size, shape, at, 0.0)

    def put(self, inst: Ints, column: Ints, side: Side) -> None:
        """Replace the side of one book a row; no book twice."""
        width, missing = side.price.shape[1], side.price.shape[1] - self.price.shape[2]
        if missing > 0:
            self.price, self.size = (np.pad(a, ((0, 0), (0, 0), (0, missing))) for a in (self.price, self.size))
        self.count[inst, column] = side.count
        for table, levels in ((self.price, side.price), (self.size, side.size)):
            table[inst, column, :width] = levels
            if missing < 0:
                table[inst, column, width:] = 0.0

    def rows(self, inst: Ints, column: Ints, wanted: Bools) -> Side:
        """The side of one book a row; empty where it is not `wanted`."""
        count = np.where(wanted, self.count[inst, column], 0)
        width = max(1, int(count.max(initial=1)))
        real = np.arange(width) < count[:, None]
        price, size = (table[inst, column, :width] for table in (self.price, self.size))
        return Side(count, np.where(real, price, 0.0), np.where(real, size, 0.0))

    def as_of(self, inst: Ints, column: Ints, side: Side, row: Ints) -> Side:
        """Each book's side: row `row` of `side`, or what is stored where there is no such row."""
        fresh = row < len(side.count)
        new = np.count_nonzero(fresh)
        if new == len(fresh):
            return side.take(row)
        if not new:
            return self._taken(inst, column)
        at, old = np.flatnonzero(fresh), np.flatnonzero(~fresh)
        return _mixed((at, side.take(row.take(at))), (old, self._taken(inst.take(old), column.take(old))))

    def _taken(self, inst: Ints, column: Ints) -> Side:
        count = self.count[inst, column]
        width = int(count.max(initial=1))
        return Side(count, self.price[inst, column, :width], self.size[inst, column, :width])


def _mixed(*parts: tuple[Ints, Side]) -> Side:
    """Sides put together: the rows of each part at their places, no wider than their books need."""
    n = sum(len(at) for at, _ in parts)
    count = np.empty(n, np.int64)
    for at, side in parts:
        count[at] = side.count
    width = int(count.max(initial=1))
    price, size = np.zeros((n, width)), np.zeros((n, width))
    for at, side in parts:
        deep = min(width, side.price.shape[1])
        price[at, :deep], size[at, :deep] = side.price[:, :deep], side.size[:, :deep]
    return Side(count, price, size)
