"""The ledger's tables. `migrations/` makes them; a test holds the two together.

Amounts are exact: NUMERIC on PostgreSQL, their text on SQLite, whose numbers are floats. Times are ns since
1970, `epoch` columns are the ledger's own counter.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()


class Amount(TypeDecorator[Decimal]):
    """A Decimal that comes back as it was written."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text where the database has no exact numbers."""
        return dialect.type_descriptor(String() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """As text or as it is."""
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        """Back from either."""
        return None if value is None else Decimal(value)


def _amount(name: str, nullable: bool = False) -> Column[Any]:
    return Column(name, Amount(), nullable=nullable)


def _text(name: str, **kwargs: Any) -> Column[Any]:
    return Column(name, String(), nullable=False, **kwargs)


def _long(name: str, **kwargs: Any) -> Column[Any]:
    return Column(name, BigInteger(), nullable=False, **kwargs)


trading = Table(
    "trading",
    metadata,
    Column("id", Integer(), primary_key=True, autoincrement=False),  # one row; locked by whoever writes
    _long("epoch"),
    Column("state", Integer(), nullable=False),
)
epochs = Table(
    "epochs",
    metadata,
    _long("epoch", primary_key=True, autoincrement=False),
    _long("taken_ns"),
)
decisions = Table(
    "decisions",
    metadata,
    _long("epoch", primary_key=True, autoincrement=False),
    _long("sequence", primary_key=True, autoincrement=False),
    _long("ts_ns"),
    _text("symbol"),
    _text("buy_venue"),
    _text("sell_venue"),
    _text("quantity"),  # as the hub sent it, which need not be a number
    _text("buy_limit"),
    _text("sell_limit"),
    _text("status"),
    _text("reason"),
    _amount("unhedged"),
    ForeignKeyConstraint(["epoch"], ["epochs.epoch"]),
    Index("decisions_by_status", "status"),
    Index("decisions_by_symbol", "symbol", "ts_ns"),
)
orders = Table(
    "orders",
    metadata,
    _text("client_order_id", primary_key=True),
    _long("epoch"),
    _long("sequence"),
    _text("leg"),
    Column("attempt", Integer(), nullable=False),
    _text("venue"),
    _text("symbol"),
    Column("buy", Boolean(), nullable=False),
    _amount("quantity"),
    _amount("limit_price", nullable=True),
    _long("sent_ns"),
    _long("due_ns"),
    _text("status"),
    ForeignKeyConstraint(["epoch", "sequence"], ["decisions.epoch", "decisions.sequence"]),
    Index("orders_by_decision", "epoch", "sequence"),
    Index("orders_by_status", "status"),
    Index("orders_by_time", "sent_ns"),
)
fills = Table(
    "fills",
    metadata,
    _text("client_order_id", primary_key=True),
    Column("number", Integer(), primary_key=True, autoincrement=False),
    _text("venue"),
    _text("symbol"),
    Column("buy", Boolean(), nullable=False),
    _amount("price"),
    _amount("quantity"),
    _amount("fee"),
    _long("ts_ns"),
    ForeignKeyConstraint(["client_order_id"], ["orders.client_order_id"]),
)
positions = Table(
    "positions",
    metadata,
    _text("venue", primary_key=True),
    _text("symbol", primary_key=True),
    _amount("quantity"),
    _amount("mark"),
)
balances = Table(
    "balances",
    metadata,
    _text("venue", primary_key=True),
    _text("asset", primary_key=True),
    _amount("change"),  # since the start, so that configured balances can grow
)
costs = Table(
    "costs",
    metadata,
    _text("symbol", primary_key=True),
    _amount("quantity"),
    _amount("basis"),
)
results = Table(
    "results",
    metadata,
    _text("asset", primary_key=True),
    Column("day", Integer(), nullable=False),
    _amount("realised_day"),
    _amount("cumulative"),
    _amount("high_water"),
)
