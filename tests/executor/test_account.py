"""The account: average cost, realised results, fees, balances."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.state import DAY_NS, Pnl
from executor.account import Account, Cost, Result, close, realise
from executor.money import CONTEXT
from executor.orders import Fill

D = Decimal


def fill(venue: str, buy: bool, price: str, quantity: str, fee: str = "0", ts_ns: int = 0) -> Fill:
    """A fill of BTC/USD."""
    return Fill("id", 0, "BTC/USD", venue, buy, D(price), D(quantity), D(fee), ts_ns)


@pytest.mark.parametrize(
    ("held", "basis", "signed", "price", "left", "profit"),
    [
        ("0", "0", "2", "10", ("2", "20"), "0"),
        ("2", "20", "1", "13", ("3", "33"), "0"),
        ("3", "33", "-1", "14", ("2", "22"), "3"),
        ("3", "33", "-3", "10", ("0", "0"), "-3"),
        ("3", "33", "-5", "12", ("-2", "-24"), "3"),
        ("-2", "-24", "-2", "10", ("-4", "-44"), "0"),
        ("-4", "-44", "1", "9", ("-3", "-33"), "2"),
        ("-4", "-44", "6", "12", ("2", "24"), "-4"),
    ],
)
def test_average_cost(held: str, basis: str, signed: str, price: str, left: tuple[str, str], profit: str) -> None:
    """Opening costs, closing realises against the average, passing through zero does both."""
    got = close(Cost(D(held), D(basis)), D(signed), D(price))
    assert got == (Cost(D(left[0]), D(left[1])), D(profit))


def test_an_arbitrage_realises_the_spread_although_both_venues_deviate() -> None:
    """Average cost is over the instrument's net position on all venues."""
    account = Account({})
    account.book([fill("A", True, "100", "2", "0.2"), fill("B", False, "103", "2", "0.3")])
    values = account.values()
    assert values.positions == {("A", "BTC/USD"): (2.0, 100.0), ("B", "BTC/USD"): (-2.0, 103.0)}
    assert values.pnl == {"USD": Pnl(0, 5.5, 5.5, 5.5)}
    assert values.balances == {}


def test_the_high_water_mark_never_falls_and_never_is_below_zero() -> None:
    """A loss leaves it where it was; a dip inside one completion does not count."""
    account = Account({})
    account.book([fill("A", True, "100", "1", "5")])
    assert account.values().pnl["USD"] == Pnl(0, -5.0, -5.0, 0.0)
    account.book([fill("A", False, "120", "1", "0")])
    account.book([fill("A", True, "100", "1", "9"), fill("A", False, "101", "1", "0")])
    assert account.values().pnl["USD"] == Pnl(0, 7.0, 7.0, 15.0)


def test_days_only_go_forward() -> None:
    """A later day starts at zero; a fill of an earlier one counts for the day that is."""
    result = realise(Result(), D(3), 1)
    result = realise(result, D(4), 2)
    assert (result.day, result.realised_day, result.cumulative) == (2, D(4), D(7))
    result = realise(result, D(1), 1)
    assert (result.day, result.realised_day, result.cumulative) == (2, D(5), D(8))


def test_balances_are_the_start_and_what_fills_did() -> None:
    """Configured amounts move by quantity, price and fee; what is not configured starts at nothing."""
    account = Account({"A": {"USD": 1000.0}})
    changed = account.book([fill("A", True, "100", "2", "0.2", DAY_NS)])
    assert account.values(changed).balances == {("A", "USD"): 799.8, ("A", "BTC"): 2.0}
    assert account.balance(("B", "BTC")) == 0
    assert Account({}).balance(("B", "BTC")) is None


AMOUNTS = st.decimals("0.0001", "1000", places=4)


@given(st.lists(st.tuples(st.booleans(), AMOUNTS, AMOUNTS, AMOUNTS), max_size=30))
def test_profit_and_what_is_invested_are_all_the_money_there_is(
    trades: list[tuple[bool, Decimal, Decimal, Decimal]],
) -> None:
    """Cash after any trades is the realised result less the cost of what is still held."""
    account = Account({})
    with localcontext(CONTEXT):
        for buy, price, quantity, fee in trades:
            account.book([Fill("id", 0, "BTC/USD", "A", buy, price, quantity, fee, 0)])
        cash = account.books.changes.get(("A", "USD"), D(0))
        result = account.books.results.get("USD", Result())
        cost = account.books.costs.get("BTC/USD", Cost())
        assert abs(cash - (result.cumulative - cost.basis)) < D("1e-40")
        assert cost.quantity == account.books.changes.get(("A", "BTC"), D(0))
        assert result.high_water >= max(result.cumulative, D(0))
