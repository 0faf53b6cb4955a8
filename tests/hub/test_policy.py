"""The fold: verdicts into decisions, reason by reason. Reasons and sums in the order of the ballots."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arbhub.columns import ABSTAIN, APPROVE, NO_VENUE, REJECT, Opportunities, Side, Ticks, Verdicts
from arbhub.reference import Listing, ReferenceData, Universe
from hub.asof import NO_COUNTERPART, OPPORTUNITY, SAME_VENUE
from hub.book import Resolved
from hub.policy import Ballot, Folded, Terms, decisions, fold, sound
from hub.reasons import ReasonTable

INF, NAN = np.inf, np.nan
TABLE = ReasonTable()
CODES = {
    engine: TABLE.engine([f"{engine.upper()}_1", f"{engine.upper()}_2"]) for engine in ("spread", "fee", "liquidity")
}


def terms(*listings: Listing, **changes: Any) -> Terms:
    """Venues A and B, any size tradable unless a listing says otherwise, net edges from 5 bps on."""
    universe = Universe()
    universe.merge(ReferenceData(("A", "B"), ("BTC/BRL",), listings))
    return replace(Terms(universe, 5.0, 1_000), **changes)


def rows(n: int = 1) -> Opportunities:
    """n opportunities to buy at 100 on A and sell at 102 on B."""
    ints = np.zeros(n, np.int64)
    ask, bid, ten = np.full(n, 100.0), np.full(n, 102.0), np.full(n, 10.0)
    return Opportunities(np.arange(n), ints, ints, ints, ints, ints + 1, ask, ten, bid, ten, ints, ints, ints)


def verdicts(*each: tuple[int, int, float, float], limits: tuple[float, float] | None = None) -> Verdicts:
    """(verdict, reason, bps, quantity) a row, and the same limits on each."""
    verdict, reason, bps, quantity = (np.array(column) for column in zip(*each, strict=True))
    both = [None, None] if limits is None else [np.full(len(each), limit) for limit in limits]
    return Verdicts(verdict, reason, bps.astype(np.float64), quantity.astype(np.float64), *both)


Said = Ballot[Verdicts | None]


def ballot(
    engine: str, *each: tuple[int, int, float, float], veto: bool = True, **more: Any
) -> Ballot[Verdicts | None]:
    """What an engine said; without rows it said nothing in time."""
    said = verdicts(*each, **more) if each else None
    return Ballot(engine, said, CODES[engine], TABLE.timeout(engine), veto)


def reason(folded: Folded) -> list[str]:
    """The reasons by name."""
    return [TABLE.names[code] for code in folded.reason.tolist()]


YES = (APPROVE, 0, 10.0, 2.0)
FIRST, SECOND = (REJECT, 1, 10.0, 2.0), (REJECT, 2, 10.0, 2.0)
PASS = (ABSTAIN, 0, NAN, NAN)
SPREAD, FEE, LIQUIDITY = "spread", "fee", "liquidity"


def test_sums_and_minima() -> None:
    """Net edge is the sum of all bps, quantity the least of all caps, limits are those of whoever sets them."""
    folded = fold(
        rows(2),
        [
            ballot(SPREAD, (APPROVE, 0, 200.0, INF), (APPROVE, 0, 200.0, INF)),
            ballot(FEE, (APPROVE, 0, -20.5, INF), (APPROVE, 0, -196.0, INF)),
            ballot(LIQUIDITY, (APPROVE, 0, -1.0, 3.0), (APPROVE, 0, 0.0, 2.0), limits=(101.0, 99.0)),
        ],
        terms(),
    )
    assert folded.net_edge_bps.tolist() == [178.5, 4.0]
    assert folded.quantity.tolist() == [3.0, 2.0]
    assert reason(folded) == ["", "NET_EDGE_TOO_LOW"]
    assert (folded.buy_limit.tolist(), folded.sell_limit.tolist()) == ([101.0, 101.0], [99.0, 99.0])
    assert {name: bps.tolist() for name, bps in folded.bps.items()} == {
        SPREAD: [200.0, 200.0],
        FEE: [-20.5, -196.0],
        LIQUIDITY: [-1.0, 0.0],
    }


@pytest.mark.parametrize(
    ("ballots", "changes", "expected"),
    [
        ([ballot(SPREAD, YES), ballot(FEE, YES)], {}, ""),
        ([ballot(SPREAD, FIRST), ballot(FEE, YES)], {}, "SPREAD_1"),
        ([ballot(SPREAD, YES), ballot(FEE, SECOND)], {}, "FEE_2"),
        ([ballot(SPREAD, SECOND), ballot(FEE, FIRST)], {}, "SPREAD_2"),
        ([ballot(FEE, FIRST), ballot(SPREAD, SECOND)], {}, "FEE_1"),  # the order of the ballots
        ([ballot(SPREAD, FIRST), ballot(FEE)], {}, "ENGINE_TIMEOUT:fee"),  # silence before any reject
        ([ballot(SPREAD), ballot(FEE)], {}, "ENGINE_TIMEOUT:spread"),
        ([ballot(SPREAD, YES), ballot(FEE, veto=False)], {}, ""),  # may be silent
        ([ballot(SPREAD, YES), ballot(FEE, PASS)], {}, ""),
        ([ballot(SPREAD, PASS), ballot(FEE, FIRST)], {}, "FEE_1"),
        ([ballot(SPREAD, YES), ballot(FEE, (9, 1, 10.0, 2.0))], {}, "FEE_1"),  # no verdict that is known
        ([ballot(SPREAD)], {"executor_up": False}, "EXECUTOR_UNAVAILABLE"),
        ([ballot(SPREAD, FIRST)], {"executor_up": False}, "EXECUTOR_UNAVAILABLE"),
        ([ballot(SPREAD, YES)], {"executor_up": False}, "EXECUTOR_UNAVAILABLE"),
        ([ballot(SPREAD, (REJECT, 1, 1.0, 0.0))], {}, "SPREAD_1"),  # before a quantity too small
        ([ballot(SPREAD, (APPROVE, 0, 1.0, 0.0))], {}, "QUANTITY_TOO_SMALL"),  # before an edge too low
        ([ballot(SPREAD, (APPROVE, 0, 10.0, -1.0))], {}, "QUANTITY_TOO_SMALL"),
        ([ballot(SPREAD, (APPROVE, 0, 10.0, INF))], {}, "QUANTITY_TOO_SMALL"),
        ([ballot(SPREAD, (APPROVE, 0, 10.0, NAN))], {}, "QUANTITY_TOO_SMALL"),
        ([ballot(SPREAD, YES), ballot(FEE, (APPROVE, 0, 0.0, NAN))], {}, "QUANTITY_TOO_SMALL"),
        ([ballot(SPREAD, PASS), ballot(FEE, PASS)], {}, "QUANTITY_TOO_SMALL"),  # nobody sets one
        ([], {}, "QUANTITY_TOO_SMALL"),
        ([ballot(SPREAD, (APPROVE, 0, 5.0, 2.0))], {}, ""),
        ([ballot(SPREAD, (APPROVE, 0, 4.999, 2.0))], {}, "NET_EDGE_TOO_LOW"),
        ([ballot(SPREAD, (APPROVE, 0, NAN, 2.0))], {}, "NET_EDGE_TOO_LOW"),
        ([ballot(SPREAD, (APPROVE, 0, INF, 2.0))], {}, "NET_EDGE_TOO_LOW"),  # no edge, whoever says so
        ([ballot(SPREAD, (APPROVE, 0, INF, 2.0)), ballot(FEE, (APPROVE, 0, -INF, 2.0))], {}, "NET_EDGE_TOO_LOW"),
        ([ballot(SPREAD, (APPROVE, 0, -4.0, 2.0))], {"min_net_edge_bps": -4.0}, ""),
    ],
)
def test_reasons(ballots: list[Said], changes: dict[str, Any], expected: str) -> None:
    """The first reason that holds, in the design's order; fail closed on every number that is none."""
    assert reason(fold(rows(), ballots, terms(**changes))) == [expected]


