"""DESIGN section 1, tick by tick, in plain Python: what every tick's decision has to be.

Written from the DESIGN alone, without a look at the hub or the engines, so that agreement means something.
With all risk limits off the risk engine approves without a cap and fills change nothing: so no executor here.
Sums run level by level in order and formulas stand as in the DESIGN: results are equal to the bit.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Level = tuple[float, float]
"""Price and size."""
Decision = dict[str, Any]
"""A line of a decisions file without `config_version`, and beside it buy_limit, sell_limit, edge_since_ns."""

COLUMNS = ("gross_edge_bps", "fee_bps", "slippage_bps", "quantity", "net_edge_bps", "buy_limit", "sell_limit")


class Tick(NamedTuple):
    """A snapshot of one book, best level first."""

    ts_ns: int
    venue: str
    symbol: str
    bids: Sequence[Level]
    asks: Sequence[Level]


@dataclass(frozen=True)
class ModelSettings:
    """What decisions depend on; the defaults are those of DESIGN section 6."""

    max_quote_age_ms: float = 10_000.0
    min_net_edge_bps: float = 0.0
    depth: int = 20
    max_gross_edge_bps: float = math.inf
    max_leg_skew_ms: float = math.inf
    min_edge_age_ms: float = 0.0
    taker_bps: dict[str, float] = field(default_factory=dict)
    max_notional: float = 5000.0
    listings: dict[tuple[str, str], tuple[float, float, float]] = field(default_factory=dict)
    """(venue, symbol) -> (lot, min_quantity, min_notional); zeros for what is not in it."""


@dataclass(frozen=True)
class Book:
    """One venue's book, cut to the depth kept."""

    ts_ns: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    sound: bool


@dataclass(frozen=True)
class Pair:
    """An opportunity: the legs chosen for a tick."""

    buy_venue: str
    sell_venue: str
    buy: Book
    sell: Book

    @property
    def ask(self) -> float:
        """The best price to buy at."""
        return self.buy.asks[0][0]

    @property
    def bid(self) -> float:
        """The best price to sell at."""
        return self.sell.bids[0][0]


@dataclass(frozen=True)
class Run:
    """An unbroken run of ticks in which the same legs have shown a gross edge above zero."""

    legs: tuple[str, str]
    since_ns: int


def decide(ticks: Iterable[Tick], settings: ModelSettings) -> list[Decision]:
    """One decision for each tick, in order, with the books as of that tick."""
    books: dict[str, dict[str, Book]] = {}
    runs: dict[str, Run | None] = {}
    decisions = []
    for sequence, tick in enumerate(ticks):
        venues = books.setdefault(tick.symbol, {})
        venues[tick.venue] = cut(tick, settings.depth)
        pair = choose(venues, tick.ts_ns, settings.max_quote_age_ms)
        head = {"sequence": sequence, "ts_ns": tick.ts_ns, "symbol": tick.symbol}
        if isinstance(pair, str):
            runs[tick.symbol] = None
            decisions.append(head | undecidable(pair))
        else:
            run = continue_run(runs.get(tick.symbol), pair, tick.ts_ns)
            runs[tick.symbol] = run if gross_edge(pair) > 0 else None
            decisions.append(head | judge(pair, tick, run.since_ns, settings))
    return decisions


def cut(tick: Tick, depth: int) -> Book:
    """The book of a tick: levels beyond the depth are gone before anything looks at them."""
    bids, asks = tick.bids[:depth], tick.asks[:depth]
    return Book(tick.ts_ns, bids, asks, is_sound(bids, asks))


def is_sound(bids: Sequence[Level], asks: Sequence[Level]) -> bool:
    """Whether both sides are there, in order and not crossed, and every figure is finite and positive."""
    if not bids or not asks:
        return False
    for price, size in [*bids, *asks]:
        if not (math.isfinite(price) and price > 0 and math.isfinite(size) and size > 0):
            return False
    falling = all(bids[i][0] >= bids[i + 1][0] for i in range(len(bids) - 1))
    rising = all(asks[i][0] <= asks[i + 1][0] for i in range(len(asks) - 1))
    return falling and rising and bids[0][0] < asks[0][0]


def choose(venues: dict[str, Book], now_ns: int, max_quote_age_ms: float) -> Pair | str:
    """The legs as of now, or the reason why there is no opportunity."""
    usable = {}
    for name in sorted(venues):  # of equal prices the venue that sorts first is found first, and kept
        age_ns = max(now_ns - venues[name].ts_ns, 0)
        if venues[name].sound and age_ns <= max_quote_age_ms * 1e6:
            usable[name] = venues[name]
    if len(usable) < 2:
        return "NO_COUNTERPART"
    buy = min(usable, key=lambda name: usable[name].asks[0][0])
    sell = max(usable, key=lambda name: usable[name].bids[0][0])
    if buy == sell:
        return "SAME_VENUE"
    return Pair(buy, sell, usable[buy], usable[sell])


def continue_run(run: Run | None, pair: Pair, now_ns: int) -> Run:
    """The run that this tick goes on with, or begins."""
    legs = (pair.buy_venue, pair.sell_venue)
    if run is not None and run.legs == legs and gross_edge(pair) > 0:
        return run
    return Run(legs, now_ns)


