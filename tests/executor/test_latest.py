"""Ticks taken together are what they are one by one, to the paper venue."""

from decimal import Decimal

import numpy as np
import pytest
from executor_probes import SYMBOL, Tick, market, ticks_of
from hypothesis import given
from hypothesis import strategies as st

from arbhub.columns import Ticks
from arbhub.reference import ReferenceData, Universe
from executor.latest import LatestTicks, first_row, rows_of
from executor.orders import Key, Order
from executor.paper import PaperVenue

KEYS = [(venue, symbol) for venue in "AB" for symbol in (SYMBOL, "ETH/USD")]
SIZES = st.sampled_from([1.0, 2.0])
TICKS = st.lists(st.tuples(st.sampled_from(KEYS), SIZES, SIZES), max_size=12)
TAKES = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=3)


def ticks_with(rows: list[tuple[Key, float, float]], universe: Universe) -> Ticks:
    """Books of one level a side, with these sizes."""
    return ticks_of(universe, [Tick(0, key[0], [(99.0, b)], [(100.0, a)], key[1]) for key, b, a in rows])


def taken(venue: PaperVenue, key: Key, *, buy: bool) -> list[tuple[Decimal, Decimal]]:
    """What an order of 0.75 gets."""
    order = Order((1, 1), "buy", 0, key[1], key[0], buy, Decimal("0.75"), None, 0, 0)
    return venue.match(order, Decimal(0), None)


@given(st.lists(st.tuples(TICKS, st.booleans(), TAKES), max_size=6))
def test_together_is_as_one_by_one(
    story: list[tuple[list[tuple[Key, float, float]], bool, list[tuple[Key, bool]]]],
) -> None:
    """Whatever is taken in between and whichever way ticks come, orders get the same; what was taken stays taken."""
    universe = market(venues="AB")
    together, singly = PaperVenue(), PaperVenue()
    together.open(universe)
    for rows, at_once, takes in story:
        ticks = ticks_with(rows, universe)
        for row, (key, _, _) in enumerate(rows):
            singly.replace(key, ticks.bids, ticks.asks, row)
            if not at_once:
                together.replace(key, ticks.bids, ticks.asks, row)
        if at_once and rows:
            together.replace_all(ticks, 0, len(rows))
        for key, buy in takes:
            assert taken(together, key, buy=buy) == taken(singly, key, buy=buy)


def test_books_outlast_the_ids_they_came_with() -> None:
    """A universe that numbers the same names otherwise finds every book where it belongs."""
    venue, universe = PaperVenue(), market(venues="AB")
    venue.open(universe)
    venue.replace_all(ticks_with([(KEYS[0], 1.0, 1.0), (KEYS[3], 2.0, 0.5)], universe), 0, 2)
    other = Universe()
    other.merge(ReferenceData(("B", "A"), ("ETH/USD", SYMBOL)))
    venue.open(other)
    assert taken(venue, KEYS[0], buy=True) == [(Decimal("100.0"), Decimal("0.75"))]
    assert taken(venue, KEYS[3], buy=True) == [(Decimal("100.0"), Decimal("0.5"))]
    assert taken(venue, KEYS[1], buy=True) == taken(venue, KEYS[2], buy=True) == []


def test_a_universe_that_grows_keeps_what_was_noted() -> None:
    """New venues and symbols move no book; a name that nobody has heard of has none."""
    universe = market(venues="AB")
    latest, ticks = LatestTicks(universe), ticks_with([(KEYS[3], 1.0, 1.0)], universe)
    latest.note(ticks, 0, 1, stamp=1)
    universe.merge(ReferenceData(("A0", "C"), ("XRP/USD",)))
    latest.note(ticks_of(universe, [Tick(0, "C", [], [], "XRP/USD")]), 0, 1, stamp=2)
    assert list(latest) == [KEYS[3], ("C", "XRP/USD")]
    noted = latest.of(KEYS[3])
    assert noted is not None
    assert noted[0].ticks is ticks
    assert noted[1] == 0
    assert latest.of(("C", SYMBOL)) is None
    assert latest.of(("nowhere", SYMBOL)) is None


@pytest.mark.parametrize(("start", "found"), [(0, 1), (1, 1), (2, 3), (4, 4), (9, 4)])
def test_the_first_row_that_holds(start: int, found: int) -> None:
    """From the start on; the number of rows where none does."""
    assert first_row(np.array([False, True, False, True]), start) == (found if start < 4 else 4)


def test_rows_of_the_books_asked_for() -> None:
    """In order, within the rows given; names that the universe does not know have none."""
    universe = market(venues="AB")
    ticks = ticks_with([(key, 1.0, 1.0) for key in (*KEYS, *KEYS)], universe)
    wanted = [KEYS[2], KEYS[0], ("Z", SYMBOL)]
    assert rows_of(wanted, universe, ticks, 1, 7).tolist() == [2, 4, 6]