@pytest.mark.parametrize(
    ("venue", "figures", "expected"),
    [
        ("A", {"lot_size": 2.0, "min_quantity": 2.0, "min_notional": 200.0}, ""),  # 2 * 100
        ("B", {"lot_size": 2.0, "min_quantity": 2.0, "min_notional": 204.0}, ""),  # 2 * 102
        ("A", {"lot_size": 2.001}, "QUANTITY_TOO_SMALL"),
        ("B", {"lot_size": 2.001}, "QUANTITY_TOO_SMALL"),
        ("A", {"min_quantity": 2.001}, "QUANTITY_TOO_SMALL"),
        ("B", {"min_quantity": 2.001, "lot_size": 0.1}, "QUANTITY_TOO_SMALL"),
        ("A", {"min_notional": 200.1}, "QUANTITY_TOO_SMALL"),
        ("B", {"min_notional": 204.1}, "QUANTITY_TOO_SMALL"),
        ("A", {"min_notional": NAN}, "QUANTITY_TOO_SMALL"),
        ("A", {"lot_size": NAN}, "QUANTITY_TOO_SMALL"),
    ],
)
def test_what_either_leg_trades_at_least(venue: str, figures: dict[str, Any], expected: str) -> None:
    """A quantity of 2: not below a leg's lot, minimum quantity or minimum notional at its own price."""
    listed = terms(Listing(venue, "BTC/BRL", **figures))
    assert reason(fold(rows(), [ballot(SPREAD, YES)], listed)) == [expected]


def test_an_abstention_adds_nothing() -> None:
    """Row by row: no bps, no cap, no limits of its own; the others' stand."""
    folded = fold(
        rows(2),
        [
            ballot(SPREAD, YES, YES, limits=(100.5, 101.5)),
            ballot(LIQUIDITY, (APPROVE, 0, -1.0, 1.0), PASS, limits=(NAN, NAN)),
        ],
        terms(),
    )
    assert folded.net_edge_bps.tolist() == [9.0, 10.0]
    assert folded.quantity.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(folded.buy_limit, [NAN, 100.5])
    np.testing.assert_array_equal(folded.sell_limit, [NAN, 101.5])
    np.testing.assert_array_equal(folded.bps[LIQUIDITY], [-1.0, NAN])


