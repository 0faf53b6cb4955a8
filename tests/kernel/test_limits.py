"""The limits against a plain scalar reading of the design, one trade at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.limits import REASONS, Pair, headroom
from arbhub.reference import OPEN, Listing, ReferenceData, Universe, VenueState
from arbhub.settings.risk import RiskSettings
from arbhub.state import DAY_NS, TRADING_STATES, LedgerState, LedgerValues, Pnl, Snapshot

VENUES, SYMBOLS = ("A", "B", "C"), ("BTC/USD", "ETH/USD", "BTC/EUR")
NOW = 3 * DAY_NS + 5_000_000_000
INF = math.inf
AMOUNTS = st.sampled_from([0.0, 0.5, 1.0, 2.5, 7.0])
SIGNED = st.sampled_from([-4.0, -1.0, 0.0, 0.5, 3.0])
PRICES = st.sampled_from([95.0, 100.0, 104.0])
TIMES = st.sampled_from([NOW - 2_000_000_000, NOW - 1_000_000_000, NOW - 999_999_999, NOW - 1, NOW])


def some(values: list[float]) -> st.SearchStrategy[float]:
    """A limit, mostly off."""
    return st.sampled_from([INF, INF, *values])


LIMITS = st.builds(
    RiskSettings,
    max_notional_per_order=some([0.0, 90.0, 500.0]),
    max_position=some([0.0, 1.0, 3.0, 6.0]),
    max_exposure=some([0.0, 300.0, 900.0, 2000.0]),
    max_daily_loss=some([0.0, 2.5, 7.0]),
    risk_limit=some([0.0, 0.02, 0.5]),
    max_drawdown=some([0.0, 2.5, 7.0]),
    max_orders_per_s=some([1.0, 2.0, 4.0]),
    max_open_per_instrument=some([1.0, 2.0]),
    cooldown_ms=st.sampled_from([0.0, 0.0, 500.0, 1000.0]),
    trading_state=st.sampled_from(["active", "active", "active", "reducing", "halted"]),
)


@st.composite
def universes(draw: st.DrawFn) -> Universe:
    """Three venues and three instruments, most of them open, active and unbounded."""
    active, most = st.sampled_from([True, True, True, False]), some([0.0, 0.25, 2.0])
    listings = [Listing(v, s, active=draw(active), max_quantity=draw(most)) for v in VENUES for s in SYMBOLS]
    said = st.sampled_from([None, None, OPEN, "halted", ""])
    venues = tuple(VenueState(venue, state) for venue in VENUES if (state := draw(said)) is not None)
    universe = Universe()
    universe.merge(ReferenceData(VENUES, SYMBOLS, tuple(listings), venue_states=venues))
    return universe


@st.composite
def states(draw: st.DrawFn) -> LedgerState:
    """Positions, balances, results, activity and reservations of three venues and three instruments."""
    universe = draw(universes())
    unlimited = draw(st.booleans())
    keys = [(venue, symbol) for venue in VENUES for symbol in SYMBOLS]
    free = {} if unlimited else {(v, a): draw(AMOUNTS) * 100 for v in VENUES for a in universe.assets}
    values = LedgerValues(
        positions={key: (draw(SIGNED), draw(PRICES)) for key in keys},
        balances=free,
        pnl={a: Pnl(draw(st.sampled_from([2, 3])), draw(SIGNED), draw(SIGNED), draw(AMOUNTS)) for a in ("USD", "EUR")},
        activity={symbol: (draw(st.integers(0, 2)), draw(TIMES)) for symbol in SYMBOLS},
        order_ts_ns=tuple(sorted(draw(st.lists(TIMES, max_size=4)))),
        trading_state=draw(st.sampled_from([0, 1, 1, 1, 2, 3])),
    )
    state = LedgerState(universe)
    if draw(st.integers(0, 9)):
        equity = draw(st.sampled_from([{}, {"USD": 100.0}, {"USD": 5.0, "EUR": 350.0}]))
        state.load(Snapshot(1, unlimited, values, equity))
    for reserved in (state.reserved_buy, state.reserved_sell):
        for at in np.ndindex(reserved.shape):
            reserved[at] = draw(st.sampled_from([0.0, 0.0, 1.0, 2.0]))
    state.touched()
    return state


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Some trades at the same moment."""
    n = draw(st.integers(1, 4))
    legs = [draw(st.permutations([0, 1, 2])) for _ in range(n)]
    prices = [[draw(PRICES) for _ in range(3)] for _ in range(n)]
    return Pair(
        np.full(n, NOW),
        np.array([draw(st.integers(0, 2)) for _ in range(n)]),
        np.array([leg[0] for leg in legs]),
        np.array([leg[1] for leg in legs]),
        np.array([p[0] for p in prices]),
        np.array([p[1] for p in prices]),
        np.array([max(p[0], p[2]) for p in prices]),
        np.array([draw(st.sampled_from([0.0, 0.001])) for _ in range(n)]),
    )


