"""The report of a load run, under the names that the design gives, and what makes its figures worth less."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loadtest.latency import quantiles_ms
from loadtest.outcome import EXPIRED, LOST, OWN, SHED, Outcome
from loadtest.processes import Usage

TIMEOUT = "ENGINE_TIMEOUT"
NO_COUNTERPART = "NO_COUNTERPART"
USUAL_LATENESS_US = 1_000.0
WORST_LATENESS_US = 100_000.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What was asked for. `rate` in ticks a second, times in seconds."""

    rate: float
    seconds: float
    warm_up: float
    mode: str
    arrivals: str
    instruments: int
    venues: int
    depth: int
    seed: int
    window: int = 1
    """Batches under way at once, on a stream."""


def report(setup: Setup, outcome: Outcome, usage: Usage, stalls: Mapping[str, float | None] | None) -> dict[str, Any]:
    """As JSON values, of the measured part. `sent` is `decided`, `shed`, `lost` and `expired` together.

    `timeouts` are decisions that an engine's silence made, and unary calls that their own deadline ended (`expired`);
    their latencies count. Sheds have none.
    """
    counts = outcome.by_fate()
    reasons = {name: count for name, count in counts.items() if name not in OWN}
    approved, shed, lost, expired = (counts.get(name, 0) for name in ("", OWN[SHED], OWN[LOST], OWN[EXPIRED]))
    decided = approved + sum(reasons.values())
    timeouts = expired + sum(count for name, count in reasons.items() if name.startswith(TIMEOUT))
    return {
        **asdict(setup),
        "achieved": decided / setup.seconds,
        "sent": outcome.sent,
        "decided": decided,
        "approved": approved,
        "rejected": reasons,
        "shed": shed,
        "timeouts": timeouts,
        "expired": expired,
        "lost": lost,
        "failed": (shed + timeouts + lost) / outcome.sent if outcome.sent else 0.0,
        "latency_ms": quantiles_ms(outcome.latencies_ns()),
        "hub_latency_ms": quantiles_ms(outcome.holdings_ns()),
        **_driver_error(outcome),
        "machine_stalls_ms": stalls,
        "cpu_s": usage.cpu_s(),
        "rss_mb": usage.rss_mb(),
        "peak_rss_mb": usage.peak_rss_mb(),
    }


def _driver_error(outcome: Outcome) -> dict[str, float | bool]:
    """How much later than it could have the driver handed ticks over, in microseconds, and whether it kept the rate."""
    late_us = outcome.latenesses_ns() / 1e3
    median, p99 = (float(q) for q in np.percentile(late_us, [50, 99])) if len(late_us) else (0.0, 0.0)
    worst = float(late_us.max(initial=0.0))
    return {
        "kept_rate": median <= USUAL_LATENESS_US and worst <= WORST_LATENESS_US,
        "driver_error_us": median,
        "driver_error_p99_us": p99,
        "driver_error_max_us": worst,
    }


def complaints(result: Mapping[str, Any]) -> list[str]:
    """What makes a run's figures worth less than they look, the driver's own failings first."""
    found = []
    sent, decided = result["sent"], result["decided"]
    if not result["kept_rate"]:
        found.append(
            f"the driver did not keep its own rate (it sent {result['driver_error_us'] / 1e3:.1f} ms late as a rule, "
            f"{result['driver_error_max_us'] / 1e3:.0f} ms at worst): this run says little about the hub"
        )
    if result["shed"]:
        found.append(f"the hub did not keep up: {result['shed']} of {sent} ticks were shed")
    if result["timeouts"]:
        found.append(f"{result['timeouts']} of {sent} ticks had no verdict in time")
    if result["lost"]:
        found.append(f"{result['lost']} ticks were never answered: the hub went away, or did not answer in time")
    if result["rejected"].get(NO_COUNTERPART, 0) > decided / 2:
        found.append("most ticks found no second venue to trade with, and such are decided without asking an engine")
    return found
