"""The report's sums, and what makes a run's figures worth less."""

from typing import Any

import numpy as np
import pytest

from loadtest.outcome import SHED, Outcome
from loadtest.processes import Usage
from loadtest.report import Setup, complaints, report
from loadtest.schedule import Arrivals, Market, schedule

PLAN = schedule(Arrivals.POISSON, 1000, 0.1, Market(instruments=3, venues=2), 1)
SETUP = Setup(1000, 0.1, 0, "stream", "poisson", 3, 2, 1, 1)


@pytest.fixture
def outcome() -> Outcome:
    """All approved after 3 ms, of which the hub took 2, sent 20 us late."""
    outcome, rows = Outcome(PLAN), np.arange(len(PLAN.at_ns))
    outcome.handed_over(0, len(rows), 0)
    outcome.answered(rows, np.zeros(len(rows), np.int64), ("",), 2_000_000, 0)
    outcome.latency_ns[:], outcome.lateness_ns[:] = 3_000_000, 20_000
    return outcome


def reported(outcome: Outcome) -> dict[str, Any]:
    """The report of a run."""
    return report(SETUP, outcome, Usage({}), None)


def reject(outcome: Outcome, count: int, reason: str) -> None:
    """The first ticks were rejected."""
    for row in range(PLAN.measured, PLAN.measured + count):
        outcome.decided(row, reason, 2_000_000, int(PLAN.at_ns[row]) + 60_000_000)


def test_a_good_run_has_nothing_to_complain_of(outcome: Outcome) -> None:
    """Everything decided and approved, at the rate asked for."""
    result = reported(outcome)
    assert result["sent"] == result["decided"] == result["approved"] == outcome.sent
    assert result["achieved"] == pytest.approx(outcome.sent / 0.1)
    assert result["latency_ms"]["p99_99"] == pytest.approx(3.0, rel=1e-3)
    assert result["hub_latency_ms"]["p50"] == pytest.approx(2.0, rel=1e-3)
    assert result["driver_error_us"] == pytest.approx(20)
    assert result["failed"] == 0
    assert result["kept_rate"]
    assert complaints(result) == []


def test_failures_are_a_share_of_what_was_sent(outcome: Outcome) -> None:
    """Sheds, timeouts of engines and of calls, and lost ticks count once each; other rejections are no failures."""
    reject(outcome, 7, "FEE_UNKNOWN")
    reject(outcome, 3, "ENGINE_TIMEOUT:fee")
    outcome.gone(PLAN.measured + 10, SHED)
    outcome.expired(PLAN.measured + 11, 10**9)
    outcome.fate[PLAN.measured + 12] = 0
    outcome.finish()
    result = reported(outcome)
    counted = [result[name] for name in ("shed", "timeouts", "expired", "lost")]
    assert counted == [1, 4, 1, 1]
    assert result["rejected"] == {"FEE_UNKNOWN": 4, "ENGINE_TIMEOUT:fee": 3}
    assert result["failed"] == pytest.approx(6 / outcome.sent)
    assert result["sent"] == result["decided"] + result["shed"] + result["expired"] + result["lost"]


def test_the_driver_says_when_it_was_late_itself(outcome: Outcome) -> None:
    """Late as a rule, or very late once: the rate was not kept, and that is not called the hub's failing."""
    outcome.lateness_ns[PLAN.measured] = 101_000_000
    once = reported(outcome)
    outcome.lateness_ns[:] = 1_100_000
    as_a_rule = reported(outcome)
    for result in (once, as_a_rule):
        assert not result["kept_rate"]
        (complaint,) = complaints(result)
        assert complaint.startswith("the driver did not keep its own rate")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("SHED", "did not keep up"),
        ("ENGINE_TIMEOUT:fee", "no verdict in time"),
        ("lost", "never answered"),
        ("NO_COUNTERPART", "no second venue"),
    ],
)
def test_the_hub_s_failings_are_named(outcome: Outcome, reason: str, words: str) -> None:
    """Each in a sentence of its own; the driver kept its rate."""
    reject(outcome, outcome.sent * 3 // 4, reason)
    result = reported(outcome)
    assert result["kept_rate"]
    assert [words in complaint for complaint in complaints(result)] == [True]
