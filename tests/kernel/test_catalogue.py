"""Entries of the second level: what is stated is what is read, and nothing else is."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.catalogue import BadEntryError, Catalogue, Correction, Fact
from arbhub.reference import FeeSchedule, FeeTier, Listing, VenueState

CATALOGUE = Catalogue("test:")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
SYMBOLS = st.sampled_from(["BTC/USD", "A:B/C", "%/ü", " / "])
AMOUNTS, FEES = st.floats(0, 1e300), st.none() | st.floats(-100, 100)
BOUNDS = AMOUNTS | st.just(math.inf)
LISTINGS = st.builds(Listing, NAMES, SYMBOLS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, FEES, FEES, st.booleans(), BOUNDS)
TIERS = st.lists(st.builds(FeeTier, AMOUNTS, st.floats(-9, 9), st.floats(-9, 9)), max_size=3).map(tuple)
FIGURES = st.fixed_dictionaries(
    {}, optional={"taker_bps": st.floats(-9, 9), "lot_size": AMOUNTS, "active": st.booleans()}
)
FACTS: st.SearchStrategy[Fact] = st.one_of(
    LISTINGS,
    st.builds(FeeSchedule, NAMES, TIERS),
    st.builds(VenueState, NAMES, NAMES),
    st.builds(Correction, NAMES, SYMBOLS, FIGURES),
)


@given(FACTS, FACTS)
def test_what_is_stated_is_read(one: Fact, other: Fact) -> None:
    """Every fact comes back as it was, and two facts share a key only where they are about the same."""
    (key, value), (other_key, _) = CATALOGUE.entry(one), CATALOGUE.entry(other)
    assert CATALOGUE.fact(key, value) == one
    assert b"\n" not in key
    about = [(type(f), f.venue, getattr(f, "symbol", "")) for f in (one, other)]
    assert (key == other_key) == (about[0] == about[1])


@given(st.sampled_from(["listing:A:B/C", "schedule:A", "venue:A", "correction:A:B/C", "", "other:A"]), st.binary())
def test_no_bytes_are_more_than_refused(key: str, value: bytes) -> None:
    """Whatever is found is a fact under its own key, or refused by that key's name."""
    named = f"test:{key}".encode()
    try:
        key_again, refused = CATALOGUE.entry(CATALOGUE.fact(named, value))[0], ""
    except BadEntryError as error:
        key_again, refused = named, str(error)
    assert key_again == named
    assert not refused or refused.startswith(f"test:{key}: ")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("test:venue:A", "", "truncated"),
        ("test:venue:A", "no json", "malformed"),
        ("test:venue:A", "[" * 100_000, "got `array`"),
        ("test:venue:A", '{"venue":"A"}', "missing required field `state`"),
        ("test:venue:A", '{"venue":"A","state":""}', "length >= 1"),
        ("test:venue:A", '{"venue":"B","state":"open"}', "the value belongs under test:venue:B"),
        ("other:venue:A", '{"venue":"A","state":"open"}', "no kind of entry"),
        ("test:correction:A:B/C", '{"venue":"A","symbol":"B/C","taker_bp":1}', "unknown field `taker_bp`"),
        ("test:correction:A:B/C", '{"venue":"A","symbol":"B/C","taker_bps":"1"}', "Expected `float | null`"),
        ("test:correction:A:B/C", '{"venue":"A","symbol":"B/C","taker_bps":1e999}', "out of range"),
        ("test:correction:A:B/C", '{"venue":"A","symbol":"B/C","taker_bps":NaN}', "malformed"),
        ("test:correction:A:B/C", '{"venue":"A","symbol":"B/C","lot_size":-1}', ">= 0.0"),
        ("test:correction:A:BC", '{"venue":"A","symbol":"BC"}', "is not of the form"),
        ("test:listing:A:B/C", '{"venue":"A","symbol":"B/C"}', "missing required field"),
    ],
)
def test_what_is_refused(key: str, value: str, said: str) -> None:
    """By its key, and with what is wrong with it."""
    with pytest.raises(BadEntryError) as caught:
        CATALOGUE.fact(key.encode(), value.encode())
    assert str(caught.value).startswith(f"{key}: ")
    assert said in str(caught.value)


def test_a_newer_writer_may_say_more() -> None:
    """Fields that are not known are passed over but in corrections, where they are typing errors."""
    assert CATALOGUE.fact(b"test:venue:A", b'{"venue":"A","state":"open","until":5}') == VenueState("A", "open")


@pytest.mark.parametrize("figures", [{"lot_size": math.nan}, {"taker_bps": math.inf}, {"max_quantity": math.nan}])
def test_figures_that_are_none_are_not_written(figures: dict[str, Any]) -> None:
    """JSON would make null of them, and that would be read as no fee and no bound."""
    for fact in (Listing("A", "B/C", **figures), Correction("A", "B/C", figures)):
        with pytest.raises(BadEntryError, match="A:B/C: "):
            CATALOGUE.entry(fact)


def test_a_correction_changes_its_figures_only() -> None:
    """The others stay as the feed states them."""
    listing = Listing("A", "B/C", lot_size=0.5, taker_bps=9.0)
    assert Correction("A", "B/C", {"taker_bps": 3.0}).of(listing) == Listing("A", "B/C", lot_size=0.5, taker_bps=3.0)
    assert Correction("A", "B/C").of(listing) == listing
