"""Approved decisions on their way to the executor, in the order of their ticks.

Where an engine has replicas, rounds may end in another order than they began in, and the executor takes a decision
that comes behind a later one for a duplicate. So what a round approved waits here until no earlier one is open, which
its deadline bounds; clients have their answers by then. Without replicas rounds end in order, and nothing waits.
"""

from collections import deque
from typing import Any, NamedTuple

from arbhub.columns import Decisions
from hub.ledger_view import LedgerView
from hub.rounds import Rounds


class Held(NamedTuple):
    """What a round approved, and the executor's connection under which it did."""

    number: int
    approved: Decisions
    connection: int


class Outbox:
    """Call `release` whenever a round has ended."""

    def __init__(self, rounds: Rounds[Any], view: LedgerView) -> None:
        self._rounds, self._view = rounds, view
        self._held: deque[Held] = deque()

    def approved(self, number: int, approved: Decisions, connection: int) -> None:
        """Send a round's as soon as they are the next."""
        held = Held(number, approved, connection)
        oldest = self._rounds.oldest
        if not self._held and (oldest is None or number < oldest):
            self._send(held)
            return
        at = len(self._held)
        while at and self._held[at - 1].number > number:
            at -= 1
        self._held.insert(at, held)

    def release(self) -> None:
        """Send what nothing earlier is open before any more."""
        if not self._held:
            return
        oldest = self._rounds.oldest
        while self._held and (oldest is None or self._held[0].number < oldest):
            self._send(self._held.popleft())

    def _send(self, held: Held) -> None:
        """Not over another connection: its epoch would make another decision of it."""
        if held.connection == self._view.connection:
            self._view.trades.approved(held.approved)
