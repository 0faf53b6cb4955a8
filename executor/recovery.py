"""Reading a ledger back: the sums, what was left half executed, and recent activity."""

from collections import defaultdict
from decimal import Decimal, localcontext
from typing import Any

from sqlalchemy import Connection, Row, func, select

from arbhub.limits import SECOND_NS
from executor import tables as t
from executor.account import Books, Cost, Holding, Result
from executor.journal import DENIED_DECISION, OPEN, Recovered, Residual
from executor.money import CONTEXT
from executor.orders import Approved


def load(connection: Connection) -> Recovered:
    """Everything the ledger holds; whatever is still open there was left half executed."""
    with localcontext(CONTEXT):
        return Recovered(
            books=_books(connection),
            residuals=tuple(_residuals(connection)),
            order_ts_ns=_recent_orders(connection),
            last_decision_ns=_last_decisions(connection),
            trading_state=connection.execute(select(t.trading.c.state)).scalar_one(),
        )


def _books(connection: Connection) -> Books:
    p, b, c, r = t.positions.c, t.balances.c, t.costs.c, t.results.c
    holdings = connection.execute(select(p.venue, p.symbol, p.quantity, p.mark))
    changes = connection.execute(select(b.venue, b.asset, b.change))
    costs = connection.execute(select(c.symbol, c.quantity, c.basis))
    results = connection.execute(select(r.asset, r.day, r.realised_day, r.cumulative, r.high_water))
    return Books(
        {(venue, symbol): Holding(quantity, mark) for venue, symbol, quantity, mark in holdings},
        {(venue, asset): change for venue, asset, change in changes},
        {symbol: Cost(quantity, basis) for symbol, quantity, basis in costs},
        {asset: Result(*figures) for asset, *figures in results},
    )


def _residuals(connection: Connection) -> list[Residual]:
    d = t.decisions.c
    found = []
    for row in connection.execute(select(t.decisions).where(d.status == OPEN)).all():
        bought, sold = _filled(connection, row)
        found.append(Residual(_approved(row), bought, sold, _last_attempt(connection, row)))
    return found


def _filled(connection: Connection, row: Row[Any]) -> tuple[Decimal, Decimal]:
    o, f = t.orders.c, t.fills.c
    query = select(f.buy, f.quantity).join(t.orders, f.client_order_id == o.client_order_id)
    sums: defaultdict[bool, Decimal] = defaultdict(Decimal)
    for buy, quantity in connection.execute(query.where(o.epoch == row.epoch, o.sequence == row.sequence)):
        sums[buy] += quantity
    return sums[True], sums[False]


def _last_attempt(connection: Connection, row: Row[Any]) -> int:
    o = t.orders.c
    query = select(func.max(o.attempt)).where(o.epoch == row.epoch, o.sequence == row.sequence)
    return int(connection.execute(query).scalar_one() or 0)


def _recent_orders(connection: Connection) -> tuple[int, ...]:
    o = t.orders.c
    newest = connection.execute(select(func.max(o.sent_ns))).scalar_one()
    if newest is None:
        return ()
    query = select(o.sent_ns).where(o.sent_ns > newest - SECOND_NS).order_by(o.sent_ns)
    return tuple(connection.execute(query).scalars())


def _last_decisions(connection: Connection) -> dict[str, int]:
    d = t.decisions.c
    query = select(d.symbol, func.max(d.ts_ns)).where(d.status != DENIED_DECISION).group_by(d.symbol)
    return {symbol: int(ts_ns) for symbol, ts_ns in connection.execute(query)}


def _approved(row: Row[Any]) -> Approved:
    """What trading back needs of a decision; the prices it was made at are history."""
    buy_limit, sell_limit = float(row.buy_limit), float(row.sell_limit)
    return Approved(
        epoch=row.epoch,
        sequence=row.sequence,
        ts_ns=row.ts_ns,
        expires_ns=row.ts_ns,
        symbol=row.symbol,
        buy_venue=row.buy_venue,
        sell_venue=row.sell_venue,
        quantity=float(row.quantity),
        buy_limit=buy_limit,
        sell_limit=sell_limit,
        buy_ask=buy_limit,
        sell_bid=sell_limit,
    )
