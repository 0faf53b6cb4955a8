"""The risk engine: the limits, on the state that it was told. The limits' own tests are the kernel's."""

import math
from typing import Any

import pytest
from opportunity_rows import MS, T0, opportunities, reasons, universe

from arbhub.engine import EngineConfiguration
from arbhub.reference import Listing, ReferenceData, Universe, VenueState
from arbhub.settings.engines import EnginesSettings, FeeSettings
from arbhub.settings.risk import RiskSettings
from arbhub.state import (
    ACTIVE,
    DAY_NS,
    EXECUTED,
    HALTED,
    REDUCING,
    LedgerValues,
    Pnl,
    Report,
    Snapshot,
)
from engines.risk import Risk

BTC = "BTC/BRL"
LISTED = (Listing("A", BTC, taker_bps=100.0), Listing("B", BTC, taker_bps=100.0))
TODAY = T0 // DAY_NS


def told(values: LedgerValues | None = None, *, unlimited: bool = True, **limits: Any) -> Risk:
    """The engine with these limits, told the ledger's state; without values it is told none."""
    engine = Risk()
    engine.configure(EngineConfiguration(risk=RiskSettings(**limits)))
    engine.reference(universe(*LISTED))
    if values is not None:
        engine.snapshot(Snapshot(1, unlimited, values))
    return engine


def state(**values: object) -> LedgerValues:
    """An active ledger's values."""
    return LedgerValues(**{"trading_state": ACTIVE} | values)  # type: ignore[arg-type]  # by its own names


def held(bought_at: float, sold_at: float) -> dict[tuple[str, str], tuple[float, float]]:
    """Positions on the buy venue A and the sell venue B, marked at 100."""
    return {("A", BTC): (bought_at, 100.0), ("B", BTC): (sold_at, 100.0)}


def report(**values: object) -> Report:
    """What became of a decision, with these new values."""
    return Report(EXECUTED, 1, 7, T0, BTC, values=LedgerValues(**values))  # type: ignore[arg-type]


def test_nothing_is_known_before_the_snapshot() -> None:
    """Configuration and reference data alone approve nothing, nor does a report; the snapshot does."""
    engine = told()
    row = opportunities()
    assert reasons(engine, engine.judge(row)) == ["STATE_UNKNOWN"]
    engine.report(report(positions=held(1.0, 1.0), trading_state=ACTIVE))
    verdicts = engine.judge(row)
    assert (reasons(engine, verdicts), verdicts.quantity.tolist()) == (["STATE_UNKNOWN"], [0.0])
    engine.snapshot(Snapshot(1, True, state()))
    assert reasons(engine, engine.judge(row)) == [None]


def test_without_limits_it_approves_without_a_cap() -> None:
    """Every limit off and balances unlimited: approve, no cap, no bps."""
    verdicts = told(state()).judge(opportunities())
    assert (verdicts.verdict.tolist(), verdicts.quantity.tolist()) == ([1], [math.inf])
    assert verdicts.bps.tolist() == [0.0]


SOLD_OUT = {("A", "BRL"): 0.0, ("B", "BTC"): 5.0}


