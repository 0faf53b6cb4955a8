"""Liquidity: how much both books hold, and what walking them costs of the edge.

Sums run level by level in order (`numpy.add.accumulate` is sequential along a row), so a row's result does not
depend on what else is in the batch.
"""

import math
from collections.abc import Sequence

import numpy as np

from arbhub.columns import APPROVE, Floats, Ints, Opportunities, Side, Verdicts, as_ieee754
from arbhub.engine import Engine, EngineConfiguration, verdicts
from arbhub.rows import Opportunity, Verdict


class Liquidity(Engine):
    """quantity: the lesser of what both sides hold up to max_notional / buy_ask.

    bps: the edge at the volume-weighted prices of that quantity, less the gross edge; never above zero.
    """

    name = "liquidity"
    wants_depth = True
    reads = ("buy_ask", "sell_bid")

    def configure(self, configuration: EngineConfiguration) -> None:
        """Take [engines.liquidity]."""
        self._max_notional = configuration.engines.liquidity.max_notional

    @as_ieee754
    def judge(self, opportunities: Opportunities) -> Verdicts:
        """Approve what the depth holds; zero of it is for the fold to refuse."""
        o, depth = opportunities, opportunities.depth
        if depth is None:
            raise ValueError("liquidity was asked without depth")
        asks, bids = _running(depth.asks.size), _running(depth.bids.size)
        quantity = np.minimum(np.minimum(self._max_notional / o.buy_ask, asks[:, -1]), bids[:, -1])
        vwap_buy, buy_limit = _walk(depth.asks, asks, quantity)
        vwap_sell, sell_limit = _walk(depth.bids, bids, quantity)
        gross = (o.sell_bid - o.buy_ask) / o.buy_ask * 1e4
        slippage = np.minimum((vwap_sell - vwap_buy) / vwap_buy * 1e4 - gross, 0.0)
        v = verdicts(np.zeros(len(o), np.int64), slippage, quantity)
        return Verdicts(v.verdict, v.reason, v.bps, v.quantity, buy_limit, sell_limit)

    def judge_row(self, opportunity: Opportunity) -> Verdict | None:
        """The same of one that has depth to trade."""
        o = opportunity
        if o.ask_price is None:
            return None
        quantity = self._max_notional / o.buy_ask
        for sizes in (o.ask_size, o.bid_size):
            held = 0.0
            for size in sizes:
                held += size
            quantity = quantity if quantity <= held else held
        if not 0.0 < quantity < math.inf:
            return None
        vwap_buy, buy_limit = _walk_row(o.ask_price, o.ask_size, quantity)
        vwap_sell, sell_limit = _walk_row(o.bid_price, o.bid_size, quantity)
        gross = (o.sell_bid - o.buy_ask) / o.buy_ask * 1e4
        slippage = (vwap_sell - vwap_buy) / vwap_buy * 1e4 - gross
        if math.isnan(slippage):
            return None
        return Verdict(APPROVE, 0, slippage if slippage < 0.0 else 0.0, quantity, buy_limit, sell_limit)


def _walk_row(prices: Sequence[float], sizes: Sequence[float], quantity: float) -> tuple[float, float]:
    """As `_walk`, for one row and a quantity above zero."""
    before, cost, worst = 0.0, 0.0, prices[-1]
    for price, size in zip(prices, sizes, strict=True):
        left = quantity - before
        if left > 0.0:
            take = left if left < size else size
            if take > 0.0:
                worst = price
            cost += take * price
        before += size
    return cost / quantity, worst


def _running(size: Floats) -> Floats:
    """Sums level by level."""
    return size if size.shape[1] == 1 else np.add.accumulate(size, axis=1)


def _walk(side: Side, filled: Floats, quantity: Floats) -> tuple[Floats, Floats]:
    """Volume-weighted and worst price of taking `quantity` from each row; `filled` is the running size."""
    n, width = side.size.shape
    if width == 1:  # the same in fewer steps: of one level nothing is taken before
        price = side.price[:, 0]
        return np.where(quantity > 0, quantity, 0.0) * price / quantity, price
    before = np.zeros((n, width))
    before[:, 1:] = filled[:, :-1]
    left = quantity[:, None] - before
    take = np.where(left > 0, np.minimum(left, side.size), 0.0)
    cost = np.add.accumulate(take * side.price, axis=1)[:, -1]
    worst: Ints = width - 1 - (take[:, ::-1] > 0).argmax(axis=1)
    return cost / quantity, side.price[np.arange(n), worst]