@given(states(), LIMITS, pairs())
def test_headroom_is_what_the_design_says(state: LedgerState, limits: RiskSettings, pair: Pair) -> None:
    """Every row has the first reason that holds, else the smallest cap and the limit that sets it."""
    got = headroom(state, limits, pair)
    for row in range(len(pair.ts_ns)):
        caps = plain_caps(state, limits, pair, row)
        reason = next((name for name in REASONS if not caps.get(name, 1) > 0), None)
        assert got.reason[row] == (REASONS.index(reason) + 1 if reason else 0)
        if reason is None:
            smallest = min(caps.values(), default=INF)
            assert math.isclose(got.quantity[row], smallest, rel_tol=1e-9)
            if smallest < INF:
                assert math.isclose(caps[REASONS[got.tightest[row] - 1]], smallest, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("selling", "buying", "room", "quantity"),
    [
        (0.0, 0.0, 600.0, 3.0),  # 3 bought at 100 and 3 sold at 100
        (5.0, 0.0, 600.0, 1.0),  # 5 already being sold where we buy: that 500 stays the worst there
        (5.0, 0.0, 400.0, 0.0),
        (0.0, 4.0, 600.0, 2.0),  # 4 already being bought where we sell
        (2.0, 2.0, 600.0, 3.0),  # until our own quantity is the worse one
    ],
)
def test_exposure_counts_orders_in_flight_the_other_way(
    selling: float, buying: float, room: float, quantity: float
) -> None:
    """Whether those orders fill is not known: the worse of both ways has to fit."""
    universe = Universe()
    universe.merge(ReferenceData(VENUES, SYMBOLS, (Listing("A", "BTC/USD"), Listing("B", "BTC/USD"))))
    state = LedgerState(universe)
    state.load(Snapshot(1, True, LedgerValues(trading_state=1)))
    state.mark[0, :2] = 100.0
    state.reserved_sell[0, 0], state.reserved_buy[0, 1] = selling, buying
    state.touched()
    numbers, prices = (np.array([n]) for n in (NOW, 0, 0, 1)), (np.array([p]) for p in (100.0, 100.0, 100.0, 0.0))
    got = headroom(state, RiskSettings(max_exposure=room), Pair(*numbers, *prices))
    assert got.quantity[0] == quantity
    assert got.reason[0] == (0 if quantity else REASONS.index("MAX_EXPOSURE") + 1)


