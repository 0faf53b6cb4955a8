"""The spread engine: the gross edge, and which edges are not believed."""

import math

import numpy as np
import pytest
from opportunity_rows import MS, opportunities, reasons

from arbhub.engine import EngineConfiguration
from arbhub.settings.engines import EnginesSettings, SpreadSettings
from engines.spread import Spread


def spread(**limits: float) -> Spread:
    """The engine with these limits."""
    engine = Spread()
    settings = SpreadSettings(**limits)  # type: ignore[arg-type]  # the limits are all floats
    engine.configure(EngineConfiguration(engines=EnginesSettings(spread=settings)))
    return engine


def test_the_gross_edge() -> None:
    """bps = (sell_bid - buy_ask) / buy_ask * 1e4, of either sign; no cap, no limits."""
    verdicts = spread().judge(opportunities([(100.0, 102.0), (100.0, 100.0), (200.0, 199.0), (8.0, 9.0)]))
    assert verdicts.bps.tolist() == [200.0, 0.0, -50.0, 1250.0]
    assert verdicts.reason.tolist() == [0, 0, 0, 0]
    assert verdicts.quantity.tolist() == [math.inf] * 4
    assert (verdicts.buy_limit, verdicts.sell_limit) == (None, None)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({}, None),
        ({"max_gross_edge_bps": 200.0}, None),
        ({"max_gross_edge_bps": 199.0}, "GROSS_EDGE_TOO_HIGH"),
        ({"max_leg_skew_ms": 5.0}, None),
        ({"max_leg_skew_ms": 4.999999}, "LEG_SKEW_TOO_HIGH"),
        ({"min_edge_age_ms": 3.0}, None),
        ({"min_edge_age_ms": 3.000001}, "EDGE_TOO_YOUNG"),
        ({"max_gross_edge_bps": 0.0, "max_leg_skew_ms": 0.0, "min_edge_age_ms": 9.0}, "GROSS_EDGE_TOO_HIGH"),
        ({"max_leg_skew_ms": 0.0, "min_edge_age_ms": 9.0}, "LEG_SKEW_TOO_HIGH"),
    ],
)
@pytest.mark.parametrize("quoted_ns", [(7 * MS, 2 * MS), (2 * MS, 7 * MS)])
def test_reasons(limits: dict[str, float], reason: str | None, quoted_ns: tuple[int, int]) -> None:
    """An edge of 200 bps, legs 5 ms apart whichever is older, 3 ms old: each limit at its boundary, in order."""
    engine = spread(**limits)
    row = opportunities(ts_ns=[7 * MS], quoted_ns=[quoted_ns], since_ns=[4 * MS])
    assert reasons(engine, engine.judge(row)) == [reason]


def test_time_that_went_back_makes_an_age_of_zero() -> None:
    """An edge that began after now is as old as one that begins now: 0, which only a limit of more refuses."""
    rows = opportunities(ts_ns=[0], since_ns=[1, 20 * MS])
    lenient, strict = spread(), spread(min_edge_age_ms=1e-6)
    assert reasons(lenient, lenient.judge(rows)) == [None, None]
    assert reasons(strict, strict.judge(rows)) == ["EDGE_TOO_YOUNG", "EDGE_TOO_YOUNG"]


def test_an_edge_beyond_all_numbers() -> None:
    """Prices of any magnitude: an edge that overflows is inf, and above every limit but inf."""
    rows = opportunities([(5e-324, 1e308)])
    engine = spread(max_gross_edge_bps=1e300)
    assert engine.judge(rows).bps.tolist() == [np.inf]
    assert reasons(engine, engine.judge(rows)) == ["GROSS_EDGE_TOO_HIGH"]
