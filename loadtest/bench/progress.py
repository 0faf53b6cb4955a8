"""Which case and run is on, and about how long it will take yet: a status line, or lines where there is no terminal."""

import time
from collections.abc import Iterable

from rich.console import Console

from loadtest.bench.case import Case
from loadtest.bench.wording import duration


class Remaining:
    """The time left, in seconds: what is planned for the cases to come, at the pace of those that are over."""

    def __init__(self, planned_s: Iterable[float]) -> None:
        self._to_come = list(planned_s)
        self._planned = self._taken = 0.0

    def over(self, took_s: float) -> None:
        """The case at hand is over."""
        self._planned += self._to_come.pop(0)
        self._taken += took_s

    def left_s(self, elapsed_s: float) -> float:
        """With so long spent on the case at hand."""
        pace = self._taken / self._planned if self._planned else 1.0
        at_hand, later = self._to_come[0], sum(self._to_come[1:])
        return max(0.0, at_hand * pace - elapsed_s) + later * pace


class Progress:
    """What the command shows while it measures."""

    def __init__(self, cases: list[Case], console: Console) -> None:
        self._console, self._count, self._number = console, len(cases), 0
        self._remaining = Remaining(case.planned_s for case in cases)
        self._title, self._began = "", 0.0
        # One update a second: the cores are for what is measured.
        self._status = console.status("", refresh_per_second=1) if console.is_terminal else None

    def begin(self, case: Case) -> None:
        """A case begins."""
        self._number += 1
        self._title, self._began = case.title, time.monotonic()
        if self._status:
            self._status.start()
        self.tell("starting services")

    def tell(self, what: str) -> None:
        """What it is doing now."""
        left = duration(self._remaining.left_s(time.monotonic() - self._began))
        text = f"[{self._number}/{self._count}] {self._title}: {what}; about {left} left"
        if self._status:
            self._status.update(text.replace("[", "\\["))
        else:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def end(self, found: str) -> None:
        """The case is over, with this outcome."""
        self._remaining.over(time.monotonic() - self._began)
        self.close()
        self._console.print(f"{self._title}: {found}", highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._status:
            self._status.stop()
