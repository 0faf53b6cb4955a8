"""The liquidity engine: how far both books are walked, and what that costs."""

import math
import random
from dataclasses import replace

import pytest
from opportunity_rows import Levels, opportunities, reasons

from arbhub.engine import EngineConfiguration
from arbhub.settings.engines import EnginesSettings, LiquiditySettings
from engines.liquidity import Liquidity

ASKS: Levels = [(100.0, 1.0), (101.0, 1.0), (110.0, 5.0)]
BIDS: Levels = [(104.0, 0.5), (103.0, 1.0), (90.0, 9.0)]
GROSS = 400.0  # (104 - 100) / 100


def liquidity(max_notional: float) -> Liquidity:
    """The engine with this target."""
    engine = Liquidity()
    settings = LiquiditySettings(max_notional=max_notional)
    engine.configure(EngineConfiguration(engines=EnginesSettings(liquidity=settings)))
    return engine


@pytest.mark.parametrize(
    ("max_notional", "quantity", "vwap_buy", "vwap_sell", "limits"),
    [
        (40.0, 0.4, 100.0, 104.0, (100.0, 104.0)),  # within the best levels: no slippage
        (50.0, 0.5, 100.0, 104.0, (100.0, 104.0)),  # exactly the best bid: not a level more
        (100.0, 1.0, 100.0, (52.0 + 51.5) / 1.0, (100.0, 103.0)),
        (150.0, 1.5, 150.5 / 1.5, 155.0 / 1.5, (101.0, 103.0)),
        (200.0, 2.0, 100.5, 100.0, (101.0, 90.0)),
        (1e9, 7.0, (100.0 + 101.0 + 550.0) / 7, (52.0 + 103.0 + 90.0 * 5.5) / 7, (110.0, 90.0)),  # all asks
        (math.inf, 7.0, 751.0 / 7, 650.0 / 7, (110.0, 90.0)),
    ],
)
def test_the_walk(
    max_notional: float, quantity: float, vwap_buy: float, vwap_sell: float, limits: tuple[float, float]
) -> None:
    """Target max_notional / 100, or what the lesser side holds; bps is the edge at the walked prices less gross."""
    row = opportunities([(100.0, 104.0)], asks=[ASKS], bids=[BIDS])
    verdicts = liquidity(max_notional).judge(row)
    assert verdicts.quantity.tolist() == [quantity]
    expected = (vwap_sell - vwap_buy) / vwap_buy * 1e4 - GROSS
    assert verdicts.bps[0] == pytest.approx(expected, abs=1e-9)
    assert verdicts.buy_limit is not None
    assert verdicts.sell_limit is not None
    assert (verdicts.buy_limit[0], verdicts.sell_limit[0]) == limits
    assert verdicts.bps[0] <= 0.0


def test_the_lesser_side_sets_the_quantity() -> None:
    """What one side lacks the other need not give."""
    rows = opportunities([(100.0, 104.0)], ts_ns=[0, 1], asks=[ASKS, [(100.0, 9.0)]], bids=[BIDS[:1], BIDS[:2]])
    assert liquidity(1e6).judge(rows).quantity.tolist() == [0.5, 1.5]


def test_rows_of_many_levels_change_no_row_of_few() -> None:
    """Beside a deep book a shallow one is judged to the same bit: the rest of its row is nothing."""
    both = opportunities([(100.0, 104.0)], ts_ns=[0, 1], asks=[ASKS, ASKS[:1]], bids=[BIDS, BIDS[:2]])
    alone = opportunities([(100.0, 104.0)], ts_ns=[1], asks=[ASKS[:1]], bids=[BIDS[:2]])
    together, apart = liquidity(1e6).judge(both), liquidity(1e6).judge(alone)
    assert (together.bps[1], together.quantity[1]) == (apart.bps[0], apart.quantity[0])
    assert together.buy_limit is not None
    assert together.sell_limit is not None
    assert (together.buy_limit[1], together.sell_limit[1]) == (100.0, 103.0)


def test_sums_run_level_by_level() -> None:
    """Thirty levels are added one after the other: any other order of adding gives other last digits."""
    chance = random.Random(1)
    asks = [(100.0 + i * chance.random(), chance.random()) for i in range(30)]
    asks.sort()
    bids = [(104.0, 1e9)]
    verdicts = liquidity(1e9).judge(opportunities([(asks[0][0], 104.0)], asks=[asks], bids=[bids]))
    quantity = cost = 0.0
    for price, size in asks:
        cost += size * price
        quantity += size
    assert verdicts.quantity.tolist() == [quantity]
    gross = (104.0 - asks[0][0]) / asks[0][0] * 1e4
    vwap_sell = 104.0 * quantity / quantity
    assert verdicts.bps.tolist() == [min((vwap_sell - cost / quantity) / (cost / quantity) * 1e4 - gross, 0.0)]


def test_it_rejects_nothing() -> None:
    """Depth that overflows is for the fold to refuse: an infinite quantity is none."""
    row = opportunities([(1.0, 2.0)], asks=[[(1.0, 1.7e308), (1.5, 1.7e308)]], bids=[[(2.0, 1e308), (1.0, 1e308)]])
    engine = liquidity(math.inf)
    verdicts = engine.judge(row)
    assert (reasons(engine, verdicts), verdicts.quantity.tolist()) == ([None], [math.inf])


def test_without_depth_it_cannot_judge() -> None:
    """It asks for depth; a hub that sends none has a bug, and no verdict is invented."""
    with pytest.raises(ValueError, match="without depth"):
        liquidity(1.0).judge(replace(opportunities(), depth=None))
