"""The limits of [risk] and of reference data: one pure function for the risk engine and for the executor's gate.

The risk engine asks it about every opportunity on the state last reported; the gate asks it about one approved
decision on the true state, reservations included. Both get the same answer from the same state.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from arbhub.columns import Floats, Ints
from arbhub.settings.risk import RiskSettings
from arbhub.state import DAY_NS, HALTED, REDUCING, TRADING_STATES, LedgerState

SECOND_NS = 1_000_000_000
ORDERS_PER_DECISION = 2

# In this order they are asked, and the first that holds is the reason.
REASONS = (
    "STATE_UNKNOWN",
    "TRADING_HALTED",
    "REDUCING_ONLY",
    "VENUE_NOT_OPEN",
    "INSTRUMENT_NOT_ACTIVE",
    "COOLDOWN",
    "MAX_OPEN_PER_INSTRUMENT",
    "MAX_ORDERS_PER_S",
    "MAX_DAILY_LOSS",
    "MAX_DRAWDOWN",
    "MAX_NOTIONAL_PER_ORDER",
    "MAX_QUANTITY",
    "MAX_POSITION",
    "MAX_EXPOSURE",
    "BALANCE_BUY_LEG",
    "BALANCE_SELL_LEG",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """n trades to judge. Prices in quote currency, ids as in the state's universe.

    `buy_ask` and `sell_bid` are the legs' best prices and count for notional and exposure: the risk engine and
    the gate must see the same trade. `buy_limit` is the most that the buy leg may pay, and `taker` its fee as a
    fraction of the notional: both count for the balance, which has to cover the worst case.
    """

    ts_ns: Ints
    instrument: Ints
    buy_venue: Ints
    sell_venue: Ints
    buy_ask: Floats
    sell_bid: Floats
    buy_limit: Floats
    taker: Floats


@dataclass(frozen=True, slots=True)
class Headroom:
    """How much may be traded: `quantity` (n,) in base currency, `reason` (n,) 0 or 1-based in REASONS.

    `tightest` (n,) is the limit that sets the quantity, 0 where none does or the reason says it all.
    """

    quantity: Floats
    reason: Ints
    tightest: Ints


def headroom(state: LedgerState, limits: RiskSettings, pair: Pair) -> Headroom:
    """The largest quantity of each trade that keeps every limit; where that is none, which limit forbids it."""
    n = len(pair.ts_ns)
    if not state.known:
        return Headroom(np.zeros(n), np.ones(n, np.int64), np.zeros(n, np.int64))
    trading = max(state.trading_state or HALTED, TRADING_STATES[limits.trading_state])
    blocks, caps = _blocks(state, limits, pair, trading), _caps(state, limits, pair, trading)
    quantity = np.full(n, np.inf)
    reason, tightest = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for number, name in reversed(list(enumerate(REASONS, 1))):
        if name in blocks:
            reason[blocks[name]] = number
        if name in caps:
            reason[~(caps[name] > 0)] = number
            tightest[caps[name] <= quantity] = number
            quantity = np.minimum(quantity, caps[name])
    return Headroom(np.maximum(quantity, 0.0), reason, tightest)


def _blocks(state: LedgerState, limits: RiskSettings, pair: Pair, trading: int) -> dict[str, np.ndarray]:
    """Where a limit forbids any quantity at all, by reason."""
    i, ts, u = pair.instrument, pair.ts_ns, state.universe
    blocks: dict[str, np.ndarray] = {}
    if trading == HALTED:
        blocks["TRADING_HALTED"] = np.ones(len(ts), np.bool_)
    if not u.all_open:
        blocks["VENUE_NOT_OPEN"] = ~(u.open[pair.buy_venue] & u.open[pair.sell_venue])
    if not u.all_active:
        blocks["INSTRUMENT_NOT_ACTIVE"] = ~(u.active[i, pair.buy_venue] & u.active[i, pair.sell_venue])
    if limits.cooldown_ms > 0:
        blocks["COOLDOWN"] = ts - state.last_decision_ns[i] < limits.cooldown_ms * 1e6
    if math.isfinite(limits.max_open_per_instrument):
        blocks["MAX_OPEN_PER_INSTRUMENT"] = state.open[i] + 1 > limits.max_open_per_instrument
    if math.isfinite(limits.max_orders_per_s):
        sent = state.order_ts_ns
        recent = np.searchsorted(sent, ts, "right") - np.searchsorted(sent, ts - SECOND_NS, "right")
        blocks["MAX_ORDERS_PER_S"] = recent + ORDERS_PER_DECISION > limits.max_orders_per_s
    if math.isfinite(limits.max_daily_loss) or math.isfinite(limits.risk_limit):
        quote = state.universe.quote_ids[i]
        today = np.where(state.day[quote] == ts // DAY_NS, state.realised_day[quote], 0.0)
        blocks["MAX_DAILY_LOSS"] = ~(-today < largest_daily_loss(limits, state.equity[quote]))
    if math.isfinite(limits.max_drawdown):
        quote = state.universe.quote_ids[i]
        drawdown = state.high_water[quote] - state.cumulative[quote]
        blocks["MAX_DRAWDOWN"] = ~(drawdown < limits.max_drawdown)
    return blocks


def largest_daily_loss(limits: RiskSettings, equity: Floats) -> Floats:
    """What may be lost in a day, of starting equities: the amount or the fraction, whichever is less.

    Of equity that is not known (0) any fraction is nothing: then no loss at all is allowed, and no trade.
    """
    amount = np.full(len(equity), limits.max_daily_loss)
    return np.minimum(amount, limits.risk_limit * equity) if math.isfinite(limits.risk_limit) else amount


def daily_losses(limits: RiskSettings, equity: Mapping[str, float], assets: Iterable[str]) -> dict[str, float]:
    """The same by quote asset, from the equities that are known."""
    named = [*assets]
    known = np.array([equity.get(asset, 0.0) for asset in named])
    return dict(zip(named, largest_daily_loss(limits, known).tolist(), strict=True))


def _caps(state: LedgerState, limits: RiskSettings, pair: Pair, trading: int) -> dict[str, Floats]:
    """The largest quantity each limit allows, by reason; zero, negative or NaN: none."""
    i, buy, sell = pair.instrument, pair.buy_venue, pair.sell_venue
    caps: dict[str, Floats] = {}
    if trading == REDUCING or math.isfinite(limits.max_position) or math.isfinite(limits.max_exposure):
        bought = state.position[i, buy] + state.reserved_buy[i, buy]
        sold = state.position[i, sell] - state.reserved_sell[i, sell]
    if trading == REDUCING:
        caps["REDUCING_ONLY"] = np.minimum(-bought, sold)
    if math.isfinite(limits.max_notional_per_order):
        dearer = np.maximum(pair.buy_ask, pair.sell_bid)
        caps["MAX_NOTIONAL_PER_ORDER"] = limits.max_notional_per_order / dearer
    if not state.universe.unbounded:
        most = state.universe.max_quantity
        caps["MAX_QUANTITY"] = np.minimum(most[i, buy], most[i, sell])
    if math.isfinite(limits.max_position):
        caps["MAX_POSITION"] = np.minimum(limits.max_position - bought, limits.max_position + sold)
    if math.isfinite(limits.max_exposure):
        caps["MAX_EXPOSURE"] = _exposure_cap(state, limits.max_exposure, pair, bought, sold)
    if not state.unlimited or np.isfinite(state.free).any():
        quote = state.universe.quote_ids[i]
        base = state.universe.base_ids[i]
        caps["BALANCE_BUY_LEG"] = state.free[buy, quote] / (pair.buy_limit * (1 + pair.taker))
        caps["BALANCE_SELL_LEG"] = state.free[sell, base]
    return caps


def _exposure_cap(state: LedgerState, limit: float, pair: Pair, bought: Floats, sold: Floats) -> Floats:
    """The largest quantity that keeps gross exposure within `limit`, 0 where none does.

    With q traded the pair's own exposure is |bought + q| * ask + |sold - q| * bid, and on either venue at least
    what orders in flight the other way may make of it. That is convex in q, the largest of nine lines. So the
    allowed q are an interval, cut by each line on its own.
    """
    i, buy, sell = pair.instrument, pair.buy_venue, pair.sell_venue
    quote = state.universe.quote_ids[i]
    room = limit - (state.gross_exposure()[quote] - _worst(state, i, buy) - _worst(state, i, sell))
    selling, buying = state.reserved_sell[i, buy], state.reserved_buy[i, sell]
    short = np.where(selling > 0, np.abs(state.position[i, buy] - selling), -np.inf)
    long = np.where(buying > 0, np.abs(state.position[i, sell] + buying), -np.inf)
    least, most = np.zeros(len(i)), np.full(len(i), np.inf)
    for s, held in ((1, bought), (-1, -bought), (0, short))[: 3 if selling.any() else 2]:
        for t, owed in ((-1, sold), (1, -sold), (0, long))[: 3 if buying.any() else 2]:
            slope = s * pair.buy_ask + t * pair.sell_bid
            left = room - (held * pair.buy_ask + owed * pair.sell_bid)
            with np.errstate(divide="ignore", invalid="ignore"):
                edge = left / slope
            most = np.where(slope > 0, np.minimum(most, edge), most)
            least = np.where(slope < 0, np.maximum(least, edge), least)
            most = np.where((slope == 0) & (left < 0), 0.0, most)
    return np.where(most >= least, most, 0.0)


def _worst(state: LedgerState, i: Ints, v: Ints) -> Floats:
    long, short = (
        state.position[i, v] + state.reserved_buy[i, v],
        state.position[i, v] - state.reserved_sell[i, v],
    )
    worst: Floats = np.maximum(np.abs(long), np.abs(short)) * state.mark[i, v]
    return worst
