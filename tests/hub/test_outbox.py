"""Approved decisions leave in the order of their rounds, whichever order these end in."""

from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from hub.outbox import Outbox
from hub.rounds import Rounds

LATER_NS = 1_000


@dataclass
class NotingTrades:
    """Stands for the ledger's view and its link: notes what is sent."""

    connection: int = 1
    sent: list[int] = field(default_factory=list)

    @property
    def trades(self) -> "NotingTrades":
        return self

    def approved(self, decisions: Any) -> None:
        self.sent.append(decisions)


@given(order=st.permutations(range(8)), approving=st.sets(st.integers(0, 7)))
def test_rounds_may_end_in_any_order(order: list[int], approving: set[int]) -> None:
    """What they approve is sent in theirs, each as soon as nothing earlier is open, and all in the end."""
    rounds: Rounds[int] = Rounds(LATER_NS)
    view = NotingTrades()
    outbox = Outbox(rounds, cast(Any, view))
    for number in range(8):
        rounds.open(["spread"], 1, number, 0)
    ended: set[int] = set()
    for number in order:
        rounds.lost("spread", number)
        ended.add(number)
        for round_ in rounds.finished():
            if round_.number in approving:
                outbox.approved(round_.number, cast(Any, round_.number), 1)
        outbox.release()
        due = next(n for n in range(9) if n not in ended)
        assert view.sent == [n for n in sorted(approving) if n < due]


def test_what_was_approved_over_another_connection_is_not_sent() -> None:
    """The executor's new epoch would make another decision of it."""
    rounds: Rounds[int] = Rounds(LATER_NS)
    view = NotingTrades()
    outbox = Outbox(rounds, cast(Any, view))
    for number in range(2):
        rounds.open(["spread"], 1, number, 0)
    rounds.lost("spread", 1)
    outbox.approved(1, cast(Any, 1), 1)
    view.connection = 2
    rounds.lost("spread", 0)
    outbox.approved(0, cast(Any, 0), 2)
    outbox.release()
    assert view.sent == [0]
