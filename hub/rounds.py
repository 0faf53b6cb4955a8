"""Rounds: which verdicts are in, what has expired, what is done. Sans-I/O: time is an argument.

A round is one batch of opportunities asked of every active engine at once. It is over when each engine has
answered, is known to be gone, or has run out of time; whichever comes first for each. Then it is handed out
once and forgotten: verdicts that come later, twice, or for rounds nobody knows are named and have no effect.

    open ──verdicts / lost / expire──▶ over ──▶ handed out by `finished`

Times are monotonic nanoseconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

import numpy as np

from arbhub.columns import Ints
from arbhub.rows import Answer

T = TypeVar("T")


class Arrival(Enum):
    """What became of an answer."""

    COUNTED = "counted"
    LATE = "late"  # the engine's time in this round was up, or it had been given up
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"  # no such round, any more or ever
    UNASKED = "unasked"  # not an engine of this round
    MALFORMED = "malformed"  # not an answer to what was asked


@dataclass(slots=True)
class Round(Generic[T]):
    """One round. `payload` is the opener's own; `answers` has an engine's verdicts once they are in."""

    number: int
    rows: int
    payload: T
    opened_ns: int
    due_ns: dict[str, int]
    """Until when each engine that still owes an answer may give it."""
    asked: frozenset[str]
    hurried: bool = False
    """It has not half the time that rounds have: who does not answer in it may be well all the same."""
    spared: Sequence[str] = ()
    """Those of the asked who are not asked in fact, and whose silence is known."""
    answers: dict[str, Answer] = field(default_factory=dict)
    answered_ns: dict[str, int] = field(default_factory=dict)
    """When they came."""
    shed: list[Ints] = field(default_factory=list)
    """Rows that were shed on the way to an engine."""


class Rounds(Generic[T]):
    """The rounds under way. Engines' budgets are their share of a round's time, in nanoseconds."""

    def __init__(self, deadline_ns: int, budgets_ns: Mapping[str, int] | None = None) -> None:
        self._deadline_ns = deadline_ns
        self._budgets_ns = dict(budgets_ns or {})
        self._open: dict[int, Round[T]] = {}
        self._over: list[Round[T]] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._open)

    def configure(self, deadline_ns: int, budgets_ns: Mapping[str, int]) -> None:
        """The time that rounds have from the next one on."""
        self._deadline_ns, self._budgets_ns = deadline_ns, dict(budgets_ns)

    def asks(self, number: int, engines: Iterable[str]) -> bool:
        """Whether any of these engines has a say in a round that is open."""
        round_ = self._open.get(number)
        return round_ is not None and not round_.asked.isdisjoint(engines)

    def allowed_ns(self, deadline_ns: int | None) -> int:
        """How long a round may take for somebody who waits for `deadline_ns`, or for as long as we like (None)."""
        return self._deadline_ns if deadline_ns is None else min(deadline_ns, self._deadline_ns)

    def open(
        self,
        engines: Iterable[str],
        rows: int,
        payload: T,
        now_ns: int,
        deadline_ns: int | None = None,
        spared: Sequence[str] = (),
    ) -> Round[T]:
        """Begin a round; `deadline_ns` shortens its time. It waits for no answer of the `spared`, who keep their say.

        A round that waits for nobody is over at once.
        """
        allowed = self.allowed_ns(deadline_ns)
        asked, hurried = frozenset(engines), 2 * allowed < self._deadline_ns
        due = {e: now_ns + min(allowed, self._budgets_ns.get(e, allowed)) for e in asked if e not in spared}
        round_ = Round(self._next, rows, payload, now_ns, due, asked, hurried, spared)
        self._next += 1
        self._open[round_.number] = round_
        self._settle(round_)
        return round_

    def verdicts(self, engine: str, number: int, answer: Answer, now_ns: int) -> Arrival:
        """Take an engine's answer to a round."""
        round_ = self._open.get(number)
        if round_ is None:
            return Arrival.UNKNOWN
        if engine in round_.answers:
            return Arrival.DUPLICATE
        if engine not in round_.asked:
            return Arrival.UNASKED
        if now_ns >= round_.due_ns.get(engine, now_ns):
            return Arrival.LATE
        if len(answer) != round_.rows:
            return Arrival.MALFORMED
        del round_.due_ns[engine]
        round_.answers[engine], round_.answered_ns[engine] = answer, now_ns
        self._settle(round_)
        return Arrival.COUNTED

    def lost(self, engine: str, number: int | None = None) -> bool:
        """Wait no longer for an engine: in one round, or in all that are open.

        Whether it was waited for in one that was not hurried.
        """
        numbers, waited = list(self._open) if number is None else [number], False
        for n in numbers:
            round_ = self._open.get(n)
            if round_ is not None and round_.due_ns.pop(engine, None) is not None:
                waited |= not round_.hurried
                self._settle(round_)
        return waited

    def shed(self, number: int, rows: Ints) -> None:
        """Rows of a round that will not reach an engine; they are decided as shed, whatever else is said.

        Once that is all of them, nobody's answer matters and none may ever come: the round is over.
        """
        round_ = self._open.get(number)
        if round_ is not None:
            round_.shed.append(rows)
            if len(np.unique(np.concatenate(round_.shed))) == round_.rows:
                round_.due_ns.clear()
                self._settle(round_)

    @property
    def oldest(self) -> int | None:
        """The first round that is open; None where none is."""
        return next(iter(self._open), None)

    def is_open(self, number: int) -> bool:
        """Whether anybody still waits for this round."""
        return number in self._open

    def due_ns(self, number: int, engines: Iterable[str]) -> int:
        """Until when the last of these engines may answer a round; 0 where none of them is waited for."""
        round_ = self._open.get(number)
        return 0 if round_ is None else max([round_.due_ns.get(engine, 0) for engine in engines])

    def expire(self, now_ns: int) -> list[str]:
        """Wait no longer for whoever is out of time: those engines, once for each round that was not hurried."""
        silent: list[str] = []
        for round_ in list(self._open.values()):
            out = [engine for engine, due in round_.due_ns.items() if now_ns >= due]
            for engine in out:
                del round_.due_ns[engine]
            silent += () if round_.hurried else out
            self._settle(round_)
        return silent

    def next_expiry_ns(self) -> int | None:
        """When `expire` has something to do next; None while nothing is open."""
        return min((due for r in self._open.values() for due in r.due_ns.values()), default=None)

    def finished(self) -> list[Round[T]]:
        """The rounds that are over, each handed out once, in the order in which they were opened."""
        over, self._over = self._over, []
        return sorted(over, key=lambda round_: round_.number)

    def _settle(self, round_: Round[T]) -> None:
        if not round_.due_ns and self._open.pop(round_.number, None) is not None:
            self._over.append(round_)
