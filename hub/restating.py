"""Every stored book as a tick, for an executor that connects: its paper books begin where the hub's are.

Without this a decision on two legs could meet a book on one side only, and be executed by half.
"""

import numpy as np

from arbhub.columns import Side, Ticks
from hub.book import NO_TICK, Books
from hub.levels import Levels


def stored_ticks(books: Books) -> Ticks:
    """The last tick of every book, in the order of time; a book that is not usable comes as an empty one."""
    inst, column = np.nonzero(books._ts != NO_TICK)  # a friend of Books: it reads what only Books writes
    order = np.argsort(books._ts[inst, column], kind="stable")
    inst, column = inst[order], column[order]
    usable = books._usable[inst, column]
    return Ticks(
        books._ts[inst, column],
        inst,
        books._venue[column],
        _side(books._bids, inst, column, usable),
        _side(books._asks, inst, column, usable),
        np.zeros(len(inst), np.int64),
    )


def _side(levels: Levels, inst: "np.ndarray", column: "np.ndarray", usable: "np.ndarray") -> Side:
    count = np.where(usable, levels.count[inst, column], 0)
    width = max(1, int(count.max(initial=1)))
    real = np.arange(width) < count[:, None]
    price, size = levels.price[inst, column, :width], levels.size[inst, column, :width]
    return Side(count, np.where(real, price, 0.0), np.where(real, size, 0.0))
