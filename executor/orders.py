"""Orders, fills and approved decisions as values, all by name. Pure.

A client order id says which decision, leg and attempt an order belongs to: the same decision never makes
another id, so an order sent twice is seen to be the same one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from arbhub.columns import Decisions

Leg = Literal["buy", "sell", "flat"]
Key = tuple[str, str]
"""(venue, symbol) of a book or a position, (venue, asset) of a balance."""

# An immediate-or-cancel order is done as soon as it was matched: what it did not get is cancelled.
SENT, FILLED, PARTLY_FILLED, CANCELLED = "sent", "filled", "partly_filled", "cancelled"


def client_order_id(epoch: int, sequence: int, leg: Leg, attempt: int) -> str:
    """Such as "e3-s1042-buy-0": at most 36 characters, alphanumeric and dashes, as venues ask for."""
    return f"e{epoch}-s{sequence}-{leg}-{attempt}"


@dataclass(frozen=True, slots=True)
class Approved:
    """One approved decision as the hub made it. Quantity in base currency, prices in quote currency.

    The limits are the worst prices to accept, `buy_ask` and `sell_bid` the best ones as of the tick.
    """

    epoch: int
    sequence: int
    ts_ns: int
    expires_ns: int
    symbol: str
    buy_venue: str
    sell_venue: str
    quantity: float
    buy_limit: float
    sell_limit: float
    buy_ask: float
    sell_bid: float

    @property
    def id(self) -> tuple[int, int]:
        """(epoch, sequence): unique for ever."""
        return self.epoch, self.sequence

    @property
    def buy_key(self) -> Key:
        """The book bought from."""
        return self.buy_venue, self.symbol

    @property
    def sell_key(self) -> Key:
        """The book sold to."""
        return self.sell_venue, self.symbol


@dataclass(frozen=True, slots=True)
class Order:
    """One immediate-or-cancel order. `limit` None takes any price; `due_ns` is when it meets the book."""

    decision: tuple[int, int]
    leg: Leg
    attempt: int
    symbol: str
    venue: str
    buy: bool
    quantity: Decimal
    limit: Decimal | None
    sent_ns: int
    due_ns: int

    @property
    def client_order_id(self) -> str:
        """The id the venue knows it by."""
        return client_order_id(*self.decision, self.leg, self.attempt)

    @property
    def key(self) -> Key:
        """The book it goes to."""
        return self.venue, self.symbol


@dataclass(frozen=True, slots=True)
class Fill:
    """Part of an order done at one price. `number` counts its fills from 0; `fee` in quote currency."""

    client_order_id: str
    number: int
    symbol: str
    venue: str
    buy: bool
    price: Decimal
    quantity: Decimal
    fee: Decimal
    ts_ns: int

    @property
    def key(self) -> Key:
        """The position it changes."""
        return self.venue, self.symbol

    @property
    def signed(self) -> Decimal:
        """What it adds to the position, base currency."""
        return self.quantity if self.buy else -self.quantity


def status_of(order: Order, fills: list[Fill]) -> str:
    """What became of an order that was matched."""
    if not fills:
        return CANCELLED
    return FILLED if sum(fill.quantity for fill in fills) == order.quantity else PARTLY_FILLED


def approved_rows(decisions: Decisions, epoch: int, venues: list[str], symbols: list[str]) -> Iterator[Approved]:
    """The approved decisions of a batch in sequence order; other rows are nothing to an executor."""
    d = decisions
    rows = np.flatnonzero(d.approved)
    for row in rows[np.argsort(d.sequence[rows], kind="stable")].tolist():
        yield Approved(
            epoch=epoch,
            sequence=int(d.sequence[row]),
            ts_ns=int(d.ts_ns[row]),
            expires_ns=int(d.expires_ns[row]),
            symbol=symbols[d.instrument[row]],
            buy_venue=venues[d.buy_venue[row]],
            sell_venue=venues[d.sell_venue[row]],
            quantity=float(d.quantity[row]),
            buy_limit=float(d.buy_limit[row]),
            sell_limit=float(d.sell_limit[row]),
            buy_ask=float(d.buy_ask[row]),
            sell_bid=float(d.sell_bid[row]),
        )
