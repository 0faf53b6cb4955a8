"""The gate: every reason to deny, what decisions in flight reserve, and when that is released."""

from typing import Any

import pytest
from executor_probes import MS, SYMBOL, A, B, Decision, FedDesk, Tick, market

from arbhub.limits import REASONS
from arbhub.reference import ReferenceData, VenueState, taker_table
from arbhub.settings.risk import RiskSettings
from arbhub.state import ACTIVE, DENIED, HALTED, LedgerValues, Pnl, Snapshot
from executor.gate import DENY_REASONS, Admission, Denial, Gate, Settlement
from executor.orders import Approved

FREE = {("A", "USD"): 1e6, ("B", "BTC"): 1e3}


def approved(**changes: Any) -> Approved:
    """Buy one BTC at 100 on A, sell it at 103 on B, at 5 s."""
    values: dict[str, Any] = {
        "epoch": 1,
        "sequence": 7,
        "ts_ns": 5000 * MS,
        "expires_ns": 6000 * MS,
        "symbol": SYMBOL,
        "buy_venue": "A",
        "sell_venue": "B",
        "quantity": 1.0,
        "buy_limit": 101.0,
        "sell_limit": 102.0,
        "buy_ask": 100.0,
        "sell_bid": 103.0,
    }
    return Approved(**{**values, **changes})


def gate(
    values: LedgerValues | None = None,
    unlimited: bool = True,
    mode: str = "paper",
    listing: dict[str, Any] | None = None,
    taker_bps: float | None = 10.0,
    venue_states: tuple[VenueState, ...] = (),
    **limits: Any,
) -> Gate:
    """A gate of epoch 1."""
    universe = market(taker_bps, **(listing or {}))
    universe.merge(ReferenceData(venue_states=venue_states))
    made = Gate(mode, RiskSettings(**limits))
    active = LedgerValues(trading_state=ACTIVE).merged(values or LedgerValues())
    made.open(universe, taker_table(universe, {}, {}), Snapshot(1, unlimited, active), [])
    return made


LOSS = LedgerValues(pnl={"USD": Pnl(0, -5.0, -5.0, 2.0)})
BUSY = LedgerValues(activity={SYMBOL: (2, 4900 * MS)}, order_ts_ns=(4001 * MS, 4500 * MS))
LONG = LedgerValues(positions={("A", SYMBOL): (1.5, 100.0)})


@pytest.mark.parametrize(
    ("reason", "with_gate", "decision", "now_ms"),
    [
        ("MODE", {"mode": "live"}, {}, 5000),
        ("STALE_EPOCH", {}, {"epoch": 0}, 5000),
        ("STALE_EPOCH", {}, {"epoch": 2}, 5000),
        ("EXPIRED", {}, {}, 6000.000001),
        ("UNKNOWN_FEE", {"taker_bps": None}, {}, 5000),
        ("QUANTITY_TOO_SMALL", {}, {"quantity": 0.0}, 5000),
        ("QUANTITY_TOO_SMALL", {}, {"quantity": -1.0}, 5000),
        ("QUANTITY_TOO_SMALL", {}, {"quantity": float("nan")}, 5000),
        ("QUANTITY_TOO_SMALL", {}, {"quantity": float("inf")}, 5000),
        ("QUANTITY_TOO_SMALL", {"listing": {"lot_size": 1.1}}, {}, 5000),
        ("QUANTITY_TOO_SMALL", {"listing": {"min_quantity": 1.1}}, {}, 5000),
        ("QUANTITY_TOO_SMALL", {"listing": {"lot_size": 0.6, "min_quantity": 0.7}}, {}, 5000),
        ("QUANTITY_TOO_SMALL", {"listing": {"min_notional": 101.0}}, {}, 5000),
        ("TRADING_HALTED", {"trading_state": "halted"}, {}, 5000),
        ("TRADING_HALTED", {"values": LedgerValues(trading_state=HALTED)}, {}, 5000),
        ("REDUCING_ONLY", {"trading_state": "reducing"}, {}, 5000),
        ("VENUE_NOT_OPEN", {"venue_states": (VenueState("B", "maintenance"),)}, {}, 5000),
        ("INSTRUMENT_NOT_ACTIVE", {"listing": {"active": False}}, {}, 5000),
        ("COOLDOWN", {"values": BUSY, "cooldown_ms": 100.1}, {}, 5000),
        ("MAX_OPEN_PER_INSTRUMENT", {"values": BUSY, "max_open_per_instrument": 2.0}, {}, 5000),
        ("MAX_ORDERS_PER_S", {"values": BUSY, "max_orders_per_s": 3.0}, {}, 5000),
        ("MAX_DAILY_LOSS", {"values": LOSS, "max_daily_loss": 5.0}, {}, 5000),
        ("MAX_DRAWDOWN", {"values": LOSS, "max_drawdown": 7.0}, {}, 5000),
        ("MAX_NOTIONAL_PER_ORDER", {"max_notional_per_order": 102.9}, {}, 5000),
        ("MAX_QUANTITY", {"listing": {"max_quantity": 0.99}}, {}, 5000),
        ("MAX_POSITION", {"values": LONG, "max_position": 2.49}, {}, 5000),
        ("MAX_POSITION", {"max_position": 0.99}, {}, 5000),
        ("MAX_EXPOSURE", {"max_exposure": 202.0}, {}, 5000),
        (
            "BALANCE_BUY_LEG",
            {"unlimited": False, "values": LedgerValues(balances={**FREE, ("A", "USD"): 101.0})},
            {},
            5000,
        ),
        (
            "BALANCE_SELL_LEG",
            {"unlimited": False, "values": LedgerValues(balances={**FREE, ("B", "BTC"): 0.9})},
            {},
            5000,
        ),
        ("BALANCE_SELL_LEG", {"unlimited": False, "values": LedgerValues(balances={("A", "USD"): 1e6})}, {}, 5000),
    ],
)
def test_every_reason_to_deny(reason: str, with_gate: dict[str, Any], decision: dict[str, Any], now_ms: float) -> None:
    """Each reason has its state, limit or decision."""
    verdict = gate(**with_gate).admit(approved(**decision), round(now_ms * MS))
    assert verdict == Denial(reason)
    assert reason in DENY_REASONS


