"""[risk]: the limits of the risk engine and of the executor's gate."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator

from arbhub.settings.section import Amount, Limit, Section


def _fraction(value: float) -> float:
    if not (0 <= value <= 1 or value == math.inf):
        raise ValueError("should be a fraction from 0 to 1, such as 0.02 for 2%, or inf for no limit")
    return value


class RiskSettings(Section):
    """Limits; `inf` turns one off. Amounts per quote asset, positions in base currency."""

    max_notional_per_order: Limit = float("inf")
    max_position: Limit = float("inf")
    max_exposure: Limit = float("inf")
    max_daily_loss: Limit = float("inf")
    risk_limit: Annotated[float, AfterValidator(_fraction)] = float("inf")
    """The largest daily loss as a fraction of the starting equity: what executor.balances name of the quote asset, on
    all venues together. The smaller of this and max_daily_loss counts."""
    max_drawdown: Limit = float("inf")
    max_orders_per_s: Limit = float("inf")
    max_open_per_instrument: Limit = float("inf")
    cooldown_ms: Amount = 0.0
    trading_state: Literal["active", "reducing", "halted"] = "active"
    """The least restrictive state allowed; the ledger's own may be stricter."""
    balance_margin_bps: Amount = 50.0
    """How much dearer than the best ask the risk engine counts the buy leg, as its limit price may lie deeper."""
