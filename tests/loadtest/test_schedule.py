"""What a load run sends: seeded, in order of time, at the rate asked for, and books that a hub can use."""

import numpy as np
import pytest

from hub.book import well_formed
from loadtest.schedule import Market, poisson


def test_the_same_seed_sends_the_same() -> None:
    """Two schedules of a seed are equal, and another seed's is not."""
    one, same, other = (poisson(1000, 2, Market(), seed) for seed in (5, 5, 6))
    assert np.array_equal(one.at_ns, same.at_ns)
    assert np.array_equal(one.ticks.bids.price, same.ticks.bids.price)
    assert not np.array_equal(one.at_ns[:50], other.at_ns[:50])


@pytest.mark.parametrize("depth", [1, 10])
def test_arrivals_are_poisson_and_books_are_sound(depth: int) -> None:
    """Counts a millisecond have mean and variance of the rate; every book is usable and within the market."""
    market = Market(instruments=20, venues=3, depth=depth)
    schedule = poisson(5000, 4, market, 1)
    assert (np.diff(schedule.at_ns) >= 0).all()
    assert len(schedule.at_ns) == pytest.approx(20_000, rel=0.05)
    counts = np.bincount(schedule.at_ns // 1_000_000, minlength=4000)
    assert counts.var() == pytest.approx(counts.mean(), rel=0.15)
    assert well_formed(schedule.ticks).all()
    assert schedule.ticks.bids.price.shape == (len(schedule.at_ns), depth)
    assert set(schedule.ticks.instrument.tolist()) == set(range(20))
    assert set(schedule.ticks.venue.tolist()) == set(range(3))


def test_reference_data_name_every_book() -> None:
    """Each instrument is listed on each venue, with a fee."""
    listings = Market(instruments=3, venues=2).reference().listings
    assert len({(listing.venue, listing.symbol) for listing in listings}) == 6
    assert all(listing.taker_bps for listing in listings)