@pytest.mark.parametrize(
    "with_gate",
    [
        {},
        {"values": BUSY, "cooldown_ms": 100.0},
        {"values": BUSY, "max_open_per_instrument": 3.0},
        {"values": BUSY, "max_orders_per_s": 4.0},
        {"values": LOSS, "max_daily_loss": 5.01},
        {"values": LOSS, "max_drawdown": 7.01},
        {"venue_states": (VenueState("A", "open"), VenueState("C", "halted"))},
        {"max_notional_per_order": 103.0},
        {"listing": {"max_quantity": 1.0}},
        {"values": LONG, "max_position": 2.5},
        {"max_exposure": 203.0},
        {"unlimited": False, "values": LedgerValues(balances={("A", "USD"): 101.101, ("B", "BTC"): 1.0})},
        {"listing": {"lot_size": 0.5, "min_quantity": 1.0, "min_notional": 100.0}},
    ],
)
def test_what_just_fits_is_admitted(with_gate: dict[str, Any]) -> None:
    """At its limit, and not a step over it, a decision goes on with the whole quantity."""
    verdict = gate(**with_gate).admit(approved(), 6000 * MS)
    assert isinstance(verdict, Admission)
    assert verdict.quantity == 1


def test_the_reasons_cover_the_limits() -> None:
    """Whatever the limits can say, the gate can; before a snapshot it says nothing at all."""
    assert set(REASONS) <= set(DENY_REASONS)


@pytest.mark.parametrize("sequence", [7, 6])
def test_a_decision_is_judged_once(sequence: int) -> None:
    """The same sequence again, or one that was passed, is a duplicate, denied or not the first time."""
    g = gate()
    assert isinstance(g.admit(approved(), 0), Admission)
    assert g.admit(approved(sequence=sequence), 0) == Denial("DUPLICATE")
    assert g.admit(approved(sequence=8, quantity=0.0), 0) == Denial("QUANTITY_TOO_SMALL")
    assert g.admit(approved(sequence=8), 0) == Denial("DUPLICATE")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_position": 1.9}, "MAX_POSITION"),
        ({"max_exposure": 405.9}, "MAX_EXPOSURE"),
        ({"max_open_per_instrument": 1.0}, "MAX_OPEN_PER_INSTRUMENT"),
        ({"max_orders_per_s": 3.0}, "MAX_ORDERS_PER_S"),
        ({"cooldown_ms": 1.0}, "COOLDOWN"),
        (
            {"values": LedgerValues(balances={("A", "USD"): 202.2, ("B", "BTC"): 2.0}), "unlimited": False},
            "BALANCE_BUY_LEG",
        ),
        (
            {"values": LedgerValues(balances={("A", "USD"): 203.0, ("B", "BTC"): 1.9}), "unlimited": False},
            "BALANCE_SELL_LEG",
        ),
    ],
)
def test_decisions_in_flight_count(limits: dict[str, Any], reason: str) -> None:
    """What one decision reserved, the next one cannot have; with it settled unfilled, it can."""
    g = gate(**limits)
    first = g.admit(approved(), 0)
    assert isinstance(first, Admission)
    assert g.admit(approved(sequence=8), 0) == Denial(reason)
    later = 7000 * MS
    g.settle(Settlement(later, SYMBOL, LedgerValues(), first.reservation, None))
    too_early = approved(sequence=9, ts_ns=later - 1, expires_ns=later)
    if reason not in ("MAX_ORDERS_PER_S", "COOLDOWN"):
        assert g.admit(too_early, 0) == Denial(reason)
    assert isinstance(g.admit(approved(sequence=10, ts_ns=later, expires_ns=later), 0), Admission)


