"""The executor's ledger, read from outside while it is written, and what must hold in it whatever has failed."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

Decision = tuple[int, int]
"""(epoch, sequence)."""


class TradeLedger:
    """The file of a running executor. Each call sees the ledger as of one moment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fills(self, epoch: int) -> int:
        """How many fills an epoch's decisions have."""
        query = "SELECT count(*) FROM fills JOIN orders USING (client_order_id) WHERE epoch = ?"
        with self._opened() as ledger:
            return int(ledger.execute(query, (epoch,)).fetchone()[0])

    def traded(self) -> set[Decision]:
        """Every decision that became orders."""
        with self._opened() as ledger:
            return set(ledger.execute("SELECT DISTINCT epoch, sequence FROM orders"))

    def wrong(self) -> list[str]:
        """A sentence for each thing that may never be."""
        with self._opened() as ledger:
            return [*_wrong_orders(ledger), *_wrong_positions(ledger)]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None)) as ledger:
            ledger.execute("BEGIN")
            yield ledger


def _wrong_orders(ledger: sqlite3.Connection) -> Iterator[str]:
    """A leg is ordered once; what trades a part of one back is ordered again and again, each time as an attempt."""
    orders = ledger.execute("SELECT epoch, sequence, leg, attempt FROM orders").fetchall()
    for key, count in Counter(orders).items():
        if count > 1:
            yield f"order {key} is there {count} times"
    for key, count in Counter((e, s, leg) for e, s, leg, _ in orders if leg != "flat").items():
        if count > 1:
            yield f"leg {key} has {count} orders"
    admitted = set(ledger.execute("SELECT epoch, sequence FROM decisions WHERE status != 'denied'"))
    for decision in {(epoch, sequence) for epoch, sequence, _, _ in orders} - admitted:
        yield f"decision {decision} has orders, but was not admitted"


def _wrong_positions(ledger: sqlite3.Connection) -> Iterator[str]:
    """A position is the sum of its fills."""
    sums: Counter[tuple[str, str]] = Counter()
    for venue, symbol, buy, quantity in ledger.execute("SELECT venue, symbol, buy, quantity FROM fills"):
        sums[venue, symbol] += Decimal(quantity) if buy else -Decimal(quantity)  # type: ignore[assignment]  # exact
    for venue, symbol, quantity in ledger.execute("SELECT venue, symbol, quantity FROM positions"):
        if Decimal(quantity) != (filled := sums.pop((venue, symbol), 0)):
            yield f"{symbol} on {venue} is {quantity}, but its fills add up to {filled}"
    for key in sums:
        yield f"{key} has fills, but no position"
