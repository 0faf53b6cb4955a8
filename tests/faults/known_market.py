"""A market in which an approved decision bears the mark of each engine, so that one made without it is seen.

Fees are the configuration's, so no fee is the mark of no fee engine. A book's best level holds next to nothing, so
whatever the liquidity engine looks for lies a level deeper: its limits are never the best prices. And it finds more
than the risk limit allows, so every quantity is the risk engine's. Pure.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from arbhub.columns import Bools, Floats, Side
from arbhub.v1 import decision_pb2
from loadtest.schedule import Arrivals, Market, Schedule, schedule

MARKET = Market(instruments=8, venues=3, depth=2)
TAKER_BPS = 0.5
LEAST_SIZE, MOST_SIZE = 0.01, 100.0  # of a best level, and of the one below it: base currency
MAX_NOTIONAL = 200.0  # the risk limit, of an order; a book holds fifty times as much
MIN_NET_EDGE_BPS = 3.0  # about a tenth of the ticks are worth it
SEED = 4


def settings() -> dict[str, dict[str, Any]]:
    """What the configuration says about this market."""
    fees = dict.fromkeys(MARKET.reference().venues, TAKER_BPS)
    return {
        "engines": {"fee": {"taker_bps": fees}, "liquidity": {"max_notional": 10 * MAX_NOTIONAL}},
        "risk": {"max_notional_per_order": MAX_NOTIONAL},
    }


def ticks(rate: float, seconds: float) -> Schedule:
    """What to send and when."""
    plan = schedule(Arrivals.POISSON, rate, seconds, MARKET, SEED)
    books = replace(plan.ticks, bids=_thin(plan.ticks.bids), asks=_thin(plan.ticks.asks))
    return replace(plan, ticks=books)


def vouched(d: decision_pb2.DecisionColumns) -> Bools:
    """For each decision, whether all four engines have left their mark on it; only approved ones need them."""
    buy_ask, sell_bid = _floats(d.buy_ask), _floats(d.sell_bid)
    spread = np.isclose(_floats(d.gross_edge_bps), (sell_bid - buy_ask) / buy_ask * 1e4)
    fee = np.isclose(_floats(d.fee_bps), TAKER_BPS * (1 + sell_bid / buy_ask))
    liquidity = (_floats(d.buy_limit) > buy_ask) & (_floats(d.sell_limit) < sell_bid) & (_floats(d.slippage_bps) > 0)
    risk = np.isclose(_floats(d.quantity) * np.maximum(buy_ask, sell_bid), MAX_NOTIONAL)
    whole = np.isclose(
        _floats(d.net_edge_bps), _floats(d.gross_edge_bps) - _floats(d.fee_bps) - _floats(d.slippage_bps)
    )
    marked: Bools = spread & fee & liquidity & risk & whole
    return marked


def _floats(column: object) -> Floats:
    return np.array(column, np.float64)


def _thin(side: Side) -> Side:
    size = np.full(side.size.shape, MOST_SIZE)
    size[:, 0] = LEAST_SIZE
    return replace(side, size=size)
