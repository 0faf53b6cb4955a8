"""The ledger in real databases: what is written, read back, fenced and refused."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from executor_probes import CHEAP, MS, SYMBOL, A, B, Decision, FedDesk, Tick, market
from sqlalchemy import Engine, event, insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from arbhub.service import ServiceError
from arbhub.state import DENIED, EXECUTED, FLATTENED, HALTED
from executor import tables
from executor.journal import FencedError
from executor.ledger import LedgerUnavailableError, SqlLedger
from executor.opening import open_ledger

pytest_plugins = ("databases",)
BALANCES = {"A": {"USD": 5000.0}, "B": {"BTC": 9.0}}


# A database in memory has one executor.
not_in_memory = pytest.mark.parametrize("url", ["file", "postgresql"], indirect=True)


def trade(fed: FedDesk) -> None:
    """A filled decision, one that is traded back, one denied and one still in flight."""
    fed.step([A, B], [Decision(0, 0, quantity=0.7), Decision(1, 0, sell_limit=102.5), Decision(1, 0)])
    fed.step([Tick(60, "A", CHEAP, [(100.0, 2.0)]), Tick(61, "B", [(103.0, 2.0)], [(104.0, 1.0)])])
    fed.step([Tick(160, "A", CHEAP, [(100.0, 2.0)])], [Decision(4, 160)])


def rows(engine: Engine, *columns: Any) -> list[tuple[Any, ...]]:
    """What a query gives."""
    with engine.begin() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(*columns))]


def test_everything_is_written_and_read_back(url: str) -> None:
    """A second executor finds exactly the first one's books, and cancels what was in flight."""
    engine = open_ledger(url)
    fed = FedDesk(journal=SqlLedger(engine), balances=BALANCES)
    trade(fed)
    assert [r.kind for r in fed.reports] == [DENIED, EXECUTED, EXECUTED, FLATTENED]
    o, d = tables.orders.c, tables.decisions.c
    assert rows(engine, o.client_order_id, o.status) == [
        ("e1-s0-buy-0", "filled"),
        ("e1-s0-sell-0", "filled"),
        ("e1-s1-buy-0", "filled"),
        ("e1-s1-flat-1", "filled"),
        ("e1-s1-sell-0", "partly_filled"),
        ("e1-s4-buy-0", "sent"),
        ("e1-s4-sell-0", "sent"),
    ]
    assert rows(engine, d.sequence, d.status) == [(0, "done"), (1, "done"), (4, "open")]
    if url != "sqlite://":
        engine.dispose()
        engine = open_ledger(url)
    again = FedDesk(journal=SqlLedger(engine), balances=BALANCES)
    assert again.desk._account.books == fed.desk._account.books
    assert again.snapshot.epoch == 2
    assert again.snapshot.values.activity == {SYMBOL: (0, 160 * MS)}
    assert again.snapshot.values.order_ts_ns == (0, 0, 0, 0, 50 * MS, 160 * MS, 160 * MS)
    assert rows(engine, d.sequence, d.status) == [(0, "done"), (1, "done"), (4, "cancelled")]
    assert rows(engine, o.status).count(("cancelled",)) == 2
    engine.dispose()


def test_amounts_come_back_exactly(url: str) -> None:
    """Thirty digits and more, on either kind of database."""
    engine = open_ledger(url)
    exactly = Decimal("12345678901234567890.123456789012345678901234567890")
    with engine.begin() as connection:
        connection.execute(insert(tables.costs), {"symbol": "X/Y", "quantity": exactly, "basis": -exactly})
    assert rows(engine, tables.costs.c.quantity, tables.costs.c.basis) == [(exactly, -exactly)]
    engine.dispose()


