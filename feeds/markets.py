"""Turns what ccxt says of markets and order books into the normal form. Pure: no client is called here.

A figure that a venue does not state is zero (sizes and minimums, of which zero means none) or None (fees,
where unknown is not zero). A book with a number that is not one is no book: it becomes an empty one.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import ccxt

from arbhub.reference import FeeSchedule, FeeTier, Listing, ReferenceData
from feeds.market import Level

Markets = Mapping[str, Mapping[str, Any]]


def reference_data(
    venue: str, symbols: Iterable[str], markets: Markets, fees: Mapping[str, Any], precision_mode: int
) -> ReferenceData:
    """Listings of those `symbols` that the venue has, and its fee tiers if it has any."""
    schedule = fee_schedule(venue, fees)
    listings = [
        listing(venue, symbol, markets[symbol], precision_mode, schedule) for symbol in symbols if symbol in markets
    ]
    return ReferenceData(
        venues=(venue,),
        symbols=tuple(listing.symbol for listing in listings),
        listings=tuple(listings),
        schedules=(schedule,) if schedule else (),
    )


def listing(
    venue: str, symbol: str, market: Mapping[str, Any], precision_mode: int, schedule: FeeSchedule | None
) -> Listing:
    """One market. Fees that only repeat the schedule's base tier are left out, so the schedule counts."""
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    percentage = market.get("percentage") is not False
    maker, taker = (_bps(market.get(side)) if percentage else None for side in ("maker", "taker"))
    if schedule and (maker, taker) == (schedule.tiers[0].maker_bps, schedule.tiers[0].taker_bps):
        maker = taker = None
    return Listing(
        venue,
        symbol,
        tick_size=_step(precision.get("price"), precision_mode),
        lot_size=_step(precision.get("amount"), precision_mode),
        min_quantity=_amount((limits.get("amount") or {}).get("min")),
        min_notional=_amount((limits.get("cost") or {}).get("min")),
        maker_bps=maker,
        taker_bps=taker,
        active=market.get("active") is not False,
    )


def fee_schedule(venue: str, fees: Mapping[str, Any]) -> FeeSchedule | None:
    """The venue's trading fees by 30-day volume; None where it has no tiers or states them otherwise."""
    trading = fees.get("trading") or {}
    tiers = trading.get("tiers") or {}
    if isinstance(tiers, list):  # one ccxt exchange states a list of such tables, the general one first
        tiers = tiers[0]
    if not trading.get("tierBased") or trading.get("percentage") is False:
        return None
    maker, taker = ({row[0]: row[1] for row in tiers.get(side) or ()} for side in ("maker", "taker"))
    rows = [
        FeeTier(float(volume), _bps_at(maker, volume), _bps_at(taker, volume))
        for volume in sorted(maker.keys() | taker.keys())
        if volume >= min(maker, default=math.inf) and volume >= min(taker, default=math.inf)
    ]
    return FeeSchedule(venue, tuple(rows)) if rows else None


def side(levels: Iterable[Any], depth: int) -> tuple[Level, ...] | None:
    """A copy of the best levels (ccxt goes on changing its own); None if a number in them is missing."""
    copied: list[Level] = []
    for row in levels:
        if len(copied) == depth:
            break
        price, size = _number(row[0]), _number(row[1])
        if price is None or size is None:
            return None
        copied.append((price, size))
    return tuple(copied)


def _bps_at(rates: Mapping[float, float], volume: float) -> float:
    """The rate of the highest tier that starts at or below `volume`."""
    return round(rates[max(start for start in rates if start <= volume)] * 1e4, 6)


def _bps(rate: Any) -> float | None:
    value = _number(rate)
    return None if value is None else round(value * 1e4, 6)  # 0.0006 * 1e4 is not quite 6


def _step(precision: Any, mode: int) -> float:
    """ccxt's precision as a step: itself, or a number of decimals; significant digits give no fixed step."""
    value = _number(precision)
    if value is None or mode == ccxt.SIGNIFICANT_DIGITS:
        return 0.0
    if mode == ccxt.DECIMAL_PLACES:
        return float(f"1e{-int(value)}")
    return max(value, 0.0)


def _amount(value: Any) -> float:
    return max(_number(value) or 0.0, 0.0)


def _number(value: Any) -> float | None:
    """A finite number, or None for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
