"""The model against the worked example of the DESIGN and against tables worked out by hand."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from recordings import MARKETDATA

from .model import Decision, Level, ModelSettings, Tick, decide
from .streams import dense_capture, nasty_settings, nasty_streams, read_capture, write_capture

EXAMPLE = MARKETDATA / "btcbrl-two-venues.jsonl.gz"
T0 = 1_600_000_000_000_000_000
MS = 1_000_000
NO_FEES = {"A": 0.0, "B": 0.0, "EX10": 0.0, "EX2": 0.0}


def at(ns: int, venue: str, bids: Sequence[Level], asks: Sequence[Level], symbol: str = "BTC/BRL") -> Tick:
    """A tick `ns` after the start."""
    return Tick(T0 + ns, venue, symbol, bids, asks)


def quote(ns: int, venue: str, bid: float, ask: float, symbol: str = "BTC/BRL") -> Tick:
    """A tick with one level of 10 on each side."""
    return at(ns, venue, [(bid, 10.0)], [(ask, 10.0)], symbol)


def last(ticks: list[Tick], **changes: object) -> Decision:
    """The decision of the last tick, without fees unless stated."""
    return decide(ticks, ModelSettings(**{"taker_bps": NO_FEES} | changes))[-1]  # type: ignore[arg-type]


@pytest.mark.skipif(not EXAMPLE.exists(), reason=f"{EXAMPLE} is not there: set MARKETDATA")
def test_worked_example() -> None:
    """The figures of DESIGN section 6 come out."""
    decisions = decide(read_capture(EXAMPLE), ModelSettings(taker_bps={"EX1": 10.0, "EX2": 10.0}))
    gross = [d["gross_edge_bps"] for d in decisions if d["gross_edge_bps"] is not None]
    approved = [d for d in decisions if d["approved"]]
    assert (len(decisions), len(gross), sum(g > 0 for g in gross)) == (25_767, 20_396, 9_602)
    assert len(approved) == 1_217
    assert math.fsum(d["net_edge_bps"] for d in approved) == pytest.approx(8_637.088383585155, rel=1e-12)
    assert math.fsum(d["quantity"] for d in approved) == pytest.approx(122.26131416270869, rel=1e-12)


def test_top_of_book_only() -> None:
    """One level on each side: no slippage, fees on both legs."""
    ticks = [at(0, "A", [(99.0, 2.0)], [(100.0, 2.0)]), at(5 * MS, "B", [(102.0, 3.0)], [(103.0, 3.0)])]
    first, second = decide(ticks, ModelSettings(taker_bps={"A": 10.0, "B": 20.0}, max_notional=150.0))
    assert (first["approved"], first["reason"]) == (False, "NO_COUNTERPART")
    assert second == {
        "sequence": 1,
        "ts_ns": T0 + 5 * MS,
        "symbol": "BTC/BRL",
        "buy_venue": "A",
        "sell_venue": "B",
        "gross_edge_bps": pytest.approx(200.0),  # (102 - 100) / 100
        "fee_bps": pytest.approx(30.4),  # 10 + 20 * 102 / 100
        "slippage_bps": 0.0,
        "quantity": 1.5,  # 150 / 100, of 2 and 3 held
        "net_edge_bps": pytest.approx(169.6),
        "approved": True,
        "reason": None,
        "buy_limit": 100.0,
        "sell_limit": 102.0,
        "edge_since_ns": T0 + 5 * MS,
    }


DEEP = [
    at(0, "A", [(98.0, 1.0)], [(100.0, 1.0), (101.0, 1.0), (110.0, 5.0)]),
    at(0, "B", [(104.0, 0.5), (103.0, 1.0), (90.0, 9.0)], [(105.0, 1.0)]),
]


def test_walk_to_the_target() -> None:
    """Both legs walk to the target of 200 / 100 = 2 and the depth eats the edge."""
    # buy:  (1 * 100 + 1 * 101) / 2             = 100.5
    # sell: (0.5 * 104 + 1 * 103 + 0.5 * 90) / 2 = (52 + 103 + 45) / 2 = 100
    # edge at those prices (100 - 100.5) / 100.5 = -49.75124 bps; gross (104 - 100) / 100 = 400 bps
    decision = last(DEEP, max_notional=200.0)
    assert decision["quantity"] == 2.0
    assert decision["gross_edge_bps"] == pytest.approx(400.0)
    assert decision["slippage_bps"] == pytest.approx(400.0 + 0.5 / 100.5 * 1e4)
    assert decision["net_edge_bps"] == pytest.approx(-49.75124378)
    assert (decision["buy_limit"], decision["sell_limit"]) == (101.0, 90.0)
    assert decision["reason"] == "NET_EDGE_TOO_LOW"


def test_walk_to_the_depth_kept() -> None:
    """With two levels kept the sell side holds 1.5, and that is the quantity of both legs."""
    # buy: (1 * 100 + 0.5 * 101) / 1.5 = 150.5 / 1.5; sell: (0.5 * 104 + 1 * 103) / 1.5 = 155 / 1.5
    # edge at those prices (155 - 150.5) / 150.5 = 299.00332 bps
    decision = last(DEEP, max_notional=200.0, depth=2)
    assert decision["quantity"] == 1.5
    assert decision["net_edge_bps"] == pytest.approx(4.5 / 150.5 * 1e4)
    assert decision["slippage_bps"] == pytest.approx(400.0 - 299.00332226)
    assert (decision["buy_limit"], decision["sell_limit"]) == (101.0, 103.0)
    assert decision["approved"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"max_gross_edge_bps": 200.0}, None),
        ({"max_gross_edge_bps": 199.0}, "GROSS_EDGE_TOO_HIGH"),
        ({"max_leg_skew_ms": 5.0}, None),
        ({"max_leg_skew_ms": 4.999999}, "LEG_SKEW_TOO_HIGH"),
        ({"min_edge_age_ms": 1e-6}, "EDGE_TOO_YOUNG"),
        (
            {"max_gross_edge_bps": 199.0, "max_leg_skew_ms": 0.0, "min_edge_age_ms": 1.0},
            "GROSS_EDGE_TOO_HIGH",
        ),
        ({"max_leg_skew_ms": 0.0, "min_edge_age_ms": 1.0}, "LEG_SKEW_TOO_HIGH"),
        ({"taker_bps": {"A": 1.0}}, "UNKNOWN_VENUE"),
        ({"taker_bps": {"B": 1.0}, "max_leg_skew_ms": 0.0}, "LEG_SKEW_TOO_HIGH"),
        ({"taker_bps": {}, "min_net_edge_bps": 500.0}, "UNKNOWN_VENUE"),
        ({"min_net_edge_bps": 200.0}, None),
        ({"min_net_edge_bps": 200.1}, "NET_EDGE_TOO_LOW"),
        ({"listings": {("A", "BTC/BRL"): (10.0, 10.0, 1000.0)}}, None),  # 10 * 100 = 1000
        ({"listings": {("B", "BTC/BRL"): (10.0, 10.0, 1020.0)}}, None),  # 10 * 102 = 1020
        ({"listings": {("A", "BTC/BRL"): (10.5, 0.0, 0.0)}}, "QUANTITY_TOO_SMALL"),
        ({"listings": {("B", "BTC/BRL"): (0.0, 10.5, 0.0)}}, "QUANTITY_TOO_SMALL"),
        ({"listings": {("A", "BTC/BRL"): (0.0, 0.0, 1000.5)}}, "QUANTITY_TOO_SMALL"),
        (
            {"listings": {("B", "BTC/BRL"): (0.0, 0.0, 1020.5)}, "min_net_edge_bps": 900.0},
            "QUANTITY_TOO_SMALL",
        ),
        ({"listings": {("B", "ETH/BRL"): (99.0, 99.0, 1e9)}}, None),
    ],
)
def test_reasons(changes: dict[str, object], reason: str | None) -> None:
    """Each reason at its boundary and in its order: buy 10 at 100 on A, sell at 102 on B, 5 ms apart."""
    decision = last([quote(0, "A", 99.0, 100.0), quote(5 * MS, "B", 102.0, 103.0)], **changes)
    assert (decision["reason"], decision["approved"]) == (reason, reason is None)
    unknown = reason == "UNKNOWN_VENUE" or "taker_bps" in changes
    assert (decision["net_edge_bps"] is None, decision["fee_bps"] is None) == (unknown, unknown)


def test_edge_since() -> None:
    """A run begins with a positive edge, goes on while the legs stay, and breaks with all else."""
    table = [
        (quote(0, "A", 99.0, 100.0), None),  # no counterpart
        (quote(1, "B", 102.0, 103.0), 1),  # buy A, sell B: the run begins
        (quote(2, "B", 102.5, 103.0), 1),
        (quote(3, "B", 101.0, 103.0, "ETH/BRL"), None),  # another instrument breaks nothing
        (quote(4, "EX2", 103.0, 104.0), 4),  # sell EX2 instead: other legs
        (quote(5, "EX2", 100.0, 104.0), 5),  # sell B again: begins anew
        (quote(6, "B", 100.0, 103.0), 6),  # gross edge 0 at bids 100 and 100: broken
        (quote(7, "B", 102.0, 103.0), 7),
        (quote(8, "EX2", 100.0, 99.0), 7),  # a third venue's broken book changes nothing
        (quote(9, "A", 99.0, 98.0), None),  # no counterpart
        (quote(10, "A", 99.0, 100.0), 10),
        (quote(11, "A", 102.0, 102.5), 11),  # buy A at 102.5, sell A at 102 (ties go to A): one venue
    ]
    decisions = decide([tick for tick, _ in table], ModelSettings(taker_bps=NO_FEES))
    since = [d["edge_since_ns"] and d["edge_since_ns"] - T0 for d in decisions]
    assert since == [expected for _, expected in table[:-1]] + [None]
    assert decisions[-1]["reason"] == "SAME_VENUE"


def test_ties_go_to_the_name_that_sorts_first() -> None:
    """Equal prices: EX10 sorts before EX2, whichever spoke first."""
    ticks = [quote(0, "EX2", 99.0, 100.0), quote(1, "EX10", 98.0, 100.0), quote(2, "B", 102.0, 103.0)]
    decision = last([*ticks, quote(3, "A", 102.0, 104.0)])
    assert (decision["buy_venue"], decision["sell_venue"]) == ("EX10", "A")


@pytest.mark.parametrize(("age_ns", "usable"), [(10 * MS, True), (10 * MS + 1, False), (-3, True)])
def test_quote_age(age_ns: int, usable: bool) -> None:
    """A book as old as allowed is usable, one nanosecond more is too old, and a negative age is none."""
    decision = last([quote(0, "A", 99.0, 100.0), quote(age_ns, "B", 102.0, 103.0)], max_quote_age_ms=10.0)
    assert decision["reason"] == (None if usable else "NO_COUNTERPART")


GOOD = [(102.0, 1.0), (101.0, 1.0), (100.5, 1.0)]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("part", [0, 1])
def test_bad_figures_anywhere(bad: float, level: int, part: int) -> None:
    """A bad price or size at any level kept makes the book unusable; beyond the depth nobody sees it."""
    bids = [list(pair) for pair in GOOD]
    bids[level][part] = bad
    ticks = [quote(0, "A", 99.0, 100.0), at(1, "B", [(p, s) for p, s in bids], [(103.0, 1.0)])]
    assert last(ticks)["reason"] == "NO_COUNTERPART"
    assert last(ticks, depth=2)["approved"] == (level == 2)


@pytest.mark.parametrize(
    ("bids", "asks"),
    [
        ([], []),
        (GOOD, []),
        ([], [(103.0, 1.0)]),
        (GOOD, [(102.0, 1.0)]),  # touching
        (GOOD, [(101.5, 1.0)]),  # crossed
        (GOOD[::-1], [(103.0, 1.0)]),
        (GOOD, [(104.0, 1.0), (103.0, 1.0)]),
    ],
)
def test_broken_books(bids: list[Level], asks: list[Level]) -> None:
    """One-sided, touching, crossed and unsorted books are unusable."""
    assert last([quote(0, "A", 99.0, 100.0), at(1, "B", bids, asks)])["reason"] == "NO_COUNTERPART"


def test_equal_prices_within_a_side_are_in_order() -> None:
    """Two levels may share a price."""
    assert last([quote(0, "A", 99.0, 100.0), at(1, "B", [GOOD[0], GOOD[0]], [(103.0, 1.0)])])["quantity"] == 2.0


@settings(max_examples=100, deadline=None)
@given(nasty_streams(extremes=True, backwards=True), nasty_settings())
def test_every_tick_has_a_finite_decision(ticks: list[Tick], model_settings: ModelSettings) -> None:
    """Whatever comes, each tick has one decision, without NaN or infinity, and an approved one is whole."""
    decisions = decide(ticks, model_settings)
    assert [(d["sequence"], d["ts_ns"]) for d in decisions] == [(i, t.ts_ns) for i, t in enumerate(ticks)]
    for decision in decisions:
        assert all(math.isfinite(value) for value in decision.values() if isinstance(value, float))
        assert decision["approved"] == (decision["reason"] is None)
        if decision["approved"]:
            assert all(value is not None for name, value in decision.items() if name != "reason")


@pytest.mark.parametrize("seed", range(3))
def test_dense_captures_are_dense(seed: int, tmp_path: Path) -> None:
    """Hundreds of ticks a 50 ms window, many approvals, repeated and silent books; and files keep them."""
    ticks = dense_capture(seed)
    assert ticks == dense_capture(seed)
    windows = Counter(tick.ts_ns // (50 * MS) for tick in ticks)
    assert max(windows.values()) > 200
    fees = dict.fromkeys(("EX1", "EX2", "EX3"), 2.0)
    reasons = Counter(d["reason"] for d in decide(ticks, ModelSettings(taker_bps=fees)))
    assert reasons[None] > len(ticks) / 5
    assert min(reasons["SAME_VENUE"], reasons["NET_EDGE_TOO_LOW"], reasons["NO_COUNTERPART"]) > 0
    for name in ("dense.jsonl", "dense.jsonl.gz"):
        write_capture(tmp_path / name, ticks)
        assert read_capture(tmp_path / name) == ticks
