"""The ledger in a database: what the desk wrote since the last commit becomes one transaction, or none of it.

Every transaction first locks the row that says which epoch holds the ledger, and gives up where that is not
ours: two executors never both write. After any failure what the desk holds in memory may be ahead of what is
written, so the next epoch loads everything again.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from executor import tables as t
from executor.journal import (
    CANCELLED_DECISION,
    DENIED_DECISION,
    DONE,
    OPEN,
    Completion,
    FencedError,
    Recovered,
)
from executor.money import ZERO
from executor.orders import Approved, Order
from executor.recovery import load
from executor.revisions import RevisionError, require_head

Row = dict[str, Any]


class LedgerUnavailableError(Exception):
    """The database did not take or give what it was asked for; nothing of it was written."""


class SqlLedger:
    """A journal on an engine from `executor.opening.open_ledger`. Not for several threads at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._epoch = -1
        self._forget()

    def take_epoch(self) -> tuple[int, Recovered | None]:
        """The next epoch, and the whole state unless nobody else has written since our last commit."""
        recovered = None
        try:
            with self._engine.begin() as connection:
                held = self._held(connection)
                if held != self._epoch:
                    require_head(connection)
                    cancel_unfilled(connection)
                    recovered = load(connection)
                    self._know(recovered)
                epoch = begin_epoch(connection, held)
        except (SQLAlchemyError, RevisionError) as error:
            raise self._lost(error) from error
        self._epoch = epoch
        return epoch, recovered

    def deny(self, approved: Approved, reason: str) -> None:
        """Written down, so that the decision is known to have been judged."""
        self._inserts["decisions"].append(_decision(approved, DENIED_DECISION, reason))

    def admit(self, approved: Approved, orders: Sequence[Order]) -> None:
        """A decision and its orders."""
        self._inserts["decisions"].append(_decision(approved, OPEN, ""))
        self._inserts["orders"].extend(_order(order) for order in orders)

    def order(self, order: Order) -> None:
        """One more order."""
        self._inserts["orders"].append(_order(order))

    def complete(self, completion: Completion) -> None:
        """What became of orders, and what that made of the sums."""
        self._statuses.extend({"_id": o.client_order_id, "status": status} for o, status in completion.orders)
        self._inserts["fills"].extend(asdict(fill) for fill in completion.fills)
        epoch, sequence = completion.decision
        status = OPEN if completion.open else DONE
        self._decided[epoch, sequence] = {"status": status, "unhedged": completion.unhedged}
        changed = completion.changed
        for (venue, symbol), held in changed.holdings.items():
            self._sums["positions"][venue, symbol] = {"quantity": held.quantity, "mark": held.mark}
        for key, change in changed.changes.items():
            self._sums["balances"][key] = {"change": change}
        for symbol, cost in changed.costs.items():
            self._sums["costs"][symbol,] = asdict(cost)
        for asset, result in changed.results.items():
            self._sums["results"][asset,] = asdict(result)

    def trading_state(self, state: int) -> None:
        """It stands beside the epoch."""
        self._trading_state = state

    def commit(self) -> None:
        """Write everything since the last commit, in one transaction."""
        if not (self._inserts or self._statuses or self._decided or self._sums or self._trading_state):
            return
        try:
            with self._engine.begin() as connection:
                if self._held(connection) != self._epoch:
                    raise FencedError(f"epoch {self._epoch} no longer holds the ledger")
                self._write(connection)
        except SQLAlchemyError as error:
            raise self._lost(error) from error
        self._remember()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _held(self, connection: Connection) -> int:
        """The epoch that holds the ledger; locked until the transaction ends."""
        held: int = connection.execute(select(t.trading.c.epoch).with_for_update()).scalar_one()
        return held

    def _write(self, connection: Connection) -> None:
        if self._trading_state:
            connection.execute(update(t.trading).values(state=self._trading_state))
        for table in (t.decisions, t.orders, t.fills):
            if self._inserts[table.name]:
                connection.execute(insert(table), self._inserts[table.name])
        if self._statuses:
            matched = t.orders.c.client_order_id == bindparam("_id")
            connection.execute(update(t.orders).where(matched), self._statuses)
        if self._decided:
            rows = [{"_epoch": e, "_sequence": s, **row} for (e, s), row in self._decided.items()]
            d = t.decisions.c
            matched = (d.epoch == bindparam("_epoch")) & (d.sequence == bindparam("_sequence"))
            connection.execute(update(t.decisions).where(matched), rows)
        for table in (t.positions, t.balances, t.costs, t.results):
            self._write_sums(connection, table)

    def _write_sums(self, connection: Connection, table: Table) -> None:
        """Insert what is new and update the rest: no upsert is spelt alike everywhere."""
        keys = [column.name for column in table.primary_key]
        rows = [(key, dict(zip(keys, key, strict=True)), row) for key, row in self._sums[table.name].items()]
        new = [{**named, **row} for key, named, row in rows if key not in self._written[table.name]]
        old = [
            {**{f"_{name}": value for name, value in named.items()}, **row}
            for key, named, row in rows
            if key in self._written[table.name]
        ]
        if new:
            connection.execute(insert(table), new)
        if old:
            matched = [table.c[name] == bindparam(f"_{name}") for name in keys]
            connection.execute(update(table).where(*matched), old)

    def _know(self, recovered: Recovered) -> None:
        books = recovered.books
        self._forget()
        self._written["positions"] |= set(books.holdings)
        self._written["balances"] |= set(books.changes)
        self._written["costs"] |= {(symbol,) for symbol in books.costs}
        self._written["results"] |= {(asset,) for asset in books.results}

    def _remember(self) -> None:
        for name, rows in self._sums.items():
            self._written[name].update(rows)
        self._clear()

    def _forget(self) -> None:
        self._written: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
        self._clear()

    def _clear(self) -> None:
        self._trading_state = 0
        self._inserts: defaultdict[str, list[Row]] = defaultdict(list)
        self._statuses: list[Row] = []
        self._decided: dict[tuple[int, int], Row] = {}
        self._sums: defaultdict[str, dict[tuple[str, ...], Row]] = defaultdict(dict)

    def _lost(self, error: SQLAlchemyError | RevisionError) -> LedgerUnavailableError:
        self._epoch = -1
        self._forget()
        cause: Any = getattr(error, "orig", None) or error
        return LedgerUnavailableError(str(cause).strip().splitlines()[0])