def test_a_silent_engine_leaves_no_net_edge() -> None:
    """A sum that lacks a part is none, unless that part may lack; without limits the best prices are the limits."""
    vetoing = fold(rows(), [ballot(SPREAD, YES), ballot(FEE)], terms())
    assert (np.isnan(vetoing.net_edge_bps).tolist(), list(vetoing.bps)) == ([True], [SPREAD])
    optional = fold(rows(), [ballot(SPREAD, YES), ballot(FEE, veto=False)], terms())
    assert (optional.net_edge_bps.tolist(), reason(optional)) == ([10.0], [""])
    assert (optional.buy_limit.tolist(), optional.sell_limit.tolist()) == ([100.0], [102.0])


def test_rows_do_not_touch_each_other() -> None:
    """One row's reject, abstention or nonsense is that row's alone."""
    mixed = [YES, FIRST, PASS, (APPROVE, 0, NAN, NAN), YES]
    folded = fold(rows(5), [ballot(SPREAD, *mixed), ballot(FEE, *[YES] * 5)], terms())
    assert reason(folded) == ["", "SPREAD_1", "", "QUANTITY_TOO_SMALL", ""]
    np.testing.assert_array_equal(folded.net_edge_bps, [20.0, 20.0, 10.0, NAN, 20.0])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (verdicts(YES, FIRST), True),
        (verdicts(YES, PASS), True),
        (verdicts(YES), False),
        (verdicts(YES, YES, YES), False),
        (verdicts(YES, (0, 0, 0.0, 1.0)), False),
        (verdicts(YES, (4, 0, 0.0, 1.0)), False),
        (verdicts(YES, (REJECT, 0, 0.0, 1.0)), False),  # a reject says why
        (verdicts(YES, (REJECT, 3, 0.0, 1.0)), False),  # of two reasons
    ],
)
def test_sound_answers(said: Verdicts, expected: bool) -> None:
    """Two rows of verdicts off the wire, of an engine with two reasons."""
    assert sound(said, 2, 2) is expected


def ticks(n: int) -> Ticks:
    """n ticks at 10, 11, ..."""
    ints, side = np.zeros(n, np.int64), Side.from_levels([()] * n)
    return Ticks(np.arange(10, 10 + n), ints, ints, side, side, ints)


def test_every_tick_gets_its_decision() -> None:
    """Opportunities as folded, the others for what they are, in the order of ticks; nothing where it has no meaning."""
    resolved = Resolved(np.array([NO_COUNTERPART, OPPORTUNITY, SAME_VENUE, OPPORTUNITY]), np.array([1, 3]), rows(2))
    ballots = [ballot(SPREAD, YES, FIRST), ballot(FEE, *[(APPROVE, 0, -2.0, INF)] * 2)]
    d = decisions((ticks(4), 70, resolved), fold(rows(2), ballots, terms()), terms(), TABLE.names)
    assert [d.reasons[code] for code in d.reason] == ["NO_COUNTERPART", "", "SAME_VENUE", "SPREAD_1"]
    assert d.approved.tolist() == [False, True, False, False]
    assert (d.sequence.tolist(), d.ts_ns.tolist()) == ([70, 71, 72, 73], [10, 11, 12, 13])
    assert d.expires_ns.tolist() == [1010, 1011, 1012, 1013]
    assert d.buy_venue.tolist() == [NO_VENUE, 0, NO_VENUE, 0]
    assert d.sell_venue.tolist() == [NO_VENUE, 1, NO_VENUE, 1]
    for column, value in (
        (d.gross_edge_bps, 200.0),
        (d.fee_bps, 2.0),
        (d.net_edge_bps, 8.0),
        (d.quantity, 2.0),
        (d.buy_limit, 100.0),
        (d.sell_limit, 102.0),
        (d.buy_ask, 100.0),
        (d.sell_bid, 102.0),
        (d.slippage_bps, NAN),  # no engine has said any
    ):
        np.testing.assert_array_equal(column, [NAN, value, NAN, value])


def test_ticks_that_are_all_opportunities() -> None:
    """The columns as they are."""
    resolved = Resolved(np.array([OPPORTUNITY] * 2), np.array([0, 1]), rows(2))
    ballots = [ballot(LIQUIDITY, (APPROVE, 0, -0.0, 1.0), YES)]
    d = decisions((ticks(2), 0, resolved), fold(rows(2), ballots, terms()), terms(), TABLE.names)
    assert [repr(value) for value in d.slippage_bps.tolist()] == ["0.0", "-10.0"]  # a cost of nothing is not -0
    assert (d.buy_venue.tolist(), d.sell_venue.tolist()) == ([0, 0], [1, 1])
    assert d.quantity.tolist() == [1.0, 2.0]
