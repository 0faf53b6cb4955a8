"""Reference data: ids that never change their meaning, figures by id, and which fee counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.control import BadReferenceError, decode_reference, encode_reference
from arbhub.reference import (
    FeeSchedule,
    FeeTier,
    Listing,
    ReferenceData,
    Universe,
    VenueState,
    split_symbol,
    taker_table,
    tier_fee,
)
from arbhub.v1.market_pb2 import Listing as ListingMessage
from arbhub.v1.market_pb2 import ReferenceData as ReferenceMessage

VENUES, SYMBOLS = st.sampled_from(("B", "A", "EX10", "EX2")), st.sampled_from(("BTC/BRL", "ETH/BRL", "BTC/USD"))
AMOUNTS, FEES = st.sampled_from((0.0, 0.5, 3.0)), st.sampled_from((None, -1.0, 0.0, 12.5))
MOST = st.sampled_from((float("inf"), 0.0, 2.5))
LISTINGS = st.builds(
    Listing, VENUES, SYMBOLS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, FEES, FEES, active=st.booleans(), max_quantity=MOST
)
STATES = st.builds(VenueState, VENUES, st.sampled_from(("open", "halted", "")))
TIERS = st.lists(st.builds(FeeTier, AMOUNTS, AMOUNTS, AMOUNTS), max_size=3).map(tuple)
DATA = st.builds(
    ReferenceData,
    st.lists(VENUES, max_size=2).map(tuple),
    st.lists(SYMBOLS, max_size=2).map(tuple),
    st.lists(LISTINGS, max_size=4).map(tuple),
    st.lists(st.builds(FeeSchedule, VENUES, TIERS), max_size=2).map(tuple),
    st.lists(STATES, max_size=2).map(tuple),
)


def universe(*data: ReferenceData) -> Universe:
    """A universe that has taken these in."""
    made = Universe()
    for one in data:
        made.merge(one)
    return made


@given(st.lists(DATA, max_size=5))
def test_ids_never_change(stages: list[ReferenceData]) -> None:
    """Names only ever come, at the end; every id goes with its name, its assets and the latest figures."""
    u, listings = Universe(), {}
    for data in stages:
        before = [*u.venues], [*u.symbols], [*u.assets]
        u.merge(data)
        assert before == (u.venues[: len(before[0])], u.symbols[: len(before[1])], u.assets[: len(before[2])])
        listings.update({(listing.venue, listing.symbol): listing for listing in data.listings})
    for names, ids in ((u.venues, u.venue_ids), (u.symbols, u.symbol_ids), (u.assets, u.asset_ids)):
        assert ids == {name: number for number, name in enumerate(names)}
    assert [f"{u.assets[b]}/{u.assets[q]}" for b, q in zip(u.base, u.quote, strict=True)] == u.symbols
    for (i, symbol), (v, venue) in ((s, t) for s in enumerate(u.symbols) for t in enumerate(u.venues)):
        known = listings.get((venue, symbol))
        listing = known or Listing(venue, symbol)
        assert u.listed[i, v] == (known is not None)
        assert (u.active[i, v], u.max_quantity[i, v]) == (listing.active, listing.max_quantity)
        figures = u.lot_size[i, v], u.min_quantity[i, v], u.min_notional[i, v]
        assert figures == (listing.lot_size, listing.min_quantity, listing.min_notional)


@given(st.lists(DATA, max_size=3))
def test_another_universe_derives_the_same_ids(stages: list[ReferenceData]) -> None:
    """What a universe tells, over the wire or not, makes an equal one."""
    u = universe(*stages)
    told = ReferenceMessage.FromString(encode_reference(u).SerializeToString())
    for other in (universe(u.data()), universe(decode_reference(told))):
        assert (other.venue_ids, other.symbol_ids, other.asset_ids) == (u.venue_ids, u.symbol_ids, u.asset_ids)
        assert (other.listings, other.schedules, other.venue_states) == (u.listings, u.schedules, u.venue_states)


@given(st.lists(DATA, max_size=3))
def test_what_forbids_nothing_is_known_to(stages: list[ReferenceData]) -> None:
    """A venue is open unless its latest state says otherwise; the three flags say whether a table has to be read."""
    u = universe(*stages)
    latest = {state.venue: state.state for data in stages for state in data.venue_states}
    assert u.open.tolist() == [latest.get(venue, "open") == "open" for venue in u.venues]
    assert u.all_open == u.open.all()
    assert u.all_active == u.active.all()
    assert u.unbounded == np.isinf(u.max_quantity).all()


@pytest.mark.parametrize("symbol", ["", "BTC", "BTC/", "/BRL", "BTC/BRL/X", "BTC-BRL"])
def test_what_is_no_symbol(symbol: str) -> None:
    """A symbol is BASE/QUOTE; all else is refused by name, on the wire too, and changes nothing."""
    with pytest.raises(ValueError, match="is not of the form"):
        split_symbol(symbol)
    with pytest.raises(BadReferenceError, match=r"reference data: symbol .* is not of the form"):
        decode_reference(ReferenceMessage(symbols=["A/B", symbol]))


@pytest.mark.parametrize(("venue", "instrument"), [(1, 0), (0, 1), (2**32 - 1, 0)])
def test_listings_of_ids_without_a_name(venue: int, instrument: int) -> None:
    """Ids are positions in the message's own lists."""
    listing = ListingMessage(venue=venue, instrument=instrument, active=True)
    with pytest.raises(BadReferenceError, match="names an id that has no name"):
        decode_reference(ReferenceMessage(venues=["A"], symbols=["A/B"], listings=[listing]))