def test_a_half_executed_decision_is_traded_back_once_its_book_is_there(url: str) -> None:
    """After a crash between the legs and the trading back, the next executor trades back, at a price it knows."""
    engine = open_ledger(url)
    first = FedDesk(journal=SqlLedger(engine))
    first.step([A, B], [Decision(1, 0, sell_limit=103.5)])
    first.step([Tick(60, "A", [], [])])
    assert [r.unhedged for r in first.reports] == [1.0]
    second = FedDesk(journal=SqlLedger(engine))
    assert second.snapshot.values.activity == {SYMBOL: (1, 0)}
    second.step([Tick(1000, "B", [(103.0, 9.0)], [(104.0, 9.0)])])
    assert second.finish() == []
    second.step([Tick(1001, "A", CHEAP, [(100.0, 1.0)])])
    (report,) = second.finish()
    assert (report.kind, report.epoch, report.sequence, report.unhedged) == (FLATTENED, 1, 1, 0.0)
    assert [(f.client_order_id, f.price) for f in report.fills] == [("e1-s1-flat-2", 99.0)]
    assert report.effective_ns == 1051 * MS
    assert report.values.activity == {SYMBOL: (0, 0)}
    assert rows(engine, tables.decisions.c.status) == [("done",)]
    third = FedDesk(journal=SqlLedger(engine))
    third.step([Tick(2000, "A", CHEAP, [(100.0, 1.0)])])
    assert third.finish() == []
    engine.dispose()


def test_what_cannot_be_traded_back_after_a_crash_stays_a_position(url: str) -> None:
    """Below the lot that is known now the decision ends; where no fee is known it waits."""
    engine = open_ledger(url)
    first = FedDesk(journal=SqlLedger(engine))
    first.step([A, B], [Decision(1, 0, sell_limit=103.5)])
    first.step([Tick(60, "A", [], [])])
    waiting = FedDesk(market(taker_bps=None), SqlLedger(engine))
    waiting.step([Tick(1000, "A", CHEAP, [(100.0, 1.0)])])
    assert waiting.finish() == []
    assert rows(engine, tables.decisions.c.status) == [("open",)]
    ended = FedDesk(market(lot_size=2.0), SqlLedger(engine))
    ended.step([Tick(1000, "A", CHEAP, [(100.0, 1.0)])])
    assert ended.finish() == []
    assert rows(engine, tables.decisions.c.status, tables.decisions.c.unhedged) == [("done", Decimal(1))]
    assert ended.open().values.activity == {SYMBOL: (0, 0)}
    engine.dispose()


