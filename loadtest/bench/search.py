"""The most ticks a second that something keeps up with: a search over a grid of rates, with as few runs as can be.

Pure: what "keeping up" means is the caller's, and may take a run of several seconds each time.
"""

from collections.abc import Awaitable, Callable, Sequence

Kept = Callable[[float], Awaitable[bool]]


async def highest(rates: Sequence[float], kept: Kept, first: int, stride: int) -> float | None:
    """The highest of the rising `rates` that is kept; None where not even the lowest is.

    Goes from rates[first] in strides, up while rates are kept or down while they are not, and bisects the last
    stride. It takes for granted that who keeps a rate keeps every lower one.
    """
    low, high = await _bracket(rates, kept, first, stride)
    while high - low > 1:
        middle = (low + high) // 2
        if await kept(rates[middle]):
            low = middle
        else:
            high = middle
    return rates[low] if low >= 0 else None


async def _bracket(rates: Sequence[float], kept: Kept, first: int, stride: int) -> tuple[int, int]:
    """A place that is kept and a higher one that is not; before the first and after the last are taken as such."""
    at = min(first, len(rates) - 1)
    if not await kept(rates[at]):
        high = at
        while high > 0:
            at = max(0, high - stride)
            if await kept(rates[at]):
                return at, high
            high = at
        return -1, 0
    low = at
    while low < len(rates) - 1:
        at = min(len(rates) - 1, low + stride)
        if not await kept(rates[at]):
            return low, at
        low = at
    return low, len(rates)


def geometric(lowest: float, highest_: float, steps_per_doubling: int) -> list[float]:
    """Whole rates from the lowest to about the highest, the same number of them in every doubling."""
    rates, number = [lowest], 0
    while rates[-1] < highest_:
        number += 1
        rates.append(float(round(lowest * 2 ** (number / steps_per_doubling))))
    return rates