SCHEDULE = FeeSchedule("A", (FeeTier(1e6, 3.0, 6.0), FeeTier(0.0, 8.0, 9.0), FeeTier(1e5, 5.0, 7.0)))


@pytest.mark.parametrize(
    ("volume", "fee"), [(0.0, 9.0), (99_999.0, 9.0), (1e5, 7.0), (999_999.0, 7.0), (1e6, 6.0), (1e12, 6.0)]
)
def test_the_highest_tier_reached_counts(volume: float, fee: float) -> None:
    """A tier applies from its volume on, in whatever order tiers are stated."""
    assert tier_fee(SCHEDULE, volume) == fee


def test_no_tier_reached_is_no_fee() -> None:
    """Without a schedule, or below its first tier, nothing is known."""
    assert tier_fee(None, 1e9) is None
    assert tier_fee(FeeSchedule("A", (FeeTier(10.0, 1.0, 1.0),)), 9.0) is None
    assert tier_fee(FeeSchedule("A", ()), 9.0) is None


@pytest.mark.parametrize(
    ("override", "listed", "schedule", "expected"),
    [
        (1.0, 2.0, SCHEDULE, 1.0),
        (0.0, 2.0, SCHEDULE, 0.0),  # an override of nothing is an override
        (None, 2.0, SCHEDULE, 2.0),
        (None, 0.0, SCHEDULE, 0.0),
        (None, -0.5, SCHEDULE, -0.5),  # a rebate
        (None, None, SCHEDULE, 7.0),
        (None, None, None, np.nan),
    ],
)
def test_the_first_fee_known_counts(
    override: float | None, listed: float | None, schedule: FeeSchedule | None, expected: float
) -> None:
    """The override before the listing's own fee before the tier of the 30-day volume; else unknown, never zero."""
    schedules = (schedule,) if schedule else ()
    u = universe(ReferenceData(listings=(Listing("A", "X/Y", taker_bps=listed),), schedules=schedules))
    u.merge(ReferenceData(venues=("B",), symbols=("Z/Y",)))
    overrides = {} if override is None else {"A": override, "B": 5.0}
    table = taker_table(u, overrides, {"A": 2e5})
    np.testing.assert_array_equal(table, [[expected, np.nan], [np.nan, np.nan]])
