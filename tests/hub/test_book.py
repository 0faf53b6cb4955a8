"""The consolidated book beside decisions: what a person looks at, empty batches, deep books, who asks for depth."""

import math

import numpy as np
import pytest
from reference.model import Tick
from reference.streams import SILENT

from arbhub.columns import Side, Ticks
from arbhub.reference import Listing, ReferenceData, Universe
from hub.asof import NO_COUNTERPART, OPPORTUNITY, SAME_VENUE
from hub.book import Books, well_formed

MS = 1_000_000
BTC = "BTC/BRL"


def books(*venues: str, max_quote_age_ms: float = math.inf, depth: int = 20) -> Books:
    """Empty books of these venues, with ids in this order."""
    universe = Universe()
    universe.merge(ReferenceData(venues, (BTC,)))
    return Books(universe, max_quote_age_ms, depth)


def columns(universe: Universe, *ticks: Tick) -> Ticks:
    """Ticks in the universe's ids."""
    return Ticks(
        np.array([tick.ts_ns for tick in ticks], np.int64),
        np.array([universe.symbol_ids[tick.symbol] for tick in ticks], np.int64),
        np.array([universe.venue_ids[tick.venue] for tick in ticks], np.int64),
        Side.from_levels([tick.bids for tick in ticks]),
        Side.from_levels([tick.asks for tick in ticks]),
        np.zeros(len(ticks), np.int64),
    )


def quote(ts_ns: int, venue: str, bid: float, ask: float, symbol: str = BTC) -> Tick:
    """A tick with one level of 10 a side."""
    return Tick(ts_ns, venue, symbol, [(bid, 10.0)], [(ask, 10.0)])


def test_outcomes() -> None:
    """Nothing to trade with, one venue best on both sides, and two legs; opportunities name their ticks."""
    stand = books("B", "A")
    batch = columns(
        stand.universe,
        quote(0, "A", 99.0, 100.0),
        quote(1, "B", 98.0, 101.0),
        quote(2, "B", 102.0, 103.0),
        Tick(3, "A", BTC, *SILENT),
        quote(4, "A", 99.0, 100.0),
    )
    resolved = stand.apply(batch, 50, depth=True)
    expected = [NO_COUNTERPART, SAME_VENUE, OPPORTUNITY, NO_COUNTERPART, OPPORTUNITY]
    assert (resolved.outcome.tolist(), resolved.rows.tolist()) == (expected, [2, 4])
    o = resolved.opportunities
    assert (o.sequence.tolist(), o.ts_ns.tolist()) == ([52, 54], [2, 4])
    assert (o.buy_venue.tolist(), o.sell_venue.tolist()) == ([1, 1], [0, 0])
    assert (o.buy_ask.tolist(), o.sell_bid.tolist()) == ([100.0] * 2, [102.0] * 2)
    assert (o.buy_ask_size.tolist(), o.sell_bid_size.tolist()) == ([10.0] * 2, [10.0] * 2)
    assert (o.buy_ts_ns.tolist(), o.sell_ts_ns.tolist()) == ([0, 4], [2, 2])
    assert o.edge_since_ns.tolist() == [2, 4]


@pytest.mark.parametrize("known", [(), ("A", "B")])
def test_an_empty_batch_is_nothing(known: tuple[str, ...]) -> None:
    """No ticks, no opportunities, even before any venue is known; what stands stays."""
    stand = books(*known)
    resolved = stand.apply(columns(stand.universe), 0, depth=True)
    assert (len(resolved.outcome), len(resolved.rows), len(resolved.opportunities)) == (0, 0, 0)
    assert stand.tops(0) == []