def test_exposure_counts_what_was_never_traded_yet() -> None:
    """Reservations weigh at their best prices where there is no last fill, on other instruments too."""
    other = approved(sequence=8, symbol="ETH/USD")
    tight, enough = gate(max_exposure=405.9), gate(max_exposure=406.0)
    assert isinstance(tight.admit(approved(), 0), Admission)
    assert tight.admit(other, 0) == Denial("MAX_EXPOSURE")
    assert isinstance(enough.admit(approved(), 0), Admission)
    assert isinstance(enough.admit(other, 0), Admission)


def test_growing_reference_data_keeps_what_is_reserved() -> None:
    """More venues and instruments change neither reservations nor decisions in flight."""
    cases: list[tuple[RiskSettings, str]] = [
        (RiskSettings(max_open_per_instrument=1.0), "MAX_OPEN_PER_INSTRUMENT"),
        (RiskSettings(max_position=1.5), "MAX_POSITION"),
    ]
    for limits, reason in cases:
        universe, g = market(), Gate("paper", limits)
        values = LedgerValues(trading_state=ACTIVE, activity={SYMBOL: (0, 0)}, positions={("A", SYMBOL): (0.0, 9.0)})
        g.open(universe, taker_table(universe, {}, {}), Snapshot(1, True, values), [])
        assert isinstance(g.admit(approved(), 0), Admission)
        universe.merge(market(venues="ABC").data())
        g.reference(taker_table(universe, {}, {}))
        assert g.admit(approved(sequence=8), 0) == Denial(reason)


def test_the_order_rate_counts_orders_that_trade_back() -> None:
    """A trading-back order is an order too."""
    g = gate(max_orders_per_s=4.0)
    first = g.admit(approved(), 0)
    assert isinstance(first, Admission)
    g.settle(Settlement(5050 * MS, SYMBOL, LedgerValues(), first.reservation, None, (5050 * MS,)))
    at = 5060 * MS
    assert g.admit(approved(sequence=8, ts_ns=at, expires_ns=at), 0) == Denial("MAX_ORDERS_PER_S")


def test_what_a_tick_brought_about_counts_for_decisions_on_it_and_later_ones() -> None:
    """A decision on an earlier tick of the same time is judged without it, however late it comes."""
    for sequence, expected in ((8, None), (9, "MAX_ORDERS_PER_S"), (10, "MAX_ORDERS_PER_S")):
        g = gate(max_orders_per_s=4.0)
        first = g.admit(approved(), 0)
        assert isinstance(first, Admission)
        at = 5060 * MS
        g.settle(Settlement(at, SYMBOL, LedgerValues(), first.reservation, None, (at,), after=9))
        judged = g.admit(approved(sequence=sequence, ts_ns=at, expires_ns=at), 0)
        assert (judged.reason if isinstance(judged, Denial) else None) == expected


def test_denials_are_reports_at_the_decisions_time() -> None:
    """A denial names the decision and its reason, in effect at once, and changes nothing."""
    fed = FedDesk(risk=RiskSettings(max_notional_per_order=1.0))
    fed.step([A, B, Tick(3, "A", [], [])], [Decision(1, 0)])
    (report,) = fed.reports
    assert (report.kind, report.reason, report.effective_ns, report.values) == (
        DENIED,
        "MAX_NOTIONAL_PER_ORDER",
        0,
        LedgerValues(),
    )
