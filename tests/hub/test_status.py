"""What a hub says of itself to whoever watches: trading state, results beside their limits, engines' breakers."""

import math

from hub_probes import ScriptedExecutor, hub_of, settings, status_of

from arbhub.settings.risk import RiskSettings
from arbhub.state import HALTED, LedgerValues, Pnl
from arbhub.v1 import hub_pb2
from arbhub.v1.ledger_pb2 import TradingState

LEDGER = LedgerValues(
    positions={("A", "BTC/USD"): (2.0, 100.0), ("B", "BTC/USD"): (-2.0, 110.0), ("A", "ETH/EUR"): (0.0, 5.0)},
    pnl={"USD": Pnl(day=19_000, realised_day=-5.0, cumulative=7.0, high_water=12.0)},
    trading_state=HALTED,
)


async def test_a_state_has_what_decides_whether_trading_goes_on() -> None:
    """By quote asset the ledger's results and the gross exposure at marks, and the limits in force."""
    async with ScriptedExecutor(LEDGER, {"USD": 1000.0}).served() as executor:
        made = settings(executor).model_copy(
            update={"risk": RiskSettings(max_drawdown=10.0, max_daily_loss=200.0, risk_limit=0.1)}
        )
        async with hub_of(made) as address:
            s = await status_of(address, lambda s: s.executor_up and s.results, "the ledger's state")
    assert s.trading_state == TradingState.TRADING_STATE_HALTED
    assert [(r.asset, r.exposure) for r in s.results] == [("EUR", 0.0), ("USD", 420.0)]
    assert s.results[1] == hub_pb2.ResultStatus(
        asset="USD",
        day=19_000,
        realised_day=-5.0,
        cumulative=7.0,
        high_water=12.0,
        exposure=420.0,
        daily_loss_limit=100.0,
    )
    assert (s.limits.max_drawdown, s.limits.max_exposure) == (10.0, math.inf)
    assert {(e.mode, e.breaker) for e in s.engines} == {("active", "closed")}


async def test_a_configuration_that_halts_is_the_state_in_force() -> None:
    """Before any executor has said anything."""
    made = settings().model_copy(update={"risk": RiskSettings(trading_state="reducing")})
    async with hub_of(made) as address:
        s = await status_of(address, lambda _: True, "a state")
    assert s.trading_state == TradingState.TRADING_STATE_REDUCING
    assert [*s.results] == []