def gross_edge(pair: Pair) -> float:
    """The spread engine's bps."""
    return (pair.bid - pair.ask) / pair.ask * 1e4


def fee(pair: Pair, taker_bps: dict[str, float]) -> float | None:
    """The fee engine's bps (negative), None where a leg's fee is not known."""
    if pair.buy_venue not in taker_bps or pair.sell_venue not in taker_bps:
        return None
    return -(taker_bps[pair.buy_venue] + taker_bps[pair.sell_venue] * pair.bid / pair.ask)


@dataclass(frozen=True)
class Liquidity:
    """The liquidity engine's verdict, and the worst level that each leg walks (None where it walks none)."""

    bps: float
    quantity: float
    buy_limit: float | None
    sell_limit: float | None


def liquidity(pair: Pair, max_notional: float) -> Liquidity:
    """What both books hold up to the target, and what its depth costs beyond the best prices."""
    target = max_notional / pair.ask
    quantity = min(target, held(pair.buy.asks), held(pair.sell.bids))
    vwap_buy, buy_limit = walk(pair.buy.asks, quantity)
    vwap_sell, sell_limit = walk(pair.sell.bids, quantity)
    bps = ratio(vwap_sell - vwap_buy, vwap_buy) * 1e4 - gross_edge(pair)
    return Liquidity(min(bps, 0.0), quantity, buy_limit, sell_limit)


def held(levels: Sequence[Level]) -> float:
    """All that a side holds."""
    total = 0.0
    for _, size in levels:
        total += size
    return total


def walk(levels: Sequence[Level], quantity: float) -> tuple[float, float | None]:
    """The volume-weighted price of the quantity, and the worst price paid for it."""
    before, cost, worst = 0.0, 0.0, None
    for price, size in levels:
        left = quantity - before
        if left > 0:
            cost += min(size, left) * price
            worst = price
        before += size
    return ratio(cost, quantity), worst


def ratio(a: float, b: float) -> float:
    """The quotient a / b as IEEE 754 has it; Python raises where b is zero, as it is after an underflow."""
    if b != 0:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def judge(pair: Pair, tick: Tick, since_ns: int, settings: ModelSettings) -> Decision:
    """The fold of the four verdicts on an opportunity."""
    gross, fee_bps = gross_edge(pair), fee(pair, settings.taker_bps)
    depth = liquidity(pair, settings.max_notional)
    net = None if fee_bps is None else 0.0 + gross + fee_bps + depth.bps + 0.0
    reason = (
        spread_reject(pair, max(tick.ts_ns - since_ns, 0), settings)
        or ("UNKNOWN_VENUE" if fee_bps is None else None)
        or ("QUANTITY_TOO_SMALL" if is_too_small(pair, tick.symbol, depth.quantity, settings) else None)
        or (None if is_enough(net, settings.min_net_edge_bps) else "NET_EDGE_TOO_LOW")
    )
    figures = (
        gross,
        None if fee_bps is None else -fee_bps,
        0.0 - depth.bps,
        depth.quantity,
        net,
        depth.buy_limit,
        depth.sell_limit,
    )
    columns = {name: meaningful(value) for name, value in zip(COLUMNS, figures, strict=True)}
    verdict = {"approved": reason is None, "reason": reason, "edge_since_ns": since_ns}
    return {"buy_venue": pair.buy_venue, "sell_venue": pair.sell_venue} | columns | verdict


def undecidable(reason: str) -> Decision:
    """The decision of a tick without an opportunity."""
    nothing = dict.fromkeys(("buy_venue", "sell_venue", *COLUMNS, "edge_since_ns"))
    return nothing | {"approved": False, "reason": reason}


def spread_reject(pair: Pair, edge_age_ns: int, settings: ModelSettings) -> str | None:
    """The spread engine's reason, None where it approves."""
    if gross_edge(pair) > settings.max_gross_edge_bps:
        return "GROSS_EDGE_TOO_HIGH"
    if abs(pair.buy.ts_ns - pair.sell.ts_ns) > settings.max_leg_skew_ms * 1e6:
        return "LEG_SKEW_TOO_HIGH"
    if edge_age_ns < settings.min_edge_age_ms * 1e6:
        return "EDGE_TOO_YOUNG"
    return None


def is_too_small(pair: Pair, symbol: str, quantity: float, settings: ModelSettings) -> bool:
    """Whether the quantity is nothing, or below what either leg's venue trades."""
    if not math.isfinite(quantity) or quantity <= 0:
        return True
    for venue, price in ((pair.buy_venue, pair.ask), (pair.sell_venue, pair.bid)):
        lot, min_quantity, min_notional = settings.listings.get((venue, symbol), (0.0, 0.0, 0.0))
        if quantity < max(lot, min_quantity) or quantity * price < min_notional:
            return True
    return False


def is_enough(net: float | None, min_net_edge_bps: float) -> bool:
    """Whether the net edge is a number and high enough."""
    return net is not None and math.isfinite(net) and net >= min_net_edge_bps


def meaningful(value: float | None) -> float | None:
    """The value, or None for NaN and infinity: as JSON has them."""
    return value if value is not None and math.isfinite(value) else None
