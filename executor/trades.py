"""One admitted decision in flight: its two legs, then what has to be traded back, until nothing is. Pure.

Legs due together are matched together. What the venues filled differently (bought minus sold) is traded back
on the venue that filled more, without a limit price, a limited number of times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from arbhub.reference import Universe
from executor.gate import Reservation
from executor.money import ZERO, ceil_to, exact, floor_to
from executor.orders import Approved, Fill, Key, Order


@dataclass(slots=True)
class Trade:
    """Amounts in base currency. `orders` are sent and not yet matched; `generation` is of their commit."""

    approved: Approved
    reservation: Reservation = field(default_factory=Reservation)
    orders: tuple[Order, ...] = ()
    bought: Decimal = ZERO
    sold: Decimal = ZERO
    attempt: int = 0
    """The number of the last order that traded back; 0: the legs themselves."""
    attempts_left: int = 0
    fees: dict[Key, Decimal] = field(default_factory=dict)
    """Taker fees as fractions, as they were when it was admitted."""
    generation: int = -1

    @property
    def unhedged(self) -> Decimal:
        """Bought and not sold; negative: sold and not bought."""
        return self.bought - self.sold

    @property
    def excess_key(self) -> Key:
        """The (venue, symbol) that filled more."""
        return self.approved.buy_key if self.unhedged > 0 else self.approved.sell_key

    def count(self, fills: Sequence[Fill]) -> None:
        """Take fills of its orders in."""
        self.bought += sum((f.quantity for f in fills if f.buy), ZERO)
        self.sold += sum((f.quantity for f in fills if not f.buy), ZERO)


@dataclass(frozen=True, slots=True)
class Increments:
    """What a (venue, symbol) trades in: price and quantity steps, least quantity and notional; 0: none."""

    tick: Decimal = ZERO
    lot: Decimal = ZERO
    min_quantity: Decimal = ZERO
    min_notional: Decimal = ZERO

    @classmethod
    def of(cls, universe: Universe, key: Key) -> "Increments":
        """As the universe lists it; none where it does not."""
        listing = universe.listings.get(key)
        if listing is None:
            return cls()
        sizes = listing.tick_size, listing.lot_size, listing.min_quantity, listing.min_notional
        return cls(*(exact(size) for size in sizes))


def legs(
    approved: Approved,
    quantity: Decimal,
    limits: tuple[Decimal, Decimal],
    ticks: tuple[Decimal, Decimal],
    due_ns: int,
) -> tuple[Order, Order]:
    """The buy and the sell order of a decision; limits are rounded to the side that accepts less."""
    sent = approved.ts_ns
    return (
        Order(
            decision=approved.id,
            leg="buy",
            attempt=0,
            symbol=approved.symbol,
            venue=approved.buy_venue,
            buy=True,
            quantity=quantity,
            limit=floor_to(limits[0], ticks[0]),
            sent_ns=sent,
            due_ns=due_ns,
        ),
        Order(
            decision=approved.id,
            leg="sell",
            attempt=0,
            symbol=approved.symbol,
            venue=approved.sell_venue,
            buy=False,
            quantity=quantity,
            limit=ceil_to(limits[1], ticks[1]),
            sent_ns=sent,
            due_ns=due_ns,
        ),
    )


def trade_back(trade: Trade, increments: Increments, mark: Decimal, sent_ns: int, due_ns: int) -> Order | None:
    """The next order that closes what is unhedged; None where that is nothing, too little, or tried enough.

    `mark` is the price by which the venue's smallest notional is judged.
    """
    quantity = floor_to(abs(trade.unhedged), increments.lot)
    small = quantity < increments.min_quantity or quantity * mark < increments.min_notional
    if not quantity or small or trade.attempts_left < 1:
        return None
    return Order(
        decision=trade.approved.id,
        leg="flat",
        attempt=trade.attempt + 1,
        symbol=trade.approved.symbol,
        venue=trade.excess_key[0],
        buy=trade.unhedged < 0,
        quantity=quantity,
        limit=None,
        sent_ns=sent_ns,
        due_ns=due_ns,
    )