def begin_epoch(connection: Connection, held: int) -> int:
    """The epoch after the one that holds the ledger; whoever has that one writes no more."""
    epoch = held + 1
    connection.execute(update(t.trading).values(epoch=epoch))
    connection.execute(insert(t.epochs).values(epoch=epoch, taken_ns=time.time_ns()))
    return epoch


def cancel_unfilled(connection: Connection) -> None:
    """Orders of an executor that is gone were never matched; a decision that has only such is over."""
    o, d = t.orders.c, t.decisions.c
    connection.execute(update(t.orders).where(o.status == "sent").values(status="cancelled"))
    filled = select(o.epoch, o.sequence).join(t.fills, t.fills.c.client_order_id == o.client_order_id)
    for epoch, sequence in connection.execute(select(d.epoch, d.sequence).where(d.status == OPEN)).all():
        if connection.execute(filled.where(o.epoch == epoch, o.sequence == sequence).limit(1)).first() is None:
            this = (d.epoch == epoch) & (d.sequence == sequence)
            connection.execute(update(t.decisions).where(this).values(status=CANCELLED_DECISION))


def _decision(a: Approved, status: str, reason: str) -> Row:
    row: Row = {"epoch": a.epoch, "sequence": a.sequence, "ts_ns": a.ts_ns, "symbol": a.symbol}
    row |= {"buy_venue": a.buy_venue, "sell_venue": a.sell_venue, "quantity": repr(a.quantity)}
    row |= {"buy_limit": repr(a.buy_limit), "sell_limit": repr(a.sell_limit)}
    return row | {"status": status, "reason": reason, "unhedged": ZERO}


def _order(o: Order) -> Row:
    row: Row = {"client_order_id": o.client_order_id, "epoch": o.decision[0], "sequence": o.decision[1]}
    row |= {"leg": o.leg, "attempt": o.attempt, "venue": o.venue, "symbol": o.symbol, "buy": o.buy}
    row |= {"quantity": o.quantity, "limit_price": o.limit, "sent_ns": o.sent_ns, "due_ns": o.due_ns}
    return row | {"status": "sent"}
