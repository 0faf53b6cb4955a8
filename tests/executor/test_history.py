"""The ledger as it is shown: pages of trades, sums of results, and what is said where there is none."""

import sqlite3
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from executor_probes import CHEAP, SYMBOL, A, B, Decision, FedDesk, Tick
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from arbhub.service import ServiceError
from executor.history import History, Trade, iso, plain, trades
from executor.ledger import SqlLedger
from executor.opening import open_ledger
from executor.reading import reading
from executor.statement import as_json, statement

pytest_plugins = ("databases",)
elsewhere = pytest.mark.parametrize("url", ["file", "postgresql"], indirect=True)  # memory is the executor's alone
BALANCES = {"A": {"USD": 5000.0}, "B": {"BTC": 9.0}}
DAY_MS = 86_400_000


def traded(url: str) -> FedDesk:
    """One decision denied, one filled, one traded back, one in flight, and the executor still there."""
    fed = FedDesk(journal=SqlLedger(open_ledger(url)), balances=BALANCES)
    fed.step([A, B], [Decision(0, 0, quantity=0.7), Decision(1, 0, sell_limit=102.5), Decision(2, 0, quantity=99.0)])
    fed.step([Tick(60, "A", CHEAP, [(100.0, 2.0)]), Tick(61, "B", [(103.0, 2.0)], [(104.0, 1.0)])])
    fed.step([Tick(160, "A", CHEAP, [(100.0, 2.0)])], [Decision(4, 160)])
    return fed


@pytest.fixture
def ledger(url: str) -> Iterator[tuple[str, FedDesk]]:
    """A ledger's URL, and the desk that writes it."""
    fed = traded(url)
    yield url, fed
    assert isinstance(fed.journal, SqlLedger)
    fed.journal.close()


@elsewhere
def test_trades_come_newest_first_with_their_fills(ledger: tuple[str, FedDesk]) -> None:
    """A decision's cash is what its fills brought in, less fees; pages follow one another without a gap."""
    url, fed = ledger
    with reading(url) as connection:
        found = trades(connection, 100)
        assert [t.sequence for t in found] == sorted((t.sequence for t in found), reverse=True)
        assert len(found) == 4
        assert found[0].status == "open"
        assert not found[0].fills
        filled = next(t for t in found if t.sequence == 0)
        assert [(f.leg, f.venue, f.buy) for f in filled.fills] == [("buy", "A", True), ("sell", "B", False)]
        assert filled.cash == Decimal("0.7") * (103 - 100) - filled.fees
        assert filled.fees == Decimal("0.7") * (100 + 103) / 1000
        paged: list[Trade] = []
        while page := trades(connection, 1, (paged[-1].epoch, paged[-1].sequence) if paged else None):
            paged += page
        assert paged == found
    reported = sum(len(report.fills) for report in fed.reports)
    assert sum(len(trade.fills) for trade in found) == reported


@elsewhere
def test_results_add_up_to_the_ledgers_own(ledger: tuple[str, FedDesk]) -> None:
    """Each way of cutting them has the same sum, which is what was realised in all."""
    with reading(ledger[0]) as connection:
        made = statement(connection)
    assert made.in_all["USD"].realised == made.written["USD"]
    for lines in (made.by_instrument, made.by_venue, made.by_day):
        assert sum(line.realised for line in lines.values()) == made.written["USD"]
        assert sum(line.fills for line in lines.values()) == made.in_all["USD"].fills
    assert list(made.by_day) == [("USD", "1970-01-01")]
    assert list(as_json(made)) == ["USD"]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4 * DAY_MS),
            st.sampled_from([("A", "B"), ("B", "A")]),
            st.floats(0.1, 3.0),
            st.sampled_from([101.0, 99.5]),
        ),
        max_size=30,
    )
)
def test_however_it_was_traded_the_parts_add_up(decided: list[tuple[int, tuple[str, str], float, float]]) -> None:
    """Partial fills, trades back, several at one time, over days: what the fills say is what was realised."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        journal = SqlLedger(open_ledger(url))
        fed = FedDesk(journal=journal)
        for number, (ms, legs, quantity, limit) in enumerate(sorted(decided)):
            books = [Tick(ms, "A", [(100.0, 0.5)], [(101.0, 1.0)]), Tick(ms, "B", [(99.0, 2.0)], [(99.5, 0.7)])]
            fed.step(books, [Decision(number, ms, *legs, quantity, limit, 99.0)])
        fed.finish()
        with reading(url) as connection:
            made = statement(connection)
        assert {asset: line.realised for asset, line in made.in_all.items()} == made.written
        journal.close()


@elsewhere
def test_pages_are_json_values(ledger: tuple[str, FedDesk]) -> None:
    """Amounts are texts, without exponents; what has no reason has none."""
    page = History(ledger[0]).page(2, (1, 1))
    assert [trade["id"] for trade in page] == ["1-0"]
    assert (page[0]["time"], page[0]["symbol"], page[0]["reason"]) == ("1970-01-01T00:00:00.000Z", SYMBOL, None)
    assert (page[0]["quantity"], page[0]["fees"], page[0]["cash"]) == ("0.7", "0.1421", "1.9579")
    assert page[0]["fills"][0] == {
        "order": "e1-s0-buy-0",
        "leg": "buy",
        "venue": "A",
        "side": "buy",
        "price": "100",
        "quantity": "0.7",
        "fee": "0.07",
        "ts_ns": 50_000_000,
    }


@elsewhere
def test_reading_changes_nothing(ledger: tuple[str, FedDesk]) -> None:
    """Not even on purpose, and the executor goes on writing while a reader looks at one state."""
    url, fed = ledger
    with reading(url) as connection:
        before = len(trades(connection, 100))
        fed.step([Tick(161, "A", CHEAP, [(100.0, 2.0)])], [Decision(5, 161)])
        assert len(trades(connection, 100)) == before
    assert len(History(url).page(100, None)) == before + 1
    with pytest.raises(ServiceError, match=r"read-?only"), reading(url) as connection:
        connection.execute(text("DELETE FROM fills"))


def test_where_there_is_no_ledger(tmp_path: Path) -> None:
    """One sentence says what is there instead."""
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE cats (name)")
    (tmp_path / "text.db").write_text("not a database, but long enough to be taken for one" * 20)
    for url, said in (
        ("sqlite://", "memory, where nobody else can read it"),
        (f"sqlite:///{tmp_path}/none.db", "there is no such file"),
        (f"sqlite:///{other}", "is no ledger, or nothing was ever written to it"),
        (f"sqlite:///{tmp_path}/text.db", "file is not a database"),
        ("mysql://localhost/x", "not supported"),
        ("postgresql://arbhub:secret@127.0.0.1:1/x", "onnection refused"),
    ):
        with pytest.raises(ServiceError, match=said) as caught:
            History(url).page(1, None)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_amounts_and_times_as_texts() -> None:
    """No exponents, no trailing zeros; times in UTC to the millisecond."""
    assert [plain(Decimal(a)) for a in ("1E+3", "0.10", "-2.500", "0", "1E-9")] == [
        "1000",
        "0.1",
        "-2.5",
        "0",
        "0.000000001",
    ]
    assert iso(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123Z"
