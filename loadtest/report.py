"""The report of a load run, under the names that the design gives."""

from typing import Any

import numpy as np

from loadtest.driver import Outcome
from loadtest.processes import Usage

QUANTILES = {"p50": 50, "p90": 90, "p99": 99, "p99_9": 99.9, "p99_99": 99.99, "max": 100}
KEPT = 0.99  # of the rate: below it the driver, or the hub's window, could not hold it


def report(outcome: Outcome, rate: float, seconds: float, usage: Usage) -> dict[str, Any]:
    """As JSON values. Latencies in milliseconds from the intended send, over decided ticks only.

    `driver_error_us` is the median of how late the driver handed ticks over, beside its 99th percentile and worst.
    """
    latency_ms = outcome.latency_ns[outcome.latency_ns > 0] / 1e6
    late_us = np.array(outcome.lateness_ns or [0]) / 1e3
    return {
        "rate": rate,
        "achieved": outcome.decided / seconds,
        "seconds": seconds,
        "sent": len(outcome.latency_ns),
        "decided": outcome.decided,
        "approved": outcome.approved,
        "shed": outcome.shed,
        "timeouts": outcome.timeouts,
        "lost": outcome.lost,
        "latency_ms": {
            name: float(np.percentile(latency_ms, q)) if len(latency_ms) else None for name, q in QUANTILES.items()
        },
        "driver_error_us": float(np.percentile(late_us, 50)),
        "driver_error_p99_us": float(np.percentile(late_us, 99)),
        "driver_error_max_us": float(late_us.max()),
        "cpu_s": usage.cpu_s(),
        "rss_mb": usage.rss_mb(),
    }


def complaint(result: dict[str, Any]) -> str | None:
    """What makes a run's figures worth less than they look; None where nothing does."""
    if result["lost"]:
        return f"{result['lost']} ticks were never answered: the hub went away, or did not answer in time"
    if result["decided"] + result["shed"] and result["achieved"] < KEPT * result["sent"] / result["seconds"]:
        return "the rate was not held: part of what was sent was shed"
    return None
