"""The desk: legs at their time, partial legs traded back, latency zero, days, and what reports say."""

import pytest
from executor_probes import BIDS_B, CHEAP, DEAR, MS, SYMBOL, A, B, Decision, FedDesk, Tick, decisions_of, market

from arbhub.settings.risk import RiskSettings
from arbhub.state import DAY_NS, DENIED, EXECUTED, FLATTENED, Pnl

DAY_MS = DAY_NS / MS


def test_both_legs_fill_at_the_latency_and_the_spread_is_realised() -> None:
    """A bought and sold BTC realises the spread less both fees, in one report at decision time plus latency."""
    fed = FedDesk()
    assert fed.step([A, B], [Decision(1, 0)]) == []
    (report,) = fed.step([Tick(50, "A", [], [])])
    assert (report.kind, report.sequence, report.effective_ns) == (EXECUTED, 1, 50 * MS)
    assert [(f.client_order_id, f.price, f.quantity, f.fee) for f in report.fills] == [
        ("e1-s1-buy-0", 100.0, 1.0, 0.1),
        ("e1-s1-sell-0", 103.0, 1.0, 0.103),
    ]
    assert report.values.positions == {("A", SYMBOL): (1.0, 100.0), ("B", SYMBOL): (-1.0, 103.0)}
    assert report.values.pnl == {"USD": Pnl(0, 2.797, 2.797, 2.797)}
    assert report.values.activity == {SYMBOL: (0, 0)}
    assert report.values.order_ts_ns == (0, 0)
    assert report.unhedged == 0


def test_a_tick_of_the_due_time_comes_after_the_fill() -> None:
    """Legs meet the book as it was before the tick of their due time, and after the tick just before it."""
    fed = FedDesk()
    fed.step([A, B], [Decision(1, 0)])
    fed.step([Tick(49.9, "A", CHEAP, [(100.5, 9.0)])])
    (report,) = fed.step([Tick(50, "A", CHEAP, [(90.0, 9.0)])])
    assert report.fills[0].price == 100.5


def test_depth_is_walked_to_the_limit_and_the_rest_is_traded_back() -> None:
    """A leg filled less than the other leaves a residual, sold where more was filled, a latency later."""
    fed = FedDesk()
    fed.step([A, B], [Decision(1, 0, quantity=3.0, sell_limit=103.0)])
    first, second = fed.step([Tick(200, "B", BIDS_B, DEAR)])
    assert [(f.price, f.quantity) for f in first.fills] == [(100.0, 1.0), (101.0, 2.0), (103.0, 1.0)]
    assert (first.kind, first.unhedged, first.effective_ns) == (EXECUTED, 2.0, 50 * MS)
    assert first.values.activity[SYMBOL] == (1, 0)
    assert (second.kind, second.unhedged, second.effective_ns) == (FLATTENED, 0.0, 100 * MS)
    assert [(f.client_order_id, f.buy, f.price, f.quantity) for f in second.fills] == [
        ("e1-s1-flat-1", False, 99.0, 2.0)
    ]
    assert second.values.positions == {("A", SYMBOL): (1.0, 99.0)}
    assert second.values.activity[SYMBOL] == (0, 0)


def test_a_short_residual_is_bought_back() -> None:
    """Where more was sold than bought, the selling venue's asks are taken."""
    fed = FedDesk()
    fed.step([A, B], [Decision(1, 0, quantity=2.0, buy_limit=100.0)])
    fed.step([Tick(200, "B", BIDS_B, DEAR)])
    assert [(f.venue, f.buy, f.price, f.quantity) for f in fed.reports[1].fills] == [("B", True, 104.0, 1.0)]
    assert fed.reports[1].unhedged == 0


