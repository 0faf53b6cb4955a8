"""Single evaluations: those that come while others are being judged wait, and are judged together in one round.

A round costs the same events whether it asks about one tick or about fifty, and what it takes from the loop is not
there for taking calls in. So rounds follow one another, each with all that wait, and between two of them the hub has
as long for its callers as the last one took. Who comes alone waits for nothing.

    ask ─▶ waiting ─▶ one round, a reply each
             │ as soon as none is under way and the last one is over for as long as it took,
             └ or when the first of them is out of patience, whatever the round under way does

PATIENCE is a part of the time that an evaluation has. Only those go together whose times are alike, within a factor
of two, for their round has the time of the one among them that has least: who is in a hurry cuts nobody else's time
short. The timer is for pacing only: that it may be early by half a millisecond does no harm.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import structlog

from arbhub.rows import Tick, decision_rows
from hub.replies import Decided, Reply

PATIENCE = 0.25

Judge = Callable[[list[Tick], Reply, int], None]
"""Opens a round for ticks, each judged as if it were alone; the last is its time in ns. Replies to all at once."""

log = structlog.get_logger()


class Evaluation(NamedTuple):
    """One tick that waits; it came with `allowed_ns` of time at `asked_ns`, by the monotonic clock."""

    tick: Tick
    reply: Reply
    asked_ns: int
    allowed_ns: int


class Evaluations:
    """All that wait, by how much time they have. `max_rows` bounds a round, and with it what waits."""

    def __init__(self, judge: Judge, max_rows: int) -> None:
        self._judge, self._max_rows = judge, max_rows
        self._groups: dict[int, _Group] = {}

    def ask(self, tick: Tick, reply: Reply, allowed_ns: int) -> None:
        """Have one tick judged within the time given. `reply`, which must not raise, gets its one decision.

        It gets none where judging failed by a bug of ours, which the log has.
        """
        alike = allowed_ns.bit_length()
        group = self._groups.get(alike)
        if group is None:
            group = self._groups[alike] = _Group(self._judge, self._max_rows)
        group.add(Evaluation(tick, reply, time.monotonic_ns(), allowed_ns))

    def open_all(self) -> None:
        """Let nobody wait any longer: what they are to be judged by is about to change."""
        for group in self._groups.values():
            group.open_all()


class _Group:
    """Evaluations with about the same time: those that wait, and those of the rounds under way, by number."""

    def __init__(self, judge: Judge, max_rows: int) -> None:
        self._judge, self._max_rows = judge, max_rows
        self._waiting: list[Evaluation] = []
        self._under_way: dict[int, list[Evaluation]] = {}
        self._next = self._opened_ns = self._rested_ns = 0
        self._opening: asyncio.Handle | None = None

    def add(self, evaluation: Evaluation) -> None:
        """Let it wait until the next round."""
        self._waiting.append(evaluation)
        if self._opening is None or len(self._waiting) == self._max_rows:
            self._arrange()

    def open_all(self) -> None:
        """In as many rounds as it takes, now."""
        while self._waiting:
            self._cancel()
            self._open()

    def _cancel(self) -> None:
        if self._opening is not None:
            self._opening.cancel()

    def _arrange(self) -> None:
        """Have the next round opened when it is time, and never before the end of the loop's turn."""
        self._cancel()
        first, loop = self._waiting[0], asyncio.get_running_loop()
        wait_ns = 0
        if len(self._waiting) < self._max_rows:
            patient_ns = first.asked_ns + int(first.allowed_ns * PATIENCE)
            wait_ns = (patient_ns if self._under_way else min(patient_ns, self._rested_ns)) - time.monotonic_ns()
        self._opening = loop.call_later(wait_ns / 1e9, self._open) if wait_ns > 0 else loop.call_soon(self._open)

    def _open(self) -> None:
        self._opening = None
        together, self._waiting = self._waiting[: self._max_rows], self._waiting[self._max_rows :]
        number, self._opened_ns = self._next, time.monotonic_ns()
        self._next += 1
        self._under_way[number] = together
        if self._waiting:
            self._arrange()
        due_ns = min(e.asked_ns + e.allowed_ns for e in together)
        try:
            reply = partial(self._decided, number)
            self._judge([e.tick for e in together], reply, max(0, due_ns - self._opened_ns))
        except Exception:
            log.exception("evaluations could not be judged", ticks=len(together))
            for evaluation in self._ended(number):
                evaluation.reply([])

    def _decided(self, number: int, decided: Decided) -> None:
        for evaluation, decision in zip(self._ended(number), decision_rows(decided), strict=False):
            evaluation.reply([decision._replace(sequence=0)])  # its place in a round is nobody's business

    def _ended(self, number: int) -> Sequence[Evaluation]:
        """Those of a round, once: what comes after its end is for nobody."""
        together, now_ns = self._under_way.pop(number, ()), time.monotonic_ns()
        self._rested_ns = now_ns + (now_ns - self._opened_ns)
        if self._waiting and not self._under_way:
            self._arrange()
        return together
