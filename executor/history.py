"""What was traded: decisions with their fills as the ledger has them, newest first, a page at a time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select, tuple_

from executor import tables as t
from executor.money import ZERO
from executor.reading import reading

PAGE_S = 3.0  # for a query, where the database bounds it
Id = tuple[int, int]
"""(epoch, sequence)."""


@dataclass(frozen=True, slots=True)
class TradeFill:
    """One fill. `fee` in quote currency, `leg` buy, sell or flat."""

    client_order_id: str
    leg: str
    venue: str
    buy: bool
    price: Decimal
    quantity: Decimal
    fee: Decimal
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Trade:
    """One approved decision and what became of it. Quantity and limits are texts as the hub sent them."""

    epoch: int
    sequence: int
    ts_ns: int
    symbol: str
    buy_venue: str
    sell_venue: str
    quantity: str
    buy_limit: str
    sell_limit: str
    status: str
    reason: str
    unhedged: Decimal
    fills: Sequence[TradeFill]

    @property
    def id(self) -> str:
        """Such as "3-1042"."""
        return f"{self.epoch}-{self.sequence}"

    @property
    def fees(self) -> Decimal:
        """Quote currency."""
        return sum((fill.fee for fill in self.fills), ZERO)

    @property
    def cash(self) -> Decimal:
        """What came in of the quote currency, less what went out and fees: the result, where nothing is unhedged."""
        paid = sum((fill.price * fill.quantity * (-1 if fill.buy else 1) for fill in self.fills), ZERO)
        return paid - self.fees


def trades(connection: Connection, limit: int, before: Id | None = None) -> list[Trade]:
    """Up to `limit` trades, those before one or the newest, newest first."""
    d = t.decisions.c
    query = select(t.decisions).order_by(d.epoch.desc(), d.sequence.desc()).limit(limit)
    if before is not None:
        query = query.where(tuple_(d.epoch, d.sequence) < before)
    rows = connection.execute(query).all()
    fills = _fills(connection, rows) if rows else {}
    return [Trade(**row._mapping, fills=fills.get((row.epoch, row.sequence), ())) for row in rows]


def _fills(connection: Connection, rows: Sequence[Row[Any]]) -> Mapping[Id, list[TradeFill]]:
    """Of the decisions of a page, which follow one another."""
    o, f = t.orders.c, t.fills.c
    decision = tuple_(o.epoch, o.sequence)
    newest, oldest = ((row.epoch, row.sequence) for row in (rows[0], rows[-1]))
    query = (
        select(o.epoch, o.sequence, o.leg, t.fills)
        .join(t.fills, f.client_order_id == o.client_order_id)
        .where(decision >= oldest, decision <= newest)
        .order_by(f.ts_ns, o.attempt, o.leg, f.number)
    )
    found: defaultdict[Id, list[TradeFill]] = defaultdict(list)
    for r in connection.execute(query):
        fill = TradeFill(r.client_order_id, r.leg, r.venue, r.buy, r.price, r.quantity, r.fee, r.ts_ns)
        found[r.epoch, r.sequence].append(fill)
    return found


class History:
    """The ledger at a URL, for whoever shows it: each page is read anew, and nothing is kept open."""

    def __init__(self, ledger_url: str) -> None:
        self._url = ledger_url

    def page(self, limit: int, before: Id | None) -> list[dict[str, Any]]:
        """Trades as JSON values; ServiceError says why there are none to be had."""
        with reading(self._url, PAGE_S) as connection:
            return [as_json(trade) for trade in trades(connection, limit, before)]


def as_json(trade: Trade) -> dict[str, Any]:
    """Amounts are texts, as exact as the ledger has them."""
    return {
        "id": trade.id,
        "ts_ns": trade.ts_ns,
        "time": iso(trade.ts_ns),
        "symbol": trade.symbol,
        "buy_venue": trade.buy_venue,
        "sell_venue": trade.sell_venue,
        "quantity": trade.quantity,
        "buy_limit": trade.buy_limit,
        "sell_limit": trade.sell_limit,
        "status": trade.status,
        "reason": trade.reason or None,
        "unhedged": plain(trade.unhedged),
        "fees": plain(trade.fees),
        "cash": plain(trade.cash),
        "fills": [_fill_as_json(fill) for fill in trade.fills],
    }


def _fill_as_json(fill: TradeFill) -> dict[str, Any]:
    return {
        "order": fill.client_order_id,
        "leg": fill.leg,
        "venue": fill.venue,
        "side": "buy" if fill.buy else "sell",
        "price": plain(fill.price),
        "quantity": plain(fill.quantity),
        "fee": plain(fill.fee),
        "ts_ns": fill.ts_ns,
    }


def plain(amount: Decimal) -> str:
    """Without an exponent or trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def iso(ts_ns: int) -> str:
    """UTC, to the millisecond."""
    moment = datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).replace(microsecond=ts_ns % 1_000_000_000 // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
