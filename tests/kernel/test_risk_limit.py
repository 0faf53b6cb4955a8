"""The daily loss as a fraction of starting equity: what may be configured, and that engine and gate see one limit."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.columns import APPROVE, Opportunities
from arbhub.engine import EngineConfiguration
from arbhub.reference import Listing, ReferenceData, Universe, taker_table
from arbhub.settings.load import SettingsError, load
from arbhub.settings.risk import RiskSettings
from arbhub.state import ACTIVE, DAY_NS, LedgerState, LedgerValues, Pnl, Snapshot
from engines.risk import Risk
from executor.account import Account
from executor.gate import Admission, Denial, Gate
from executor.orders import Approved

NOW = 3 * DAY_NS + 1
INF = float("inf")
BALANCES = "executor.balances={A={USD=60.0,BTC=9.0},B={USD=40.0,BTC=9.0}}"
LISTED = 'reference.listings.A."BTC/USD".lot_size=0.0'


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (
            ["risk.risk_limit=1.5"],
            "should be a fraction from 0 to 1, such as 0.02 for 2%, or inf for no limit, not 1.5",
        ),
        (["risk.risk_limit=-0.1"], "should be a fraction from 0 to 1"),
        (["risk.risk_limit=nan"], "should be a fraction from 0 to 1"),
        (
            ["risk.risk_limit=0.02"],
            "executor.balances are unlimited: name what each venue starts with, or use inf here",
        ),
        (
            ["risk.risk_limit=0.02", BALANCES, 'reference.listings.A."BTC/EUR".lot_size=0.0'],
            "executor.balances name no EUR, which instruments of this configuration are traded in",
        ),
        (
            ["risk.risk_limit=0.02", BALANCES.replace("60.0", "0.0").replace("40.0", "0.0"), LISTED],
            "executor.balances name no USD, which",
        ),
        (["risk.risk_limit=0.02", BALANCES, 'feed.symbols=["BTC/EUR"]'], "executor.balances name no EUR, which"),
    ],
)
def test_a_fraction_of_nothing_is_refused(assignments: list[str], expected: str) -> None:
    """Without equity in every quote asset that is named there is nothing to take a fraction of."""
    with pytest.raises(SettingsError) as caught:
        load(None, assignments, {})
    assert str(caught.value).startswith(f"--set {assignments[0]}: risk.risk_limit: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("limit", ["0", "0.02", "1", "inf"])
def test_a_fraction_of_balances_is_taken(limit: str) -> None:
    """Any fraction of what is there, none of it and all of it included."""
    assert load(None, [f"risk.risk_limit={limit}", BALANCES, LISTED], {}).risk.risk_limit == float(limit)
    assert load(None, ["risk.risk_limit=inf"], {}).executor.balances == {}


def test_equity_is_what_the_venues_hold_together() -> None:
    """By asset, as exact as the amounts were said; what is unlimited is no equity."""
    account = Account({"A": {"USD": 0.1, "BTC": 1.0}, "B": {"USD": 0.2}})
    assert account.equity() == {"USD": 0.3, "BTC": 1.0}
    assert Account({}).equity() == {}


def test_equity_is_known_of_assets_that_are_named_later() -> None:
    """The ledger may know assets that no feed has named yet, and a new snapshot is the whole state."""
    universe = Universe()
    state = LedgerState(universe)
    state.load(Snapshot(1, False, LedgerValues(trading_state=ACTIVE), {"EUR": 5.0, "USD": 7.0}))
    universe.merge(ReferenceData(("A", "B"), ("BTC/USD",)))
    state.resize()
    assert state.equity[universe.asset_ids["USD"]] == 7.0
    state.load(Snapshot(2, False, LedgerValues(trading_state=ACTIVE), {}))
    assert state.equity.tolist() == [0.0, 0.0]


def market() -> Universe:
    """Two venues that list BTC/USD and charge nothing."""
    universe = Universe()
    universe.merge(ReferenceData(("A", "B"), ("BTC/USD",), tuple(Listing(v, "BTC/USD", taker_bps=0.0) for v in "AB")))
    return universe


def engine_reason(universe: Universe, snapshot: Snapshot, limits: RiskSettings) -> str:
    """Why the engine rejects buying on A at 1 and selling on B at 1.1; "" where it does not."""
    engine = Risk()
    engine.configure(EngineConfiguration(risk=limits))
    engine.reference(universe)
    engine.snapshot(snapshot)
    one, at = np.array([0]), np.array([NOW])
    prices: dict[str, Any] = {"buy_ask": np.array([1.0]), "sell_bid": np.array([1.1])}
    columns = dict.fromkeys(Opportunities.__dataclass_fields__, one) | {"ts_ns": at, "sell_venue": np.array([1])}
    verdict = engine.judge(Opportunities(**{**columns, **prices, "depth": None}))
    return "" if verdict.verdict[0] == APPROVE else engine.reasons[int(verdict.reason[0]) - 1]


def gate_reason(universe: Universe, snapshot: Snapshot, limits: RiskSettings) -> str:
    """The same of the gate, for so little that only the daily loss can stand in the way."""
    gate = Gate("paper", limits)
    gate.open(universe, taker_table(universe, {}, {}), snapshot, [])
    verdict = gate.admit(Approved(1, 7, NOW, NOW, "BTC/USD", "A", "B", 0.001, 1.0, 1.1, 1.0, 1.1), NOW)
    assert isinstance(verdict, Admission | Denial)
    return verdict.reason if isinstance(verdict, Denial) else ""


AMOUNTS = st.decimals("0.01", "1000", places=2)
LOSSES = st.one_of(st.just(Decimal(0)), st.decimals("-1000", "10", places=4))


@given(
    st.lists(AMOUNTS, min_size=2, max_size=2),
    st.sampled_from([0.0, 0.02, 0.05, 0.1, 1 / 3, 1.0, INF]),
    st.sampled_from([0.0, 0.5, 20.0, INF]),
    LOSSES,
    st.sampled_from([2, 3]),
    st.booleans(),
)
def test_engine_and_gate_agree(
    start: list[Decimal], fraction: float, amount: float, realised: Decimal, day: int, known: bool
) -> None:
    """Both stop at the smaller of the two limits, to the bit, and both where equity is not known."""
    account = Account({v: {"USD": float(x), "BTC": 1.0} for v, x in zip("AB", start, strict=True)})
    values = LedgerValues(
        balances={("A", "USD"): 1e6, ("B", "BTC"): 1e6},
        pnl={"USD": Pnl(day, float(realised), float(realised), 0.0)},
        trading_state=ACTIVE,
    )
    snapshot = Snapshot(1, False, values, account.equity() if known else {})
    limits = RiskSettings(risk_limit=fraction, max_daily_loss=amount)
    equity = float(sum(start)) if known else 0.0
    most = min(amount, fraction * equity if fraction < INF else INF)
    expected = "" if (-float(realised) if day == 3 else 0.0) < most else "MAX_DAILY_LOSS"
    assert engine_reason(market(), snapshot, limits) == expected
    assert gate_reason(market(), snapshot, limits) == expected


@given(st.sampled_from([0.02, 0.5, 1.0]), st.floats(0.9, 1.1))
def test_the_limit_is_where_it_says(fraction: float, share: float) -> None:
    """A loss short of the fraction of the equity goes on, one that reaches it does not."""
    lost = 100.0 * fraction * share
    values = LedgerValues(
        balances={("A", "USD"): 1e6, ("B", "BTC"): 1e6}, pnl={"USD": Pnl(3, -lost, -lost, 0.0)}, trading_state=ACTIVE
    )
    snapshot, limits = Snapshot(1, False, values, {"USD": 100.0}), RiskSettings(risk_limit=fraction)
    stopped = {engine_reason(market(), snapshot, limits), gate_reason(market(), snapshot, limits)}
    assert stopped == ({""} if lost < 100.0 * fraction else {"MAX_DAILY_LOSS"})
