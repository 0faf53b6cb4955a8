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

    def arrays(self) -> tuple[Ints, Floats, Floats]:
        """Count, price and size."""
        return self.count, self.price, self.size

    def widen(self, width: int) -> None:
        """Make room for so many levels of every book."""
        missing = width - self.price.shape[2]
        if missing > 0:
            self.price, self.size = (np.pad(a, ((0, 0), (0, 0), (0, missing))) for a in (self.price, self.size))

    def blank(self, n: int) -> Side:
        """Room for n books, of any content."""
        shape = (n, self.price.shape[2])
        return Side(np.empty(n, np.int64), np.empty(shape), np.empty(shape))

    def rows(self, inst: Ints, column: Ints, wanted: Bools) -> Side:
        """The side of one book a row; empty where it is not `wanted`."""
        count = np.where(wanted, self.count[inst, column], 0)
        width = max(1, int(count.max(initial=1)))
        real = np.arange(width) < count[:, None]
        price, size = (table[inst, column, :width] for table in (self.price, self.size))
        return Side(count, np.where(real, price, 0.0), np.where(real, size, 0.0))
