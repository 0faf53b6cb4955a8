"""The fee engine: what both legs' taker fees cost, and a reject of its own for each kind of not knowing."""

import math

import numpy as np
import pytest
from opportunity_rows import opportunities, reasons, universe

from arbhub.engine import EngineConfiguration
from arbhub.reference import FeeSchedule, FeeTier, Listing, ReferenceData
from arbhub.settings.engines import EnginesSettings, FeeSettings
from engines.fee import Fee


def fee(*listings: Listing, taker: dict[str, float] | None = None, volume: dict[str, float] | None = None) -> Fee:
    """The engine with these overrides and volumes, told these listings."""
    engine = Fee()
    settings = FeeSettings(taker_bps=taker or {}, volume_30d=volume or {})
    engine.configure(EngineConfiguration(engines=EnginesSettings(fee=settings)))
    engine.reference(universe(*listings))
    return engine


def listing(venue: str, taker_bps: float | None = None, symbol: str = "BTC/BRL") -> Listing:
    """A listing that says a fee, or none."""
    return Listing(venue, symbol, taker_bps=taker_bps)


def test_both_legs_cost() -> None:
    """bps = -(taker[buy] + taker[sell] * sell_bid / buy_ask): each leg's fee is of its own notional."""
    engine = fee(listing("A", 10.0), listing("B", 20.0))
    verdicts = engine.judge(opportunities([(100.0, 102.0), (100.0, 50.0)], legs=[(0, 1)]))
    assert verdicts.bps.tolist() == [-(10.0 + 20.0 * 102.0 / 100.0), -20.0]
    assert verdicts.quantity.tolist() == [math.inf] * 2
    assert engine.judge(opportunities(legs=[(1, 0)])).bps.tolist() == [-(20.0 + 10.0 * 102.0 / 100.0)]


def test_rebates_and_fees_of_zero_are_fees() -> None:
    """A stated zero is known, and a negative fee earns."""
    engine = fee(listing("A", 0.0), listing("B", -1.0))
    verdicts = engine.judge(opportunities([(100.0, 100.0)]))
    assert (reasons(engine, verdicts), verdicts.bps.tolist()) == ([None], [1.0])


@pytest.mark.parametrize(
    ("legs", "instrument", "reason"),
    [
        ((0, 1), 0, None),
        ((1, 0), 0, None),
        ((0, 2), 0, "UNKNOWN_VENUE"),  # C lists nothing at all
        ((2, 0), 0, "UNKNOWN_VENUE"),
        ((2, 0), 1, "UNKNOWN_VENUE"),
        ((0, 1), 1, "UNKNOWN_INSTRUMENT"),  # B does not list ETH/BRL
        ((1, 0), 1, "UNKNOWN_INSTRUMENT"),
        ((0, 3), 0, "UNKNOWN_FEE"),  # D lists BTC/BRL and says no fee
        ((3, 0), 0, "UNKNOWN_FEE"),
        ((1, 3), 1, "UNKNOWN_INSTRUMENT"),
    ],
)
def test_not_knowing_is_a_reject(legs: tuple[int, int], instrument: int, reason: str | None) -> None:
    """Venue, instrument and fee unknown, on either leg: a reason each, and no number for the fee."""
    engine = fee()
    known = universe(
        listing("A", 1.0),
        listing("A", 1.0, "ETH/BRL"),
        listing("B", 1.0),
        listing("D"),
        venues=("A", "B", "C", "D"),
    )
    engine.reference(known)
    verdicts = engine.judge(opportunities(legs=[legs], instrument=[instrument]))
    assert reasons(engine, verdicts) == [reason]
    assert bool(np.isnan(verdicts.bps[0])) == (reason is not None)


def test_an_override_needs_a_listing() -> None:
    """A venue's override counts for the instruments it lists and makes no other known."""
    engine = fee(listing("A", 5.0), listing("B"), taker={"A": 1.0, "B": 2.0, "C": 3.0})
    rows = opportunities([(100.0, 100.0)], legs=[(0, 1), (0, 2)])
    verdicts = engine.judge(rows)
    assert (reasons(engine, verdicts), verdicts.bps[0]) == ([None, "UNKNOWN_VENUE"], -3.0)


@pytest.mark.parametrize(
    ("volume", "taker"), [({}, 10.0), ({"A": 999.0}, 10.0), ({"A": 1000.0}, 6.0), ({"B": 1e9}, 10.0)]
)
def test_the_tier_of_the_volume(volume: dict[str, float], taker: float) -> None:
    """Where the listing says nothing, the venue's tier for its own 30-day volume counts."""
    engine = fee(volume=volume)
    known = universe(listing("A"), listing("B", 0.0))
    known.merge(ReferenceData(schedules=(FeeSchedule("A", (FeeTier(0.0, 8.0, 10.0), FeeTier(1e3, 4.0, 6.0))),)))
    engine.reference(known)
    assert engine.judge(opportunities()).bps.tolist() == [-taker]


def test_new_settings_count_at_once() -> None:
    """Configured again, the engine charges the new fee on what it was told before."""
    engine = fee(listing("A", 5.0), listing("B", 5.0))
    settings = FeeSettings(taker_bps={"A": 1.0})
    engine.configure(EngineConfiguration(engines=EnginesSettings(fee=settings)))
    assert engine.judge(opportunities([(100.0, 100.0)])).bps.tolist() == [-6.0]
