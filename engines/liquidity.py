"""Liquidity: how much both books hold, and what walking them costs of the edge.

Sums run level by level in order (`numpy.add.accumulate` is sequential along a row), so a row's result does not
depend on what else is in the batch.
"""

import numpy as np

from arbhub.columns import Floats, Ints, Opportunities, Side, Verdicts, as_ieee754
from arbhub.engine import Engine, EngineConfiguration, verdicts


class Liquidity(Engine):
    """quantity: the lesser of what both sides hold up to max_notional / buy_ask.

    bps: the edge at the volume-weighted prices of that quantity, less the gross edge; never above zero.
    """

    name = "liquidity"
    wants_depth = True

    def configure(self, configuration: EngineConfiguration) -> None:
        """Take [engines.liquidity]."""
        self._max_notional = configuration.engines.liquidity.max_notional

    @as_ieee754
    def judge(self, opportunities: Opportunities) -> Verdicts:
        """Approve what the depth holds; zero of it is for the fold to refuse."""
        o, depth = opportunities, opportunities.depth
        if depth is None:
            raise ValueError("liquidity was asked without depth")
        asks, bids = np.add.accumulate(depth.asks.size, axis=1), np.add.accumulate(depth.bids.size, axis=1)
        quantity = np.minimum(np.minimum(self._max_notional / o.buy_ask, asks[:, -1]), bids[:, -1])
        vwap_buy, buy_limit = _walk(depth.asks, asks, quantity)
        vwap_sell, sell_limit = _walk(depth.bids, bids, quantity)
        gross = (o.sell_bid - o.buy_ask) / o.buy_ask * 1e4
        slippage = np.minimum((vwap_sell - vwap_buy) / vwap_buy * 1e4 - gross, 0.0)
        v = verdicts(np.zeros(len(o), np.int64), slippage, quantity)
        return Verdicts(v.verdict, v.reason, v.bps, v.quantity, buy_limit, sell_limit)


def _walk(side: Side, filled: Floats, quantity: Floats) -> tuple[Floats, Floats]:
    """Volume-weighted and worst price of taking `quantity` from each row; `filled` is the running size."""
    n, width = side.size.shape
    before = np.zeros((n, width))
    before[:, 1:] = filled[:, :-1]
    left = quantity[:, None] - before
    take = np.where(left > 0, np.minimum(left, side.size), 0.0)
    cost = np.add.accumulate(take * side.price, axis=1)[:, -1]
    worst: Ints = width - 1 - (take[:, ::-1] > 0).argmax(axis=1)
    return cost / quantity, side.price[np.arange(n), worst]