@pytest.mark.parametrize(
    ("values", "limits", "reason"),
    [
        (state(trading_state=HALTED), {}, "TRADING_HALTED"),
        (state(), {"trading_state": "halted"}, "TRADING_HALTED"),
        (LedgerValues(), {}, "TRADING_HALTED"),  # a ledger that says no state trades nothing
        (state(trading_state=REDUCING), {}, "REDUCING_ONLY"),
        (state(), {"trading_state": "reducing"}, "REDUCING_ONLY"),
        (state(activity={BTC: (0, T0 - 5 * MS + 1)}), {"cooldown_ms": 5.0}, "COOLDOWN"),
        (state(activity={BTC: (0, T0 - 5 * MS)}), {"cooldown_ms": 5.0}, None),
        (state(activity={BTC: (2, 0)}), {"max_open_per_instrument": 2.0}, "MAX_OPEN_PER_INSTRUMENT"),
        (state(activity={BTC: (1, 0)}), {"max_open_per_instrument": 2.0}, None),
        (state(order_ts_ns=(T0 - 1, T0)), {"max_orders_per_s": 3.0}, "MAX_ORDERS_PER_S"),
        (state(order_ts_ns=(T0 - 1000 * MS, T0)), {"max_orders_per_s": 3.0}, None),
        (state(pnl={"BRL": Pnl(TODAY, -8.0, -8.0, 0.0)}), {"max_daily_loss": 8.0}, "MAX_DAILY_LOSS"),
        (state(pnl={"BRL": Pnl(TODAY - 1, -8.0, -8.0, 0.0)}), {"max_daily_loss": 8.0}, None),
        (state(pnl={"BTC": Pnl(TODAY, -8.0, -8.0, 0.0)}), {"max_daily_loss": 8.0}, None),  # another asset
        (state(pnl={"BRL": Pnl(0, 0.0, 12.0, 20.0)}), {"max_drawdown": 8.0}, "MAX_DRAWDOWN"),
        (state(pnl={"BRL": Pnl(0, 0.0, 12.5, 20.0)}), {"max_drawdown": 8.0}, None),
        (state(), {"max_notional_per_order": 0.0}, "MAX_NOTIONAL_PER_ORDER"),
        (state(positions=held(3.0, 0.0)), {"max_position": 3.0}, "MAX_POSITION"),
        (state(positions=held(0.0, -3.0)), {"max_position": 3.0}, "MAX_POSITION"),
        (state(positions=held(1.0, 0.0)), {"max_exposure": 100.0}, "MAX_EXPOSURE"),
    ],
)
def test_reasons(values: LedgerValues, limits: dict[str, Any], reason: str | None) -> None:
    """Each reason on its state: buy at 100 on A, sell at 102 on B."""
    engine = told(values, **limits)
    assert reasons(engine, engine.judge(opportunities())) == [reason]


@pytest.mark.parametrize(
    ("values", "limits", "quantity"),
    [
        (state(), {"max_notional_per_order": 51.0}, 0.5),  # of the dearer leg, 102
        (state(positions=held(1.0, 0.0)), {"max_position": 3.0}, 2.0),
        (state(positions=held(0.0, -2.5)), {"max_position": 3.0}, 0.5),
        (state(), {"max_exposure": 404.0}, 2.0),  # 2 * 100 + 2 * 102
        # Reducing: A is short by 2, B is long by 5; neither may pass zero.
        (state(trading_state=REDUCING, positions=held(-2.0, 5.0)), {}, 2.0),
        (state(trading_state=REDUCING, positions=held(-7.0, 5.0)), {}, 5.0),
    ],
)
def test_caps(values: LedgerValues, limits: dict[str, Any], quantity: float) -> None:
    """A limit that leaves room approves, and caps the quantity to it."""
    engine = told(values, **limits)
    verdicts = engine.judge(opportunities())
    assert reasons(engine, verdicts) == [None]
    assert verdicts.quantity[0] == pytest.approx(quantity, rel=1e-12)


@pytest.mark.parametrize("positions", [held(2.0, 5.0), held(-2.0, -5.0), held(0.0, 5.0), held(-2.0, 0.0)])
def test_reducing_needs_both_legs_to_reduce(positions: dict[tuple[str, str], tuple[float, float]]) -> None:
    """One leg that brings its venue's position no nearer to zero, and nothing is traded."""
    engine = told(state(trading_state=REDUCING, positions=positions))
    assert reasons(engine, engine.judge(opportunities())) == ["REDUCING_ONLY"]


def test_the_stricter_of_two_trading_states_counts() -> None:
    """Settings cannot loosen what the ledger says."""
    engine = told(state(trading_state=HALTED), trading_state="reducing")
    assert reasons(engine, engine.judge(opportunities())) == ["TRADING_HALTED"]


@pytest.mark.parametrize(
    ("free", "reason", "quantity"),
    [
        ({("A", "BRL"): 1e9, ("B", "BTC"): 0.25}, None, 0.25),
        ({("A", "BRL"): 101.5050, ("B", "BTC"): 9.0}, None, 1.0),  # 100 * 1.005 margin * 1.01 fee
        ({("A", "BRL"): 0.0, ("B", "BTC"): 9.0}, "BALANCE_BUY_LEG", 0.0),
        ({("B", "BTC"): 9.0}, "BALANCE_BUY_LEG", 0.0),  # not named is nothing
        ({("A", "BRL"): 1e9}, "BALANCE_SELL_LEG", 0.0),
        ({("A", "BTC"): 1e9, ("B", "BRL"): 1e9}, "BALANCE_BUY_LEG", 0.0),  # the wrong way round
    ],
)
def test_balances_of_both_legs(free: dict[tuple[str, str], float], reason: str | None, quantity: float) -> None:
    """Quote on the buy venue, with fee and margin for a deeper price, and base on the sell venue."""
    engine = told(state(balances=free), unlimited=False)
    verdicts = engine.judge(opportunities())
    assert reasons(engine, verdicts) == [reason]
    assert verdicts.quantity[0] == pytest.approx(quantity, rel=1e-12)