def test_hundreds_of_instruments_at_once() -> None:
    """A batch over more instruments than a byte can number offers what its ticks do one by one; so do its parts."""
    symbols = [f"A{number}/USD" for number in range(600)]
    ticks = [quote(k, "AB"[k // 600 % 2], 100.0 + k % 7, 101.0 + k % 7, symbols[k * 7 % 600]) for k in range(2000)]
    together, singly = books("A", "B"), books("A", "B")
    for stand in (together, singly):
        stand.universe.merge(ReferenceData(symbols=tuple(symbols)))
        stand.resize()
    batch = columns(together.universe, *ticks)
    resolved = together.apply(batch, 0, depth=True)
    for k in range(len(ticks)):
        one, part = singly.apply(batch.slice(k, k + 1), k, depth=True), resolved.slice(k, k + 1)
        assert part.outcome.tolist() == one.outcome.tolist()
        assert part.rows.tolist() == one.rows.tolist()
        for name in ("sequence", "instrument", "buy_venue", "sell_venue", "buy_ask", "sell_bid", "buy_ts_ns"):
            assert getattr(part.opportunities, name).tolist() == getattr(one.opportunities, name).tolist()
    assert 500 < len(resolved.rows) < 2000


def test_tops_for_a_person() -> None:
    """Every book that was ever ticked, with its age and whether it is usable now; a negative age is none."""
    stand = books("B", "A", "C", max_quote_age_ms=5.0)
    stand.apply(
        columns(stand.universe, quote(10 * MS, "B", 98.0, 101.0), quote(12 * MS, "A", 99.0, 98.0)), 0, depth=True
    )
    assert stand.tops(15 * MS) == [("A", BTC, 99.0, 98.0, 3.0, False), ("B", BTC, 98.0, 101.0, 5.0, True)]
    assert [top[5] for top in stand.tops(15 * MS + 1)] == [False, False]
    assert [(top[4], top[5]) for top in stand.tops(0)] == [(0.0, False), (0.0, True)]


def test_depth_only_for_those_who_ask() -> None:
    """Without depth the opportunity is the same, its levels left out."""
    first, second = books("A", "B"), books("A", "B")
    batch = columns(first.universe, quote(0, "A", 99.0, 100.0), quote(1, "B", 102.0, 103.0))
    shallow = second.apply(batch, 0, depth=False).opportunities
    deep = first.apply(batch, 0, depth=True).opportunities
    assert shallow.depth is None
    assert deep.depth is not None
    assert (deep.depth.asks.row(0), deep.depth.bids.row(0)) == ([(100.0, 10.0)], [(102.0, 10.0)])
    assert (shallow.buy_ask_size.tolist(), shallow.sell_bid_size.tolist()) == ([10.0], [10.0])


def test_levels_beyond_the_depth_are_gone() -> None:
    """The same whether the leg's book is of this batch or stood before; and a smaller book leaves nothing behind."""
    levels = [(100.0 + i, 1.0) for i in range(5)]
    stand = books("A", "B", depth=3)
    deep, other = Tick(0, "A", BTC, [(99.0, 1.0)], levels), quote(1, "B", 102.0, 103.0)
    together = stand.apply(columns(stand.universe, deep, other), 0, depth=True).opportunities
    later = stand.apply(columns(stand.universe, other), 2, depth=True).opportunities
    for o in (together, later):
        assert o.depth is not None
        assert o.depth.asks.row(0) == levels[:3]
    stand.apply(columns(stand.universe, quote(2, "A", 99.0, 100.5)), 3, depth=True)
    again = stand.apply(columns(stand.universe, other), 4, depth=True).opportunities
    assert again.depth is not None
    assert again.depth.asks.row(0) == [(100.5, 10.0)]


def test_books_and_edges_survive_growth() -> None:
    """A venue that sorts before all others and a new instrument come: what stood stands, and edges keep their age."""
    stand = books("M", "N")
    stand.apply(columns(stand.universe, quote(0, "M", 99.0, 100.0), quote(1, "N", 102.0, 103.0)), 0, depth=True)
    stand.universe.merge(ReferenceData(listings=(Listing("A", "ETH/BRL"),)))
    stand.resize()
    o = stand.apply(columns(stand.universe, quote(9, "M", 99.0, 100.5)), 2, depth=True).opportunities
    assert (o.buy_venue.tolist(), o.sell_venue.tolist()) == ([0], [1])
    assert (o.edge_since_ns.tolist(), o.sell_bid.tolist()) == ([1], [102.0])
    assert [top[0] for top in stand.tops(9)] == ["M", "N"]


@pytest.mark.parametrize("figures", [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (-math.inf, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("level", [0, 1])
def test_figures_that_make_no_book(figures: tuple[float, float], level: int) -> None:
    """At the top or deeper, on either side, among sound books of other depths."""
    universe = books("A").universe
    bad = [(5.0, 1.0), (5.0, 1.0)]
    bad[level] = figures
    good = [(9.0, 1.0)]
    batch = columns(
        universe,
        Tick(0, "A", BTC, bad, good),
        Tick(0, "A", BTC, [(2.0, 1.0), (1.0, 1.0)], good),
        Tick(0, "A", BTC, [(2.0, 1.0)], bad),
        Tick(0, "A", BTC, [(2.0, 1.0)], good),
    )
    assert well_formed(batch).tolist() == [False, True, False, True]
