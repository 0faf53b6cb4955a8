"""Latencies as quantiles of an HdrHistogram: 1 us to 60 s, three significant figures.

Recorded after the run, from every tick's own latency: recording costs microseconds that the run does not have.
"""

import numpy as np
from hdrh.histogram import HdrHistogram

from arbhub.columns import Ints

QUANTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "p99_99": 99.99, "max": 100.0}
LEAST_US, MOST_US, FIGURES = 1, 60_000_000, 3

Quantiles = dict[str, float | None]


def quantiles_ms(latency_ns: Ints) -> Quantiles:
    """The quantiles in milliseconds; None where there are no latencies. What is above 60 s counts as 60 s."""
    if not len(latency_ns):
        return dict.fromkeys(QUANTILES)
    histogram = HdrHistogram(LEAST_US, MOST_US, FIGURES)
    # Rounded up: a latency is never shown shorter than it was.
    whole_us = np.clip(-(-latency_ns // 1000), LEAST_US, MOST_US)
    values, counts = np.unique(whole_us, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(value, count)
    return {name: histogram.get_value_at_percentile(q) / 1e3 for name, q in QUANTILES.items()}