def test_an_override_counts_for_the_balance_too() -> None:
    """What the fee engine charges is what the balance has to cover."""
    engine = told(state(balances={("A", "BRL"): 201.0, ("B", "BTC"): 9.0}), unlimited=False)
    fees = EnginesSettings(fee=FeeSettings(taker_bps={"A": 0.0}))
    engine.configure(EngineConfiguration(engines=fees))
    assert engine.judge(opportunities()).quantity[0] == pytest.approx(2.0)  # 201 / (100 * 1.005)


def test_reports_move_the_state() -> None:
    """A report's values replace those it names; told twice they change nothing more."""
    engine = told(state(positions=held(0.0, 0.0)), max_position=3.0)
    for _ in range(2):
        engine.report(report(positions={("A", BTC): (2.0, 100.0)}))
        assert engine.judge(opportunities()).quantity.tolist() == [1.0]
    engine.report(report(trading_state=HALTED))
    assert reasons(engine, engine.judge(opportunities())) == ["TRADING_HALTED"]


def test_a_new_snapshot_is_the_whole_state() -> None:
    """What it does not name is zero again, whatever was known before."""
    engine = told(state(positions=held(3.0, 0.0)), max_position=3.0)
    assert reasons(engine, engine.judge(opportunities())) == ["MAX_POSITION"]
    engine.snapshot(Snapshot(2, True, state()))
    assert engine.judge(opportunities()).quantity.tolist() == [3.0]


def test_state_of_what_is_named_later_is_kept() -> None:
    """The ledger may know venues that no feed has named yet: their state counts once they are known."""
    engine, known = Risk(), universe(LISTED[0], venues=("A",))
    engine.configure(EngineConfiguration(risk=RiskSettings(max_position=3.0)))
    engine.reference(known)
    engine.snapshot(Snapshot(1, True, state(positions=held(0.0, -2.0))))
    known.merge(ReferenceData(listings=LISTED))
    engine.reference(known)
    assert engine.judge(opportunities()).quantity.tolist() == [1.0]


def test_another_universe_makes_the_state_unknown() -> None:
    """Ids of another numbering fit no state that is known: it has to be told again."""
    engine = told(state())
    engine.reference(universe(*LISTED))
    assert reasons(engine, engine.judge(opportunities())) == ["STATE_UNKNOWN"]


def told_of_a_market() -> tuple[Risk, Universe]:
    """An engine that knows the ledger's state, and its universe, which grows in place."""
    engine, market = told(), universe(*LISTED)
    engine.reference(market)
    engine.snapshot(Snapshot(1, True, state()))
    return engine, market


def test_reference_data_close_a_venue_and_open_it_again() -> None:
    """A leg on a venue that is not open is rejected once the engine is told, whatever its state is called."""
    engine, market = told_of_a_market()
    for said, reason in (("halted", "VENUE_NOT_OPEN"), ("open", None), ("OPEN", "VENUE_NOT_OPEN"), ("open", None)):
        market.merge(ReferenceData(venue_states=(VenueState("B", said),)))
        engine.reference(market)
        assert reasons(engine, engine.judge(opportunities())) == [reason]


def test_reference_data_bound_an_instrument() -> None:
    """The tighter leg's bound caps the quantity; a leg that is not active is rejected."""
    engine, market = told_of_a_market()
    market.merge(ReferenceData(listings=(Listing("A", BTC, max_quantity=0.5), Listing("B", BTC, max_quantity=0.25))))
    engine.reference(market)
    assert engine.judge(opportunities()).quantity.tolist() == [0.25]
    market.merge(ReferenceData(listings=(Listing("A", BTC, active=False),)))
    engine.reference(market)
    assert reasons(engine, engine.judge(opportunities())) == ["INSTRUMENT_NOT_ACTIVE"]
