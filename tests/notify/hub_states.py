"""States of a hub as a test likes them, and moments."""

from typing import Any

from arbhub.notify.events import Now
from arbhub.v1 import hub_pb2
from arbhub.v1.ledger_pb2 import TradingState

MIDNIGHT_S = 1_700_006_400.0  # 2023-11-15 00:00 UTC
INF = float("inf")


def at(seconds: float) -> Now:
    """A moment so long after a midnight; the two clocks do not agree on where they began."""
    return Now(MIDNIGHT_S + seconds, 1000.0 + seconds)


def engine(name: str = "fee", **what: Any) -> hub_pb2.EngineStatus:
    """One that is well, but for what is said."""
    well: dict[str, Any] = {"name": name, "up": True, "mode": "active", "breaker": "closed"}
    return hub_pb2.EngineStatus(**well | what)


def status(
    state: str = "active", *, drawdown: float = 0.0, loss: float = 0.0, loss_limit: float = 50.0, **what: Any
) -> hub_pb2.Status:
    """A hub that is well, but for what is said; limits of 100 and of 50 a day, in USD."""
    result = hub_pb2.ResultStatus(
        asset="USD",
        day=int(MIDNIGHT_S) // 86_400,
        realised_day=-loss,
        cumulative=200.0 - drawdown,
        high_water=200.0,
        daily_loss_limit=loss_limit,
    )
    given: dict[str, Any] = {
        "epoch": 1,
        "executor_up": True,
        "engines": [engine()],
        "results": [result],
        "limits": hub_pb2.LimitStatus(max_drawdown=100.0, max_exposure=INF),
    }
    return hub_pb2.Status(trading_state=TradingState.Value(f"TRADING_STATE_{state.upper()}"), **given | what)
