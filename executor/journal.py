"""Where the desk writes what it did and what it finds at the start: a protocol, and one in memory. Pure.

Nothing written counts before `commit`. An order is committed before the venue sees it; what one completion
changed is written between two commits and so is there as a whole or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from arbhub.state import ACTIVE
from executor.account import Books
from executor.orders import Approved, Fill, Order

# What has become of a decision. CANCELLED: a crash came between its orders and their fills.
OPEN, DONE, CANCELLED_DECISION, DENIED_DECISION = "open", "done", "cancelled", "denied"


class FencedError(Exception):
    """A newer epoch holds the ledger: nothing may be written, and so nothing traded, under the old one."""


@dataclass(frozen=True, slots=True)
class Residual:
    """A decision that a crash left half executed. `attempt`: the number of its last order."""

    approved: Approved
    bought: Decimal
    sold: Decimal
    attempt: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """All that the ledger holds: times of the last second's orders, and of the last decision by symbol."""

    books: Books = field(default_factory=Books)
    residuals: tuple[Residual, ...] = ()
    order_ts_ns: tuple[int, ...] = ()
    last_decision_ns: dict[str, int] = field(default_factory=dict)
    trading_state: int = ACTIVE


@dataclass(frozen=True, slots=True)
class Completion:
    """Orders that were matched, their fills, what those changed, and the orders that follow.

    `open` False: the decision is over, with `unhedged` (base currency, signed) left as a position.
    """

    decision: tuple[int, int]
    orders: Sequence[tuple[Order, str]]
    """Each with its status."""
    fills: Sequence[Fill]
    changed: Books
    open: bool
    unhedged: Decimal


class Journal(Protocol):
    """What the desk needs of a ledger."""

    def take_epoch(self) -> tuple[int, Recovered | None]:
        """Begin the next epoch. With it the whole state, or None: what the caller holds is still right."""

    def deny(self, approved: Approved, reason: str) -> None:
        """A decision was stopped at the gate."""

    def admit(self, approved: Approved, orders: Sequence[Order]) -> None:
        """A decision was admitted and becomes these orders."""

    def order(self, order: Order) -> None:
        """One more order of a decision in flight."""

    def complete(self, completion: Completion) -> None:
        """Orders were matched."""

    def trading_state(self, state: int) -> None:
        """Trading is ACTIVE, REDUCING or HALTED until it is said otherwise."""

    def commit(self) -> None:
        """Make everything since the last commit last. FencedError where a newer epoch holds the ledger."""


class MemoryLedger:
    """A journal that ends with the process: for replays, which begin with nothing and leave nothing."""

    def __init__(self) -> None:
        self.epoch = 0
        self.orders: list[Order] = []
        self.fills: list[Fill] = []

    def take_epoch(self) -> tuple[int, Recovered | None]:
        """The first epoch begins with nothing; later ones find the caller's own state right."""
        self.epoch += 1
        return self.epoch, Recovered() if self.epoch == 1 else None

    def deny(self, approved: Approved, reason: str) -> None:
        """Denials are in the reports."""

    def admit(self, approved: Approved, orders: Sequence[Order]) -> None:  # noqa: ARG002
        """Keep the orders; they say which decision they are of."""
        self.orders.extend(orders)

    def order(self, order: Order) -> None:
        """Keep the order."""
        self.orders.append(order)

    def complete(self, completion: Completion) -> None:
        """Keep the fills."""
        self.fills.extend(completion.fills)

    def trading_state(self, state: int) -> None:
        """Nobody comes after us who would have to know."""

    def commit(self) -> None:
        """Everything is where it stays already."""
