"""What became of ticks: every one has one fate, and figures are made of the measured part alone."""

import numpy as np

from loadtest.outcome import LOST, SHED, Outcome
from loadtest.schedule import Arrivals, Market, schedule

PLAN = schedule(Arrivals.POISSON, 1000, 0.1, Market(instruments=3, venues=2), 1, warm_up_s=0.1)


def test_every_tick_has_one_fate() -> None:
    """Approved, rejected, shed, expired, lost: they add up to what was sent, and what had no answer is lost."""
    outcome, first = Outcome(PLAN), PLAN.measured
    outcome.answered(np.arange(first, first + 3), np.array([0, 2, 1]), ("", "SHED", "FEE_UNKNOWN"), 5, 10**9)
    outcome.decided(first + 3, "FEE_UNKNOWN", 6, 10**9)
    outcome.expired(first + 4, 10**9)
    outcome.gone(np.array([first + 5]), SHED)
    outcome.gone(first + 6, LOST)
    outcome.finish()
    assert outcome.by_fate() == {"": 1, "FEE_UNKNOWN": 2, "SHED": 2, "expired": 1, "lost": outcome.sent - 6}


def test_sheds_have_no_latency_and_what_its_deadline_ended_has() -> None:
    """A shed is no fast answer; an expired call took all of its time, and the hub never told how long it held it."""
    outcome, first = Outcome(PLAN), PLAN.measured
    at_ns = PLAN.at_ns[first : first + 3]
    outcome.answered(np.arange(first, first + 2), np.array([0, 1]), ("", "SHED"), 700, 10**9)
    outcome.expired(first + 2, 2 * 10**9)
    assert outcome.latencies_ns().tolist() == [10**9 - at_ns[0], 2 * 10**9 - at_ns[2]]
    assert outcome.holdings_ns().tolist() == [700]


def test_what_comes_before_the_measured_part_is_in_no_figure() -> None:
    """Neither the opening's nor the warm-up's ticks are counted or timed."""
    outcome = Outcome(PLAN)
    early = np.arange(PLAN.measured)
    outcome.answered(early, np.zeros(len(early), np.int64), ("",), 700, 10**9)
    outcome.handed_over(0, PLAN.measured, 10**9)
    outcome.finish()
    assert outcome.by_fate() == {"lost": outcome.sent}
    assert not len(outcome.latencies_ns())
    assert not outcome.latenesses_ns().any()
