"""Edges and feed delays in histograms: the same from rows as from columns, and never more at once than is bearable."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hub_probes import market

from arbhub.columns import NO_VENUE, Ticks
from arbhub.rows import Decision, Tick, decision_columns, tick_columns
from hub.histograms import Histogram
from hub.market_figures import SORTED_AT_ONCE, MarketFigures
from hub.replies import Decided
from hub.statistics import Statistics

MS = 1_000_000


def decision(gross_bps: float, net_bps: float, *, approved: bool = False) -> Decision:
    """One with these edges; NaN for both: there is no opportunity."""
    venues = (NO_VENUE, NO_VENUE) if math.isnan(gross_bps) else (0, 1)
    return Decision(0, 0, 0, approved, 0, *venues, gross_bps, 0.0, 0.0, net_bps, *(0.0,) * 3, 0, 0.0, 0.0)


def tick(venue: int, delay_ns: int | None) -> Tick:
    """One that came so long after its time at the venue; None: which states no time."""
    return Tick(10**18, 0, venue, (), (), (), (), 0 if delay_ns is None else 10**18 - delay_ns)


DECIDED = [
    decision(math.nan, math.nan),
    decision(-3.0, -9.0),
    decision(7.0, math.nan),
    decision(7.0, 3.0, approved=True),
    decision(math.inf, math.inf),
]
TICKS = [tick(0, 7 * MS), tick(1, -2 * MS), tick(1, None), tick(1, 300 * MS), tick(0, None)]


def filled(histogram: Histogram) -> dict[str, int]:
    """Counts by upper bound, where there are any."""
    names = [name for name, _ in histogram.buckets()]
    return {name: count for name, count in zip(names, histogram.counts.tolist(), strict=True) if count}


@pytest.mark.parametrize("columns", [False, True])
def test_edges_and_delays_are_sorted(columns: bool) -> None:
    """What is no number is no edge, what states no time has no delay, and a time that is to come is a delay of none."""
    ticks: Ticks | list[Tick] = tick_columns(TICKS) if columns else TICKS
    decided: Decided = decision_columns(DECIDED, [""]) if columns else DECIDED
    figures = MarketFigures(market())
    figures.take([(ticks, decided), ([], [])])
    assert filled(figures.gross) == {"-2": 1, "10": 2}
    assert filled(figures.net) == {"-5": 1, "5": 1}
    assert (filled(figures.approved), figures.approved.sum) == ({"5": 1}, 3.0)
    assert {venue: filled(delays) for venue, delays in figures.delays.items()} == {
        "A": {"0.01": 1},
        "B": {"0.001": 1, "0.5": 1},
    }
    assert figures.ahead == {"A": 0, "B": 1}


def test_rows_and_columns_go_together() -> None:
    """A beat may bring some of both."""
    figures = MarketFigures(market())
    figures.take([(TICKS, DECIDED), (tick_columns(TICKS), decision_columns(DECIDED, [""]))])
    assert filled(figures.gross) == {"-2": 2, "10": 4}
    assert filled(figures.delays["A"]) == {"0.01": 2}


def test_nothing_is_no_trouble() -> None:
    """A beat without a tick."""
    figures = MarketFigures(market())
    figures.take([])
    assert not figures.gross.counts.any()
    assert not figures.delays


def test_no_more_than_the_latest_are_sorted_at_once() -> None:
    """Rounds come latest first; those before the bound is reached are taken, whole."""
    figures, half = MarketFigures(market()), SORTED_AT_ONCE // 2 + 1
    rounds = [([TICKS[0]] * half, [decision(gross, gross)] * half) for gross in (1.5, 4.0, 15.0)]
    figures.take(rounds)
    assert filled(figures.gross) == {"2": half, "5": half}


def test_rounds_are_kept_for_nobody() -> None:
    """Where no pulse makes room for them, a round that is over is counted and forgotten."""
    statistics = Statistics()
    statistics.decided(TICKS, DECIDED, [""], 1.0)
    assert (statistics.ticks, statistics.opportunities, len(statistics.unsorted)) == (5, 4, 0)


def test_a_venue_s_time_may_be_anything() -> None:
    """The largest and the smallest are sorted somewhere."""
    figures = MarketFigures(market())
    ticks = tick_columns(TICKS[:2])
    info = np.iinfo(np.int64)
    figures.take([(replace(ticks, ts_event_ns=np.array([info.min, info.max])), decision_columns(DECIDED[:2], [""]))])
    assert {venue: int(delays.counts.sum()) for venue, delays in figures.delays.items()} == {"A": 1, "B": 1}
