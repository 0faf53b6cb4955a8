"""How decisions go back to whoever asked: one call of a `Reply` for what was asked at once."""

from collections.abc import Callable, Iterator
from dataclasses import fields

import numpy as np

from arbhub.columns import Decisions, Ticks
from arbhub.rows import Decision

Decided = Decisions | list[Decision]
Reply = Callable[[Decided], None]


class Joined:
    """Collects the replies to the parts of a batch, in any order, and replies to the whole when all are there."""

    def __init__(self, parts: int, reply: Reply) -> None:
        self._parts: list[Decisions | None] = [None] * parts
        self._reply = reply

    def part(self, number: int) -> Reply:
        """The reply of one part."""

        def take(decided: Decided) -> None:
            if not isinstance(decided, Decisions):
                raise TypeError("columns were submitted, and rows came back")
            self._parts[number] = decided
            known = [part for part in self._parts if part is not None]
            if len(known) == len(self._parts):
                self._reply(_joined(known))

        return take


def in_parts(ticks: Ticks, max_rows: int, reply: Reply) -> Iterator[tuple[Ticks, Reply]]:
    """Ticks in parts of at most so many, each with whom to answer; `reply` is called once all of them are."""
    if len(ticks) <= max_rows:
        yield ticks, reply
        return
    starts = range(0, len(ticks), max_rows)
    joined = Joined(len(starts), reply)
    for number, start in enumerate(starts):
        yield ticks.slice(start, start + max_rows), joined.part(number)


def _joined(parts: list[Decisions]) -> Decisions:
    """All rows in order. The reasons of one hub are one list, so those of the last part name them all."""
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(Decisions)
        if f.name != "reasons"
    }
    return Decisions(**columns, reasons=parts[-1].reasons)
