"""What a load run sends: seeded, in order of time, at the rate asked for, and books that a hub can use."""

import numpy as np
import pytest

from hub.book import well_formed
from loadtest.schedule import Arrivals, Market, Schedule, footprint_bytes, schedule


def measured_ms(plan: Schedule) -> np.ndarray:
    """How many arrivals each millisecond of the measured part has."""
    return np.bincount((plan.at_ns[plan.measured :] - plan.measured_at_ns) // 1_000_000)


@pytest.mark.parametrize("arrivals", Arrivals)
def test_the_same_seed_sends_the_same(arrivals: Arrivals) -> None:
    """Two schedules of a seed are equal, and another seed's is not."""
    one, same, other = (schedule(arrivals, 1000, 2, Market(), seed) for seed in (5, 5, 6))
    assert np.array_equal(one.at_ns, same.at_ns)
    assert np.array_equal(one.ticks.bids.price, same.ticks.bids.price)
    assert not np.array_equal(one.at_ns[one.timed :][:50], other.at_ns[other.timed :][:50])


@pytest.mark.parametrize("depth", [1, 10])
def test_arrivals_are_poisson_and_books_are_sound(depth: int) -> None:
    """Counts a millisecond have mean and variance of the rate; every book is usable and within the market."""
    market = Market(instruments=20, venues=3, depth=depth)
    plan = schedule(Arrivals.POISSON, 5000, 4, market, 1)
    assert (np.diff(plan.at_ns) >= 0).all()
    counts = measured_ms(plan)
    assert counts.sum() == pytest.approx(20_000, rel=0.05)
    assert counts.var() == pytest.approx(counts.mean(), rel=0.15)
    assert well_formed(plan.ticks).all()
    assert plan.ticks.bids.price.shape == (len(plan.at_ns), depth)
    assert set(plan.ticks.instrument.tolist()) == set(range(20))
    assert set(plan.ticks.venue.tolist()) == set(range(3))


@pytest.mark.parametrize("seconds", [4.0, 0.5, 2.05])
def test_bursts_are_ten_times_as_dense_and_the_mean_is_the_rate(seconds: float) -> None:
    """100 ms of each second have ten times the rest's rate; together they have what was asked for."""
    counts = measured_ms(schedule(Arrivals.BURSTY, 50_000, seconds, Market(), 1, warm_up_s=1.5))
    assert counts.sum() == pytest.approx(50_000 * seconds, rel=0.02)
    in_burst = np.arange(len(counts)) % 1000 < 100
    assert counts[in_burst].mean() == pytest.approx(10 * counts[~in_burst].mean(), rel=0.02)


def test_the_measured_part_is_the_same_after_any_warm_up() -> None:
    """The warm-up has its rate and its time, and moves what follows without changing it."""
    cold, warm = (schedule(Arrivals.POISSON, 1000, 2, Market(), 1, warm_up_s) for warm_up_s in (0.0, 1.5))
    assert cold.measured == cold.timed
    assert warm.measured - warm.timed == pytest.approx(1500, rel=0.1)
    assert warm.at_ns[warm.timed : warm.measured].max() < warm.measured_at_ns == 1_500_000_000
    assert np.array_equal(warm.at_ns[warm.measured :] - warm.measured_at_ns, cold.at_ns[cold.measured :])


def test_the_opening_has_every_book_once() -> None:
    """Before the first timed tick each instrument has a book on each venue, so none lacks a counterpart."""
    plan = schedule(Arrivals.POISSON, 1000, 1, Market(instruments=7, venues=3), 1)
    opening = zip(plan.ticks.instrument[: plan.timed].tolist(), plan.ticks.venue[: plan.timed].tolist(), strict=True)
    assert sorted(opening) == [(instrument, venue) for instrument in range(7) for venue in range(3)]
    assert not plan.at_ns[: plan.timed].any()


def test_the_footprint_counts_what_is_made() -> None:
    """The arrays of a schedule take no more memory than was said, and no less than half of it."""
    market = Market(depth=20)
    ticks = schedule(Arrivals.POISSON, 20_000, 1, market, 1).ticks
    columns = (ticks.ts_ns, ticks.instrument, ticks.venue, ticks.ts_event_ns)
    sides = (ticks.bids.count, ticks.bids.price, ticks.bids.size, ticks.asks.count, ticks.asks.price, ticks.asks.size)
    made = sum(array.nbytes for array in columns + sides)
    assert made < footprint_bytes(20_000, 1, market) < 2 * made


def test_reference_data_name_every_book() -> None:
    """Each instrument is listed on each venue, with a fee."""
    listings = Market(instruments=3, venues=2).reference().listings
    assert len({(listing.venue, listing.symbol) for listing in listings}) == 6
    assert all(listing.taker_bps for listing in listings)
