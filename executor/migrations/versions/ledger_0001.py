"""The first ledger: epochs, decisions, orders, fills and what they add up to."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from executor.tables import Amount

revision = "0001"
down_revision = None

# Those that refer to others come first.
TABLES = ("fills", "orders", "decisions", "epochs", "positions", "balances", "costs", "results")


def _text(name: str, **kwargs: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False, **kwargs)


def _long(name: str, **kwargs: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, **kwargs)


def _amount(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Amount(), nullable=nullable)


def upgrade() -> None:
    """Make the tables, and the one row that says which epoch holds the ledger."""
    _history()
    _sums()
    trading = op.create_table(
        "trading",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        _long("epoch"),
        sa.Column("state", sa.Integer(), nullable=False),
    )
    op.bulk_insert(trading, [{"id": 1, "epoch": 0, "state": 1}])


def downgrade() -> None:
    """Drop a ledger that nobody ever used; CommandError where there is anything in it."""
    count = sa.select(sa.func.count())
    used = [name for name in TABLES if op.get_bind().execute(count.select_from(sa.table(name))).scalar_one()]
    if used:
        raise CommandError(f"there is no form before the first one, and its {', '.join(used)} are not empty")
    for name in (*TABLES, "trading"):
        op.drop_table(name)


def _history() -> None:
    op.create_table("epochs", _long("epoch", primary_key=True, autoincrement=False), _long("taken_ns"))
    op.create_table(
        "decisions",
        _long("epoch", primary_key=True, autoincrement=False),
        _long("sequence", primary_key=True, autoincrement=False),
        _long("ts_ns"),
        *(_text(name) for name in ("symbol", "buy_venue", "sell_venue", "quantity", "buy_limit", "sell_limit")),
        _text("status"),
        _text("reason"),
        _amount("unhedged"),
        sa.ForeignKeyConstraint(["epoch"], ["epochs.epoch"]),
    )
    op.create_index("decisions_by_status", "decisions", ["status"])
    op.create_index("decisions_by_symbol", "decisions", ["symbol", "ts_ns"])
    op.create_table(
        "orders",
        _text("client_order_id", primary_key=True),
        _long("epoch"),
        _long("sequence"),
        _text("leg"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _text("venue"),
        _text("symbol"),
        sa.Column("buy", sa.Boolean(), nullable=False),
        _amount("quantity"),
        _amount("limit_price", nullable=True),
        _long("sent_ns"),
        _long("due_ns"),
        _text("status"),
        sa.ForeignKeyConstraint(["epoch", "sequence"], ["decisions.epoch", "decisions.sequence"]),
    )
    op.create_index("orders_by_decision", "orders", ["epoch", "sequence"])
    op.create_index("orders_by_status", "orders", ["status"])
    op.create_index("orders_by_time", "orders", ["sent_ns"])
    op.create_table(
        "fills",
        _text("client_order_id", primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        _text("venue"),
        _text("symbol"),
        sa.Column("buy", sa.Boolean(), nullable=False),
        *(_amount(name) for name in ("price", "quantity", "fee")),
        _long("ts_ns"),
        sa.ForeignKeyConstraint(["client_order_id"], ["orders.client_order_id"]),
    )


def _sums() -> None:
    venue, symbol, asset = ("venue", "symbol", "asset")
    op.create_table(
        "positions",
        _text(venue, primary_key=True),
        _text(symbol, primary_key=True),
        _amount("quantity"),
        _amount("mark"),
    )
    op.create_table("balances", _text(venue, primary_key=True), _text(asset, primary_key=True), _amount("change"))
    op.create_table("costs", _text(symbol, primary_key=True), _amount("quantity"), _amount("basis"))
    op.create_table(
        "results",
        _text(asset, primary_key=True),
        sa.Column("day", sa.Integer(), nullable=False),
        *(_amount(name) for name in ("realised_day", "cumulative", "high_water")),
    )