def test_trading_back_is_tried_so_often_and_then_the_position_stays() -> None:
    """While a venue's book is too thin, each new book is tried once, and then the residual stays with the report."""
    fed = FedDesk(flatten_attempts=3)
    thin = [(99.0, 0.25)]
    fed.step([A, B], [Decision(1, 0, sell_limit=103.5)])
    fed.step([Tick(60, "A", [], []), Tick(110, "A", [], []), Tick(130, "A", thin, A.asks)])
    fed.step([Tick(190, "A", [], []), Tick(210, "A", thin, A.asks), Tick(300, "A", thin, A.asks)])
    fed.finish()
    assert [(r.kind, r.effective_ns // MS, r.unhedged, len(r.fills)) for r in fed.reports] == [
        (EXECUTED, 50, 1.0, 1),
        (FLATTENED, 100, 1.0, 0),
        (FLATTENED, 180, 0.75, 1),
        (FLATTENED, 260, 0.5, 1),
    ]
    assert fed.reports[-1].values.activity[SYMBOL] == (0, 0)
    assert fed.desk.next_due_ns is None


def test_without_latency_fills_come_at_once_and_end() -> None:
    """Latency 0 fills in the decision's own step, and failing to trade back does not go round for ever."""
    fed = FedDesk(latency_ms=0.0, flatten_attempts=3)
    fed.step([A._replace(bids=[(99.0, 0.1)]), B], [Decision(1, 0, sell_limit=103.5)])
    assert [(r.kind, r.effective_ns, r.unhedged) for r in fed.reports] == [
        (EXECUTED, 0, 1.0),
        (FLATTENED, 0, 0.9),
    ]
    assert fed.finish() == []
    assert fed.reports[-1].values.activity[SYMBOL] == (1, 0)


def test_the_end_of_a_capture_completes_everything() -> None:
    """Pending legs and their trading back complete against the last books, each at its own time."""
    fed = FedDesk()
    fed.step([A, B], [Decision(1, 0, sell_limit=103.5)])
    assert fed.desk.next_due_ns == 50 * MS
    reports = fed.finish()
    assert [(r.kind, r.effective_ns // MS, r.unhedged) for r in reports] == [
        (EXECUTED, 50, 1.0),
        (FLATTENED, 100, 0.0),
    ]


def test_time_may_pass_without_ticks() -> None:
    """Advancing completes what is due by then and nothing more."""
    fed = FedDesk()
    fed.step([A, B], [Decision(1, 0)])
    assert fed.desk.advance(49 * MS) == []
    assert [r.sequence for r in fed.desk.advance(50 * MS)] == [1]
    assert fed.desk.next_due_ns is None


def test_quantities_are_rounded_down_to_the_coarser_lot() -> None:
    """With lots 0.1 and 0.25, 0.99 becomes 0.75 on both legs."""
    universe = market(lot_size=0.1)
    universe.listings["B", SYMBOL] = type(universe.listings["B", SYMBOL])("B", SYMBOL, lot_size=0.25, taker_bps=1.0)
    universe.lot_size[0, 1] = 0.25
    fed = FedDesk(universe)
    fed.step([A, B], [Decision(1, 0, quantity=0.99)])
    (report,) = fed.finish()
    assert [f.quantity for f in report.fills] == [0.75, 0.75]


def test_limit_prices_are_rounded_to_the_tick_that_accepts_less() -> None:
    """With a tick of 2, a buy limit of 101.9 pays 100 and a sell limit of 102.1 asks for 104."""
    fed = FedDesk(market(tick_size=2.0))
    fed.step([A, B], [Decision(1, 0, quantity=2.0, buy_limit=101.9, sell_limit=102.1)])
    report = fed.finish()[0]
    assert [(f.venue, f.price, f.quantity) for f in report.fills] == [("A", 100.0, 1.0)]


def test_a_residual_below_the_lot_is_not_traded_back() -> None:
    """What no venue would take stays a position at once, and the decision is over."""
    fed = FedDesk(market(lot_size=1.0))
    fed.step([A, Tick(0, "B", [(103.0, 0.5)], DEAR)], [Decision(1, 0)])
    (report,) = fed.finish()
    assert (report.unhedged, report.values.activity[SYMBOL]) == (0.5, (0, 0))


def test_results_of_a_day_start_anew_and_totals_go_on() -> None:
    """Fills after midnight UTC count for their own day; cumulative and high-water mark go on."""
    fed = FedDesk(market(taker_bps=0.0))
    late = [A._replace(ms=DAY_MS - 60), B._replace(ms=DAY_MS - 60)]
    fed.step(late, [Decision(1, DAY_MS - 60)])
    fed.step([A._replace(ms=DAY_MS - 1, asks=[(100.0, 4.0)]), B._replace(ms=DAY_MS - 1, bids=[(103.0, 4.0)])])
    fed.step([], [Decision(3, DAY_MS - 1)])
    fed.finish()
    assert [r.values.pnl["USD"] for r in fed.reports] == [Pnl(0, 3.0, 3.0, 3.0), Pnl(1, 3.0, 6.0, 6.0)]


def test_a_late_decision_fills_now_and_not_in_the_past() -> None:
    """A decision that comes after its due time meets the books of now, at the time of now."""
    fed = FedDesk()
    fed.step([A, B, Tick(70, "A", CHEAP, [(100.5, 9.0)])])
    (report,) = fed.step([], [Decision(1, 0)])
    assert (report.effective_ns, report.fills[0].price) == (70 * MS, 100.5)


@pytest.mark.parametrize("balances", [{}, {"A": {"USD": 500.0}, "B": {"BTC": 2.0}}])
def test_a_new_connection_keeps_what_is_in_flight(balances: dict[str, dict[str, float]]) -> None:
    """Another epoch and another numbering of ids: old fills still come, and the snapshot counts them as open."""
    fed = FedDesk(balances=balances)
    fed.step([A, B], [Decision(1, 0)])
    fed.universe, fed.sequence = market(venues=("B", "A")), 0
    snapshot = fed.open()
    assert snapshot.epoch == 2
    assert snapshot.values.activity == {SYMBOL: (1, 0)}
    assert snapshot.unlimited_balances is not bool(balances)
    (report,) = fed.step([Tick(60, "A", [], [])])
    assert (report.epoch, report.kind) == (1, EXECUTED)
    assert len(report.fills) == 2
    assert report.values.balances == (
        {}
        if not balances
        else pytest.approx({("A", "USD"): 399.9, ("A", "BTC"): 1.0, ("B", "BTC"): 1.0, ("B", "USD"): 102.897})
    )


def test_old_epochs_are_refused() -> None:
    """Decisions of an older epoch get a denial each and touch nothing."""
    fed = FedDesk()
    fed.step([A, B])
    fed.open()
    u = fed.universe
    reports = fed.desk.refuse(decisions_of(u, [Decision(1, 0)]), 1, u.venues, u.symbols)
    assert [(r.kind, r.reason, r.epoch) for r in reports] == [(DENIED, "STALE_EPOCH", 1)]
    assert fed.desk.next_due_ns is None


def test_a_buy_is_bounded_by_the_money_there_is() -> None:
    """Trading back at any price stops where the balance ends instead of driving it below zero."""
    fed = FedDesk(balances={"A": {"USD": 1000.0}, "B": {"BTC": 5.0}})
    thin = Tick(0, "A", CHEAP, [(100.0, 0.5)])
    fed.step([thin, Tick(0, "B", [(103.0, 1.0)], DEAR)], [Decision(1, 0, buy_limit=100.0)])
    fed.step([Tick(60, "B", [(103.0, 1.0)], [(1e6, 5.0)])])
    fed.finish()
    free = [r.values.balances.get(("B", "USD")) for r in fed.reports if r.values.balances]
    assert min(amount for amount in free if amount is not None) >= 0
    assert fed.reports[-1].unhedged < 0


def test_decisions_ahead_of_their_ticks_wait_and_keep_their_order() -> None:
    """Each is gated after its own tick, in order of sequence, however they came."""
    fed = FedDesk(risk=RiskSettings(max_open_per_instrument=1.0))
    fed.step([], [Decision(2, 5)])
    fed.step([], [Decision(1, 0)])
    assert fed.step([A, B]) == []
    assert [(r.sequence, r.reason) for r in fed.step([A._replace(ms=5)])] == [(2, "MAX_OPEN_PER_INSTRUMENT")]
    assert [r.sequence for r in fed.finish()] == [1]


def test_reports_carry_the_orders_of_the_last_second_only() -> None:
    """Orders a second old and older are left out; of decisions, the last one executed counts."""
    fed = FedDesk()
    fed.step([A, B], [Decision(1, 0)])
    fed.step([A._replace(ms=949), B._replace(ms=950, bids=[(103.0, 3.0)])], [Decision(3, 950)])
    fed.step([B._replace(ms=951, bids=[(103.0, 4.0)])], [Decision(4, 951)])
    fed.finish()
    times = [[ts_ns // MS for ts_ns in r.values.order_ts_ns] for r in fed.reports if r.kind == EXECUTED]
    assert times[0] == [0, 0]
    assert 0 not in times[1]
    assert times[1][:2] == [950, 950]
    assert [r.values.activity[SYMBOL][1] // MS for r in fed.reports if r.kind == EXECUTED] == [0, 950, 951]


def test_limits_use_up_and_release() -> None:
    """Decisions in flight count at the gate, and settled ones make room again."""
    fed = FedDesk(risk=RiskSettings(max_open_per_instrument=1.0))
    fed.step([A, B], [Decision(0, 0), Decision(1, 0)])
    fed.step([Tick(60, "A", CHEAP, DEAR)], [Decision(2, 60)])
    fed.finish()
    assert [(r.sequence, r.kind, r.reason) for r in fed.reports] == [
        (1, DENIED, "MAX_OPEN_PER_INSTRUMENT"),
        (0, EXECUTED, ""),
        (2, EXECUTED, ""),
        *((r.sequence, r.kind, r.reason) for r in fed.reports[3:]),
    ]
