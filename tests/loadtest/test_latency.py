"""Quantiles of latencies: in order, of three significant figures, and never flattered."""

import numpy as np
import pytest

from loadtest.latency import quantiles_ms


def test_quantiles_are_those_of_the_latencies() -> None:
    """Within a thousandth of the exact ones, in milliseconds, from 10 us to 10 s."""
    latency_ns = (10 ** np.random.default_rng(1).uniform(4, 10, 50_000)).astype(np.int64)
    found = quantiles_ms(latency_ns)
    assert list(found) == ["p50", "p90", "p99", "p99_9", "p99_99", "max"]
    exact = np.percentile(latency_ns / 1e6, [50, 90, 99, 99.9], method="inverted_cdf")
    assert [found[name] for name in ("p50", "p90", "p99", "p99_9")] == pytest.approx(exact.tolist(), rel=2e-3)
    assert found["max"] == pytest.approx(latency_ns.max() / 1e6, rel=2e-3)


def test_a_latency_is_never_shown_shorter_than_it_was() -> None:
    """1.5 us are 2, not 1; and what is beyond a minute is at least a minute."""
    assert quantiles_ms(np.array([1_500]))["p50"] == 0.002
    longest = quantiles_ms(np.array([90_000_000_000]))["max"]
    assert longest is not None
    assert longest >= 60_000


def test_one_slow_tick_in_ten_thousand_is_the_last_quantile() -> None:
    """The tail that the figures are for is seen: two slow ones in 10,000 are beyond p99.99, and not in p99.9."""
    latency_ns = np.full(10_000, 1_000_000)
    latency_ns[[17, 4711]] = 50_000_000
    found = quantiles_ms(latency_ns)
    assert found["p99_9"] == pytest.approx(1.0, rel=1e-3)
    assert found["p99_99"] == pytest.approx(50.0, rel=1e-3)


def test_without_latencies_there_are_no_quantiles() -> None:
    """None, not zero: zero would be the best there is."""
    assert set(quantiles_ms(np.zeros(0, np.int64)).values()) == {None}
