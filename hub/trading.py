"""Whether trading is active, reducing or halted: the operator's word and the ledger's, of which the stricter holds.

An operator's word counts in the hub at once, whoever is down; it is `pending` until the ledger has it too. So a halt
needs nobody, and a resume counts only once the ledger agrees: in doubt nothing is traded.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from arbhub.columns import Decisions
from arbhub.reference import Universe
from arbhub.rows import Decision
from arbhub.settings.risk import RiskSettings
from arbhub.state import ACTIVE, REDUCING, TRADING_STATES, Snapshot
from hub.reasons import ReasonTable
from hub.replies import Decided

Room = Callable[[int, int, int], float]


class Trading:
    """`commanded`: the operator's word, `ledger`: the executor's; 0 where there is none."""

    def __init__(self, reasons: ReasonTable) -> None:
        self.commanded = self.ledger = 0
        self.pending = False
        self.restricted = False
        self.why = ""
        self.on_change: Callable[[], None] = lambda: None
        self._halted, self._reducing = reasons.code("TRADING_HALTED"), reasons.code("REDUCING_ONLY")

    @property
    def state(self) -> int:
        """The stricter one; 0 where nobody has said anything."""
        return max(self.commanded, self.ledger)

    def in_force(self, risk: RiskSettings) -> int:
        """The strictest, the configuration's among them."""
        return max(self.state, TRADING_STATES[risk.trading_state])

    @property
    def untold(self) -> bool:
        """Whether the ledger has to be told the operator's word: it does not know it, or has forgotten it."""
        return self.pending or self.commanded > self.ledger

    def command(self, state: int, why: str, *, pending: bool = True) -> None:
        """The operator's word, from now on."""
        self.commanded, self.why, self.pending = state, why, pending
        self._weigh()

    def ledger_said(self, state: int) -> None:
        """The ledger's, from now on."""
        self.ledger = state
        self.pending = self.pending and state != self.commanded
        self._weigh()

    def _weigh(self) -> None:
        self.restricted = self.state > ACTIVE
        self.on_change()

    def withheld(self, decided: Decided, ledger: Snapshot | None, universe: Universe) -> Decided:
        """The decisions without approvals that the state does not allow; those keep all but that."""
        code = self._reducing if self.state == REDUCING else self._halted
        room = _reduction(ledger, universe) if self.state == REDUCING else _none
        return _rows(decided, room, code) if isinstance(decided, list) else _columns(decided, room, code)


def _none(instrument: int, buy_venue: int, sell_venue: int) -> float:  # noqa: ARG001  # a Room
    return 0.0


def _reduction(ledger: Snapshot | None, universe: Universe) -> Room:
    """How much of an instrument both legs together take off the positions there are."""
    positions = ledger.values.positions if ledger else {}

    def room(instrument: int, buy_venue: int, sell_venue: int) -> float:
        symbol = universe.symbols[instrument]
        bought, _ = positions.get((universe.venues[buy_venue], symbol), (0.0, 0.0))
        sold, _ = positions.get((universe.venues[sell_venue], symbol), (0.0, 0.0))
        return min(-bought, sold)

    return room


def _rows(decided: Sequence[Decision], room: Room, code: int) -> list[Decision]:
    return [
        d._replace(approved=False, reason=code)
        if d.approved and not d.quantity <= room(d.instrument, d.buy_venue, d.sell_venue)
        else d
        for d in decided
    ]


def _columns(d: Decisions, room: Room, code: int) -> Decisions:
    rows = np.flatnonzero(d.approved)
    columns = (d.instrument, d.buy_venue, d.sell_venue)
    most = [room(*pair) for pair in zip(*(column[rows].tolist() for column in columns), strict=True)]
    over = rows[~(d.quantity[rows] <= np.array(most, np.float64))]
    approved, reason = d.approved.copy(), d.reason.copy()
    approved[over], reason[over] = False, code
    return replace(d, approved=approved, reason=reason)
