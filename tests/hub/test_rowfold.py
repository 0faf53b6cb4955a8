"""The fold of rows against the fold of columns: every verdict an engine may give, to the bit."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arbhub.columns import ABSTAIN, APPROVE, REJECT
from arbhub.reference import Listing, ReferenceData, Universe
from arbhub.rows import Opportunity, Tick, Verdict, decision_columns, opportunity_columns, tick_columns, verdict_columns
from hub import policy, rowfold
from hub.asof import OPPORTUNITY
from hub.book import Resolved
from hub.policy import Ballot, Terms
from hub.rowbook import ResolvedRow

ENGINES = ("spread", "fee", "liquidity", "risk")
CODES = np.array([0, 11, 12, 13])
NAMES = [str(code) for code in range(20)]
VALUES = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]), st.floats())


@st.composite
def verdicts(draw: st.DrawFn, *, limited: bool) -> Verdict:
    """Any verdict, sound or not but for its reason, which has to be one of the engine's."""
    verdict = draw(st.sampled_from([APPROVE, REJECT, ABSTAIN]))
    reason = draw(st.integers(1, 3)) if verdict == REJECT else 0
    limits = (draw(VALUES), draw(VALUES)) if limited else ()
    quantity = draw(VALUES) + 0.0  # no -0.0: which of two zeros is the lesser, arrays do not say
    return Verdict(*(verdict, reason, draw(VALUES), quantity, *limits))


def universe() -> Universe:
    """Two venues; one has lots and minimums."""
    known = Universe()
    listings = (Listing("A", "C/D"), Listing("B", "C/D", lot_size=0.5, min_quantity=1.0, min_notional=50.0))
    known.merge(ReferenceData(("A", "B"), ("C/D",), listings))
    return known


@given(st.data(), st.integers(1, 4), st.booleans(), st.floats(-10, 10))
def test_rows_are_folded_as_columns_are(data: st.DataObject, n: int, executor_up: bool, least_bps: float) -> None:
    """Whatever engines say: reason, sums, caps and limits are the same."""
    asked = [Opportunity(i, 7, 0, 0, 0, 1, 100.0, 1.0, data.draw(st.floats(90, 110)), 1.0, 5, 6, 5) for i in range(n)]
    ticks = [Tick(o.ts_ns, 0, 0, (), (), (), (), 0) for o in asked]
    said = [[data.draw(verdicts(limited=engine == "liquidity")) for _ in asked] for engine in ENGINES]
    terms = Terms(universe(), least_bps, 1000, executor_up)
    row_ballots = [Ballot(engine, rows, CODES, 9) for engine, rows in zip(ENGINES, said, strict=True)]
    rows = rowfold.decide(ticks, 0, [ResolvedRow(OPPORTUNITY, o) for o in asked], row_ballots, terms)
    opportunities = opportunity_columns([o._replace(ask_price=(1.0,), ask_size=(1.0,)) for o in asked])
    resolved = Resolved(np.zeros(n, np.int64), np.arange(n), opportunities)
    ballots = [Ballot(engine, verdict_columns(v), CODES, 9) for engine, v in zip(ENGINES, said, strict=True)]
    folded = policy.fold(opportunities, ballots, terms)
    columns = policy.decisions((tick_columns(ticks), 0, resolved), folded, terms, NAMES)
    assert repr(decision_columns(rows, NAMES)) == repr(columns)


@given(st.data(), st.integers(0, 3), st.booleans())
def test_rows_are_sound_where_columns_are(data: st.DataObject, count: int, limited: bool) -> None:
    """Any numbers at all: an answer counts in one form as in the other."""
    anything = st.tuples(st.integers(0, 5), st.integers(0, 5), VALUES, VALUES, VALUES, VALUES)
    drawn = data.draw(st.lists(anything, max_size=3))
    rows = [Verdict(*(fields if limited else fields[:4])) for fields in drawn]
    assert rowfold.sound(rows, count, 3) == policy.sound(verdict_columns(rows), count, 3)
