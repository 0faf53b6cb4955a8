"""What trading has come to, as the executor's ledger says, how near that is to its limits, and what it has yet to say.

Amounts are in quote currency, by quote asset.
"""

import time
from collections.abc import Iterator

from prometheus_client.core import Metric

from arbhub.limits import daily_losses
from arbhub.state import DAY_NS
from hub.hub import Hub
from hub.metrics.families import gauge, gauges
from hub.pulse import Pulse


def results(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """Nothing before the first connection."""
    ledger = hub.ledger()
    if ledger is None:
        return
    pnl, today = ledger.values.pnl, time.time_ns() // DAY_NS
    for name, what, values in (
        ("realised_pnl", "Realised in all, by quote asset.", {a: p.cumulative for a, p in pnl.items()}),
        (
            "realised_pnl_today",
            "Realised since midnight UTC, by quote asset.",
            {a: p.realised_day if p.day == today else 0.0 for a, p in pnl.items()},
        ),
        (
            "drawdown_quote",
            "How far what was realised is below its highest, by quote asset.",
            {a: p.high_water - p.cumulative for a, p in pnl.items()},
        ),
        ("exposure_quote", "Open positions at their last prices, by quote asset.", ledger.values.gross_exposure()),
    ):
        yield gauges(name, what, "asset", values)


def limits(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """Those of [risk] that results are held against; +Inf: off."""
    risk, ledger = hub.settings.risk, hub.ledger()
    if ledger is not None:
        losses = daily_losses(risk, ledger.equity, ledger.values.pnl)
        what = "Realised loss of a day from which on nothing is traded, by quote asset."
        yield gauges("daily_loss_limit_quote", what, "asset", losses)
    yield gauge("drawdown_limit_quote", "Drawdown from which on nothing is traded.", risk.max_drawdown)
    yield gauge("exposure_limit_quote", "The gross exposure that is allowed.", risk.max_exposure)


def ledger_lag(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """What was approved and is not in the ledger yet, as far as the hub was told."""
    awaited = hub.trades.awaited
    waited_ns = time.monotonic_ns() - next(iter(awaited.values())) if awaited else 0
    yield gauge("unreported_decisions", "Approved, without a report from the executor so far.", len(awaited))
    yield gauge("unreported_age_seconds", "Since the oldest of them was approved.", waited_ns / 1e9)
