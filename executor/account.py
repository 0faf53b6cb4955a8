"""Positions, balances and realised results, as the sum of the fills booked. Pure; all amounts Decimal.

A position is a deviation from the starting inventory, a balance a change since the start: both are sums of
fills and of nothing else. Profit is realised by average cost over an instrument's net position on all venues,
so buying on one venue and selling on another realises the spread though both positions deviate. Fees are
realised at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from arbhub.reference import split_symbol
from arbhub.state import DAY_NS, LedgerValues, Pnl
from executor.money import ZERO, exact
from executor.orders import Fill, Key


@dataclass(frozen=True, slots=True)
class Holding:
    """A position on one venue, base currency, and the price of its last fill."""

    quantity: Decimal = ZERO
    mark: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Cost:
    """An instrument's net position on all venues and what it cost (negative for a short one)."""

    quantity: Decimal = ZERO
    basis: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Result:
    """Realised in one quote asset: on UTC day `day`, in all, and the highest it was in all (at least 0)."""

    day: int = 0
    realised_day: Decimal = ZERO
    cumulative: Decimal = ZERO
    high_water: Decimal = ZERO


@dataclass(slots=True)
class Books:
    """Everything an account knows, by name; also the part of it that a change touched."""

    holdings: dict[Key, Holding] = field(default_factory=dict)
    changes: dict[Key, Decimal] = field(default_factory=dict)
    """(venue, asset) -> change of the balance since the start."""
    costs: dict[str, Cost] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)


class Account:
    """The books, and the balances they started with (None: unlimited)."""

    def __init__(self, balances: Mapping[str, Mapping[str, float]], books: Books | None = None) -> None:
        self.books = books or Books()
        self.start: dict[Key, Decimal] | None = None
        if balances:
            self.start = {(v, a): exact(x) for v, assets in balances.items() for a, x in assets.items()}

    @property
    def unlimited(self) -> bool:
        """Whether there is no end to any balance."""
        return self.start is None

    def balance(self, key: Key) -> Decimal | None:
        """What is there of an asset on a venue; None where balances are unlimited."""
        if self.start is None:
            return None
        return self.start.get(key, ZERO) + self.books.changes.get(key, ZERO)

    def equity(self) -> dict[str, float]:
        """What it started with of each asset, on all venues together; nothing where balances are unlimited."""
        total: dict[str, Decimal] = {}
        for (_, asset), amount in (self.start or {}).items():
            total[asset] = total.get(asset, ZERO) + amount
        return {asset: float(amount) for asset, amount in total.items()}

    def book(self, fills: Sequence[Fill]) -> Books:
        """Take the fills of one completion in; returns what changed, with its new values."""
        changed, b = Books(), self.books
        for fill in fills:
            base, quote = split_symbol(fill.symbol)
            held = b.holdings.get(fill.key, Holding())
            b.holdings[fill.key] = Holding(held.quantity + fill.signed, fill.price)
            self._move((fill.venue, base), fill.signed, changed)
            self._move((fill.venue, quote), -fill.signed * fill.price - fill.fee, changed)
            b.costs[fill.symbol], profit = close(b.costs.get(fill.symbol, Cost()), fill.signed, fill.price)
            result = b.results.get(quote, Result())
            b.results[quote] = realise(result, profit - fill.fee, fill.ts_ns // DAY_NS)
            changed.holdings[fill.key] = b.holdings[fill.key]
            changed.costs[fill.symbol] = b.costs[fill.symbol]
            changed.results[quote] = b.results[quote]
        # Only now: the high-water mark is of whole completions, not of a buy leg whose sale comes next.
        for quote, result in changed.results.items():
            high = max(result.high_water, result.cumulative)
            b.results[quote] = changed.results[quote] = replace(result, high_water=high)
        return changed

    def values(self, part: Books | None = None) -> LedgerValues:
        """The new values of `part` (all of it: None) as reports carry them."""
        b = part or self.books
        return LedgerValues(
            positions={k: (float(h.quantity), float(h.mark)) for k, h in b.holdings.items()},
            balances=self._balances(b.changes if part else {**(self.start or {}), **b.changes}),
            pnl={
                a: Pnl(r.day, float(r.realised_day), float(r.cumulative), float(r.high_water))
                for a, r in b.results.items()
            },
        )

    def _balances(self, keys: Iterable[Key]) -> dict[Key, float]:
        if self.start is None:
            return {}
        return {key: float(balance) for key in keys if (balance := self.balance(key)) is not None}

    def _move(self, key: Key, amount: Decimal, changed: Books) -> None:
        total = self.books.changes.get(key, ZERO) + amount
        self.books.changes[key] = changed.changes[key] = total


def close(cost: Cost, signed: Decimal, price: Decimal) -> tuple[Cost, Decimal]:
    """Trade `signed` at `price` against a net position: its new cost, and the profit that realises."""
    closing = ZERO
    if cost.quantity * signed < 0:
        closing = max(signed, -cost.quantity) if signed < 0 else min(signed, -cost.quantity)
    whole = closing == -cost.quantity  # then nothing is left to rounding
    part = cost.basis if whole else cost.basis * -closing / cost.quantity
    opening = signed - closing
    left = Cost(cost.quantity + signed, cost.basis - part + opening * price)
    return left, -closing * price - part


def realise(result: Result, amount: Decimal, day: int) -> Result:
    """Add to a result on UTC day number `day`; a day that is over does not come back."""
    if day > result.day:
        result = Result(day, ZERO, result.cumulative, result.high_water)
    return replace(result, realised_day=result.realised_day + amount, cumulative=result.cumulative + amount)
