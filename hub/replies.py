"""How decisions go back to whoever asked: one call of a `Reply` for what was asked at once."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np

from arbhub.columns import Decisions
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


def _joined(parts: list[Decisions]) -> Decisions:
    """All rows in order. The reasons of one hub are one list, so those of the last part name them all."""
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(Decisions)
        if f.name != "reasons"
    }
    return Decisions(**columns, reasons=parts[-1].reasons)
