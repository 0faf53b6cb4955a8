"""What trading came to: realised results by quote asset, and by instrument, venue and UTC day within it.

The fills are booked again, in the order in which they were, by the executor's own account: so the parts add up to what
the ledger says was realised in all. A fill's part is what it realised by average cost, less its fee, and counts for
the venue and the day of that fill: buying on one venue to sell on another shows on the one that sold.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from arbhub.reference import split_symbol
from arbhub.state import DAY_NS
from executor import tables as t
from executor.account import Cost, close
from executor.history import iso, plain
from executor.money import ZERO
from executor.orders import Fill

FILLS_AT_ONCE = 5000


@dataclass(slots=True)
class Line:
    """One sum, quote currency: realised with fees taken off, the fees, what changed hands, and in how many fills."""

    realised: Decimal = ZERO
    fees: Decimal = ZERO
    turnover: Decimal = ZERO
    fills: int = 0

    def add(self, fill: Fill, profit: Decimal) -> None:
        """A fill's part."""
        self.realised += profit - fill.fee
        self.fees += fill.fee
        self.turnover += fill.price * fill.quantity
        self.fills += 1


Lines = dict[tuple[str, str], Line]
"""By (quote asset, name)."""


def _lines() -> Lines:
    return defaultdict(Line)


@dataclass(slots=True)
class Statement:
    """`written` is what the ledger itself says was realised, by quote asset."""

    written: dict[str, Decimal]
    in_all: dict[str, Line] = field(default_factory=lambda: defaultdict(Line))
    by_instrument: Lines = field(default_factory=_lines)
    by_venue: Lines = field(default_factory=_lines)
    by_day: Lines = field(default_factory=_lines)
    """Days as "2026-11-21"."""

    def add(self, fill: Fill, profit: Decimal) -> None:
        """A fill's part, everywhere."""
        _, asset = split_symbol(fill.symbol)
        day = iso(fill.ts_ns // DAY_NS * DAY_NS)[:10]
        self.in_all[asset].add(fill, profit)
        for lines, name in ((self.by_instrument, fill.symbol), (self.by_venue, fill.venue), (self.by_day, day)):
            lines[asset, name].add(fill, profit)


def statement(connection: Connection) -> Statement:
    """Of the whole ledger; in `executor.money.CONTEXT`."""
    r = t.results.c
    made = Statement({row.asset: row.cumulative for row in connection.execute(select(r.asset, r.cumulative))})
    costs: defaultdict[str, Cost] = defaultdict(Cost)
    for fill in _booked(connection):
        costs[fill.symbol], profit = close(costs[fill.symbol], fill.signed, fill.price)
        made.add(fill, profit)
    return made


def _booked(connection: Connection) -> Iterator[Fill]:
    """Every fill in the order of booking: by time, decision, attempt, and the buy leg before the sell leg."""
    o, f = t.orders.c, t.fills.c
    query = (
        select(f.client_order_id, f.number, f.symbol, f.venue, f.buy, f.price, f.quantity, f.fee, f.ts_ns)
        .join(t.orders, f.client_order_id == o.client_order_id)
        .order_by(f.ts_ns, o.epoch, o.sequence, o.attempt, o.leg, f.number)
        .execution_options(yield_per=FILLS_AT_ONCE)
    )
    for row in connection.execute(query):
        yield Fill(*row)


def as_json(s: Statement) -> dict[str, Any]:
    """By asset; amounts are texts, as exact as the ledger has them."""
    return {
        asset: {
            **_line_as_json(line),
            "realised_in_ledger": plain(s.written.get(asset, ZERO)),
            "by_instrument": _lines_as_json(s.by_instrument, asset),
            "by_venue": _lines_as_json(s.by_venue, asset),
            "by_day": _lines_as_json(s.by_day, asset),
        }
        for asset, line in sorted(s.in_all.items())
    }


def _lines_as_json(lines: Lines, asset: str) -> dict[str, Any]:
    return {name: _line_as_json(line) for (of, name), line in sorted(lines.items()) if of == asset}


def _line_as_json(line: Line) -> dict[str, Any]:
    return {
        "realised": plain(line.realised),
        "fees": plain(line.fees),
        "turnover": plain(line.turnover),
        "fills": line.fills,
    }