def plain_caps(state: LedgerState, limits: RiskSettings, pair: Pair, row: int) -> dict[str, float]:
    """Each limit's largest quantity of one trade; 0 or less forbids it."""
    if not state.known:
        return {"STATE_UNKNOWN": 0}
    i, buy, sell = (int(c[row]) for c in (pair.instrument, pair.buy_venue, pair.sell_venue))
    ask, bid, limit = (float(c[row]) for c in (pair.buy_ask, pair.sell_bid, pair.buy_limit))
    base, quote = state.universe.base[i], state.universe.quote[i]
    caps: dict[str, float] = {}
    trading = max(state.trading_state or 3, TRADING_STATES[limits.trading_state])
    bought = float(state.position[i, buy] + state.reserved_buy[i, buy])
    sold = float(state.position[i, sell] - state.reserved_sell[i, sell])
    if trading == 3:
        caps["TRADING_HALTED"] = 0
    if trading == 2:
        caps["REDUCING_ONLY"] = min(-bought, sold)
    legs = [VENUES[buy], VENUES[sell]]
    if any(venue in state.universe.venue_states and state.universe.venue_states[venue].state != OPEN for venue in legs):
        caps["VENUE_NOT_OPEN"] = 0
    listings = [state.universe.listings[venue, SYMBOLS[i]] for venue in legs]
    if not all(listing.active for listing in listings):
        caps["INSTRUMENT_NOT_ACTIVE"] = 0
    caps["MAX_QUANTITY"] = min(listing.max_quantity for listing in listings)
    if NOW - state.last_decision_ns[i] < limits.cooldown_ms * 1e6:
        caps["COOLDOWN"] = 0
    if state.open[i] >= limits.max_open_per_instrument:
        caps["MAX_OPEN_PER_INSTRUMENT"] = 0
    if sum(1 for ts in state.order_ts_ns if NOW - ts < 1_000_000_000) + 2 > limits.max_orders_per_s:
        caps["MAX_ORDERS_PER_S"] = 0
    lost = -float(state.realised_day[quote]) if state.day[quote] == 3 else 0.0
    fraction = limits.risk_limit * float(state.equity[quote]) if limits.risk_limit < INF else INF
    if lost >= min(limits.max_daily_loss, fraction):
        caps["MAX_DAILY_LOSS"] = 0
    if state.high_water[quote] - state.cumulative[quote] >= limits.max_drawdown:
        caps["MAX_DRAWDOWN"] = 0
    caps["MAX_NOTIONAL_PER_ORDER"] = limits.max_notional_per_order / max(ask, bid)
    caps["MAX_POSITION"] = min(limits.max_position - bought, limits.max_position + sold)
    if limits.max_exposure < INF:
        caps["MAX_EXPOSURE"] = plain_exposure_cap(state, limits.max_exposure, (i, buy, sell), (ask, bid))
    caps["BALANCE_BUY_LEG"] = float(state.free[buy, quote]) / (limit * (1 + float(pair.taker[row])))
    caps["BALANCE_SELL_LEG"] = float(state.free[sell, base])
    return caps


def plain_exposure_cap(
    state: LedgerState, limit: float, at: tuple[int, int, int], prices: tuple[float, float]
) -> float:
    """Where exposure, as a function of the quantity, last is within the limit: it bends only where a sign does."""
    i, buy, sell = at

    def exposure(q: float) -> float:
        total = 0.0
        for j, v in np.ndindex(state.position.shape):
            held, buys, sells = (float(a[j, v]) for a in (state.position, state.reserved_buy, state.reserved_sell))
            if state.universe.quote[j] != state.universe.quote[i]:
                continue
            if (j, v) == (i, buy):
                ways = [abs(held + buys + q), *([abs(held - sells)] if sells else [])]
                total += max(ways) * prices[0]
            elif (j, v) == (i, sell):
                ways = [abs(held - sells - q), *([abs(held + buys)] if buys else [])]
                total += max(ways) * prices[1]
            else:
                total += max(abs(held + buys), abs(held - sells)) * float(state.mark[j, v])
        return total

    # Convex, and beyond 20 it only rises: the minimum by ternary search, then the last zero by bisection.
    low, high = 0.0, 1e4
    for _ in range(200):
        third = (high - low) / 3
        low, high = (low + third, high) if exposure(low + third) > exposure(high - third) else (low, high - third)
    if exposure(low) > limit + 1e-9:
        return 0.0
    inside, outside = low, 1e5
    for _ in range(200):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if exposure(middle) <= limit + 1e-9 else (inside, middle)
    return inside if inside > 1e-9 else 0.0