def test_an_epoch_that_cannot_be_taken_is_an_error(url: str) -> None:
    """Without its row a ledger gives no epoch, and says what the database said."""
    engine = open_ledger(url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE trading RENAME TO gone"))
    with pytest.raises(LedgerUnavailableError, match="trading"):
        FedDesk(journal=SqlLedger(engine))
    engine.dispose()


def test_an_order_is_committed_before_the_venue_sees_it(url: str) -> None:
    """Within one step too, fills come in a later transaction than their orders."""
    engine = open_ledger(url)
    fed = FedDesk(journal=SqlLedger(engine))
    log: list[str] = []
    event.listen(engine, "commit", lambda _: log.append("commit"))
    event.listen(engine, "before_cursor_execute", lambda _c, _u, sql, *_: log.append(" ".join(sql.split()[:3])))
    fed.step([A, B, Tick(60, "A", CHEAP, [(100.0, 1.0)])], [Decision(1, 0)])
    ordered, filled = log.index("INSERT INTO orders"), log.index("INSERT INTO fills")
    assert "commit" in log[ordered:filled]
    assert log.count("commit") == 2
    engine.dispose()


@not_in_memory
def test_the_newest_epoch_wins(url: str) -> None:
    """Of two executors on one ledger the older one's next write fails whole, and it starts from the newer's state."""
    first, second = (FedDesk(journal=SqlLedger(open_ledger(url))) for _ in range(2))
    with pytest.raises(FencedError):
        first.step([A, B], [Decision(0, 0)])
    trade(second)
    assert rows(open_ledger(url), tables.decisions.c.epoch, tables.decisions.c.status) == [
        (2, "done"),
        (2, "done"),
        (2, "open"),
    ]
    assert first.open().epoch == 3
    assert first.desk._account.books == second.desk._account.books
    with pytest.raises(FencedError):
        second.finish()
    assert first.step([Tick(500, "A", *A[2:4]), Tick(500, "B", *B[2:4])], [Decision(1, 500)]) == []
    assert [r.kind for r in first.finish()] == [EXECUTED]


@not_in_memory
def test_a_new_epoch_sees_what_another_executor_wrote(url: str) -> None:
    """An executor whose hub connects again loads the ledger if anybody else has held it since."""
    first, second = (FedDesk(journal=SqlLedger(open_ledger(url))) for _ in range(2))
    trade(second)
    snapshot = first.open()
    assert (snapshot.epoch, len(snapshot.values.positions)) == (3, 2)


def test_a_decision_is_executed_once_whatever_the_desk_says(url: str) -> None:
    """The ledger itself refuses the same (epoch, sequence) again."""
    engine = open_ledger(url)
    fed = FedDesk(journal=SqlLedger(engine))
    fed.step([A, B, Tick(60, "A", [], [])], [Decision(0, 0)])
    fed.desk._gate._last = -1
    with pytest.raises(LedgerUnavailableError) as caught:
        fed.step([], [Decision(0, 0)])
    assert isinstance(caught.value.__cause__, IntegrityError)
    assert fed.open().epoch == 2
    engine.dispose()


def test_a_failed_write_leaves_nothing_and_the_next_epoch_loads(url: str) -> None:
    """A transaction that fails half-way is not there, and the desk forgets what it thought it had."""
    engine = open_ledger(url)
    fed = FedDesk(journal=SqlLedger(engine))
    fed.step([A, B], [Decision(0, 0, quantity=0.5)])
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE fills RENAME TO gone"))
    with pytest.raises(LedgerUnavailableError):
        fed.finish()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO fills"))
    snapshot = fed.open()
    assert (snapshot.values.positions, snapshot.values.pnl) == ({}, {})
    assert rows(engine, tables.orders.c.status) == [("cancelled",)] * 2
    assert fed.finish() == []
    engine.dispose()


def test_a_halt_in_the_ledger_holds(url: str) -> None:
    """The ledger's trading state may be stricter than the configuration's."""
    engine = open_ledger(url)
    with engine.begin() as connection:
        connection.execute(update(tables.trading).values(state=HALTED))
    fed = FedDesk(journal=SqlLedger(engine))
    assert fed.snapshot.values.trading_state == HALTED
    fed.step([A, B], [Decision(0, 0)])
    assert [r.reason for r in fed.reports] == ["TRADING_HALTED"]
    engine.dispose()


@pytest.mark.parametrize(("table", "column"), [("positions", "quantity"), ("balances", "change")])
def test_a_ledger_that_does_not_add_up_is_refused(tmp_path: Path, table: str, column: str) -> None:
    """A position or balance that is not the sum of its fills stops the executor with a sentence."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    engine = open_ledger(url)
    trade(FedDesk(journal=SqlLedger(engine)))
    with engine.begin() as connection:
        connection.execute(update(tables.metadata.tables[table]).values({column: Decimal("77")}))
    with pytest.raises(ServiceError, match=rf"^ledger sqlite:///.*: the {table} say 77 .* but its fills add up to "):
        open_ledger(url)
    engine.dispose()


def test_migrations_make_the_tables_that_the_code_uses(url: str) -> None:
    """Columns, types, keys and indexes are the same whether migrated or made from the metadata."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_ledger(url)
    with engine.begin() as connection:
        options = {"version_table": "arbhub_ledger_version", "compare_type": False}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []
        for table in tables.metadata.sorted_tables:
            key = inspect(connection).get_pk_constraint(table.name)["constrained_columns"]
            assert key == [column.name for column in table.primary_key]
    engine.dispose()
    if url != "sqlite://":
        open_ledger(url).dispose()  # migrating again changes nothing


def test_a_file_is_durable(tmp_path: Path) -> None:
    """A SQLite file is in WAL mode, synced at every commit, with foreign keys held."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.connect() as c:
        pragmas = [c.execute(text(f"PRAGMA {p}")).scalar() for p in ("journal_mode", "synchronous", "foreign_keys")]
    assert pragmas == ["wal", 2, 1]
    engine.dispose()
