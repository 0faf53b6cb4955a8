"""Whom the hub believes where several speak of the same listing, fee schedule or venue."""

import structlog

from arbhub.catalogue import Correction
from arbhub.reference import FeeSchedule, FeeTier, Listing, ReferenceData, VenueState
from hub.references import SECOND_LEVEL, References

PAIR = ("A", "BTC/USD")


def listed(lot: float, taker_bps: float | None = None) -> ReferenceData:
    """A's listing."""
    return ReferenceData(listings=(Listing(*PAIR, lot_size=lot, taker_bps=taker_bps),))


def tiers(taker_bps: float) -> ReferenceData:
    """A's fee schedule, of one tier."""
    return ReferenceData(schedules=(FeeSchedule("A", (FeeTier(0.0, 0.0, taker_bps),)),))


def said(state: str) -> ReferenceData:
    """A's state."""
    return ReferenceData(venue_states=(VenueState("A", state),))


def lot(references: References) -> float:
    """A's lot size as it counts."""
    return references.universe.listings[PAIR].lot_size


def test_a_feed_that_is_here_stands_against_what_is_remembered() -> None:
    """The second level fills what nobody has stated, yields to a feed without a word, and follows one that is gone."""
    references = References()
    with structlog.testing.capture_logs() as logs:
        assert references.merge(listed(1.0), SECOND_LEVEL)
        assert lot(references) == 1.0
        assert references.merge(listed(2.0), "feed")
        assert not references.merge(listed(1.0), SECOND_LEVEL)
        assert lot(references) == 2.0
        references.left("feed")
        assert references.merge(listed(3.0), SECOND_LEVEL)
        assert lot(references) == 3.0
    assert logs == []


def test_fee_schedules_follow_the_same_rule() -> None:
    """A feed's stands while it is here."""
    references = References()
    assert references.merge(tiers(1.0), SECOND_LEVEL)
    assert references.merge(tiers(2.0), "feed")
    assert not references.merge(tiers(3.0), SECOND_LEVEL)
    references.left("feed")
    assert references.merge(tiers(3.0), SECOND_LEVEL)
    assert references.universe.schedules["A"].tiers[0].taker_bps == 3.0


def test_an_operator_has_the_say_on_venues() -> None:
    """A feed may state a venue's state until an operator does; from then on only operators may."""
    references = References()
    assert references.merge(said("open"), "feed")
    assert references.merge(said("halted"), SECOND_LEVEL)
    assert not references.merge(said("open"), "feed")
    assert not references.universe.all_open
    assert references.merge(said("open"), SECOND_LEVEL)
    assert references.universe.all_open


def test_a_correction_stands_until_it_is_taken_back() -> None:
    """Its figures count whatever feeds state, before and after; the others follow the feed; without figures it ends."""
    references, dearer = References(), Correction(*PAIR, {"taker_bps": 7.0})
    assert not references.merge(ReferenceData(), SECOND_LEVEL, [dearer])  # of a listing nobody has stated yet
    for step in (1.0, 2.0):
        assert references.merge(listed(step, taker_bps=1.0), "feed")
        assert references.universe.listings[PAIR] == Listing(*PAIR, lot_size=step, taker_bps=7.0)
    assert references.merge(ReferenceData(), SECOND_LEVEL, [Correction(*PAIR, {"active": False})])
    assert references.universe.listings[PAIR] == Listing(*PAIR, lot_size=2.0, taker_bps=1.0, active=False)
    assert references.merge(ReferenceData(), SECOND_LEVEL, [Correction(*PAIR)])
    assert references.universe.listings[PAIR] == Listing(*PAIR, lot_size=2.0, taker_bps=1.0)


def test_corrections_are_no_contradiction() -> None:
    """Two feeds that say the same are at one, whatever an operator has made of it."""
    references = References()
    with structlog.testing.capture_logs() as logs:
        references.merge(listed(1.0), "one")
        references.merge(ReferenceData(), SECOND_LEVEL, [Correction(*PAIR, {"lot_size": 5.0})])
        assert not references.merge(listed(1.0), "two")
    assert logs == []
    assert lot(references) == 5.0


def test_the_configuration_stands_against_everybody() -> None:
    """What it lists no feed, store or correction changes; a correction that is without effect is said."""
    references = References(listed(9.0))
    assert not references.merge(listed(1.0), "feed")
    assert not references.merge(listed(2.0), SECOND_LEVEL)
    with structlog.testing.capture_logs() as logs:
        assert not references.merge(ReferenceData(), SECOND_LEVEL, [Correction(*PAIR, {"lot_size": 5.0})])
    assert [entry["event"] for entry in logs] == ["the configuration stands against a correction"]
    assert lot(references) == 9.0
