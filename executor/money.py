"""Decimal arithmetic of the executor. Pure.

Amounts come from floats by their shortest text, so sums and products of them are exact in `CONTEXT`; only an
average cost is ever rounded, at its 60th digit.
"""

from decimal import ROUND_DOWN, Context, Decimal

CONTEXT = Context(prec=60)
ZERO = Decimal(0)
_SMALLEST = Decimal("1e-18")


def exact(value: float) -> Decimal:
    """The decimal number a float is written as."""
    return Decimal(repr(float(value)))


def floor_to(amount: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` up to `amount` (not negative); a step of zero rounds nothing."""
    return amount // step * step if step else amount


def ceil_to(amount: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is at least `amount` (not negative)."""
    floor = floor_to(amount, step)
    return floor if floor == amount else floor + step


def affordable(budget: Decimal, price: Decimal) -> Decimal:
    """How much `budget` buys at `price`, rounded down and never negative."""
    if budget <= 0 or price <= 0:
        return ZERO
    return (budget / price).quantize(_SMALLEST, ROUND_DOWN)
