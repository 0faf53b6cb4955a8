"""What became of every tick of a run: its answer, when it came, how long the hub held it. No I/O, no clock.

Row i is row i of the schedule. Every row that was sent ends with exactly one fate; `finish` makes those that were never
answered LOST. During the run only arrays are written; what they add up to is found afterwards.
"""

from collections.abc import Sequence

import numpy as np

from arbhub.columns import Bools, Ints
from loadtest.schedule import Schedule

OPEN, LOST, SHED, EXPIRED, APPROVED = range(5)
OWN = ("open", "lost", "SHED", "expired", "")


class Outcome:
    """Times in ns, shape (n,). `fate` is a code whose name is in `names`: our own first, then the hub's reasons.

    `latency_ns` runs from the intended send, `held_ns` from the hub's receipt to its answer, `lateness_ns` is how much
    later the driver handed a tick over than it could have: than it was meant to be, or than the way was free for it.
    """

    def __init__(self, schedule: Schedule) -> None:
        n = len(schedule.at_ns)
        self.latency_ns, self.held_ns, self.lateness_ns = (np.zeros(n, np.int64) for _ in range(3))
        self.fate = np.zeros(n, np.int16)
        self.names = list(OWN)
        self._codes = {name: code for code, name in enumerate(OWN)}
        self._at_ns = schedule.at_ns
        self._measured = slice(schedule.measured, n)

    # During the run. `now_ns` is since the clock's start.

    def handed_over(self, first: int, stop: int, now_ns: int, free_ns: int = 0) -> None:
        """Rows `first` to `stop` are sent; the way to the hub was free since `free_ns`."""
        self.lateness_ns[first:stop] = now_ns - np.maximum(self._at_ns[first:stop], free_ns)

    def answered(self, rows: Ints, reason: Ints, names: Sequence[str], held_ns: int, now_ns: int) -> None:
        """The hub's answer to rows: `reason` indexes `names`, in which "" is an approval."""
        codes = np.array([self._code(name) for name in names], np.int16)
        self.fate[rows] = codes[reason]
        self.latency_ns[rows] = now_ns - self._at_ns[rows]
        self.held_ns[rows] = held_ns

    def decided(self, row: int, reason: str, held_ns: int, now_ns: int) -> None:
        """The hub's answer to one row; `reason` "" is an approval."""
        self.fate[row] = self._code(reason)
        self.latency_ns[row] = now_ns - self._at_ns[row]
        self.held_ns[row] = held_ns

    def expired(self, row: int, now_ns: int) -> None:
        """A call that its deadline ended: it has a latency, the whole of its time, and no decision."""
        self.fate[row] = EXPIRED
        self.latency_ns[row] = now_ns - self._at_ns[row]

    def gone(self, rows: Ints | int, fate: int) -> None:
        """Rows that were shed or lost."""
        self.fate[rows] = fate

    def finish(self) -> None:
        """No more answers will come."""
        self.fate[self.fate == OPEN] = LOST

    def _code(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]

    # Afterwards, of the measured part.

    @property
    def sent(self) -> int:
        """How many ticks were to be sent, and were."""
        return self._measured.stop - self._measured.start

    def by_fate(self) -> dict[str, int]:
        """How many ticks had each fate that occurred."""
        counts = np.bincount(self.fate[self._measured], minlength=len(self.names)).tolist()
        return {name: count for name, count in zip(self.names, counts, strict=True) if count}

    def latencies_ns(self) -> Ints:
        """From the intended send, of ticks that were decided or whose call expired."""
        latencies: Ints = self.latency_ns[self._measured][self._decided | (self.fate[self._measured] == EXPIRED)]
        return latencies

    def holdings_ns(self) -> Ints:
        """From the hub's receipt to its answer, of ticks that were decided."""
        holdings: Ints = self.held_ns[self._measured][self._decided]
        return holdings

    def latenesses_ns(self) -> Ints:
        """Of every tick."""
        return self.lateness_ns[self._measured]

    @property
    def _decided(self) -> Bools:
        decided: Bools = self.fate[self._measured] >= APPROVED
        return decided
