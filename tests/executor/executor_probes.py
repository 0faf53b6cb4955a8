"""What the executor's tests are made of: small markets, ticks and decisions by name, and a desk fed with them."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from arbhub.columns import Decisions, Floats, Ints, Side, Ticks
from arbhub.reference import Listing, ReferenceData, Universe, taker_table
from arbhub.settings.risk import RiskSettings
from arbhub.settings.schema import ExecutorSettings
from arbhub.state import Report, Snapshot
from executor.desk import PaperDesk
from executor.journal import Journal, MemoryLedger

MS = 1_000_000
SYMBOL = "BTC/USD"
Levels = Sequence[tuple[float, float]]


class Tick(NamedTuple):
    """A tick by name; times in ms."""

    ms: float
    venue: str
    bids: Levels
    asks: Levels
    symbol: str = SYMBOL


class Decision(NamedTuple):
    """An approved decision by name; times in ms."""

    sequence: int
    ms: float
    buy: str = "A"
    sell: str = "B"
    quantity: float = 1.0
    buy_limit: float = 101.0
    sell_limit: float = 102.0
    symbol: str = SYMBOL
    ttl_ms: float = 1000.0
    buy_ask: float = 100.0
    sell_bid: float = 103.0


def market(taker_bps: float | None = 10.0, venues: Sequence[str] = ("A", "B"), **listing: Any) -> Universe:
    """Venues that all list BTC/USD and ETH/USD alike."""
    universe = Universe()
    listings = [
        Listing(venue, symbol, taker_bps=taker_bps, **listing) for venue in venues for symbol in (SYMBOL, "ETH/USD")
    ]
    universe.merge(ReferenceData(tuple(venues), (SYMBOL, "ETH/USD"), tuple(listings)))
    return universe


def ticks_of(universe: Universe, rows: Sequence[Tick]) -> Ticks:
    """As columns."""
    return Ticks(
        np.array([round(row.ms * MS) for row in rows], np.int64),
        np.array([universe.symbol_ids[row.symbol] for row in rows], np.int64),
        np.array([universe.venue_ids[row.venue] for row in rows], np.int64),
        Side.from_levels([row.bids for row in rows]),
        Side.from_levels([row.asks for row in rows]),
        np.zeros(len(rows), np.int64),
    )


def decisions_of(universe: Universe, rows: Sequence[Decision]) -> Decisions:
    """As columns, all approved."""

    def floats(values: Iterable[float]) -> Floats:
        return np.array(list(values), np.float64)

    def ints(values: Iterable[int]) -> Ints:
        return np.array(list(values), np.int64)

    return Decisions(
        sequence=ints(d.sequence for d in rows),
        ts_ns=ints(round(d.ms * MS) for d in rows),
        instrument=ints(universe.symbol_ids[d.symbol] for d in rows),
        approved=np.ones(len(rows), np.bool_),
        reason=ints(0 for _ in rows),
        buy_venue=ints(universe.venue_ids[d.buy] for d in rows),
        sell_venue=ints(universe.venue_ids[d.sell] for d in rows),
        gross_edge_bps=floats(0.0 for _ in rows),
        fee_bps=floats(0.0 for _ in rows),
        slippage_bps=floats(0.0 for _ in rows),
        net_edge_bps=floats(0.0 for _ in rows),
        quantity=floats(d.quantity for d in rows),
        buy_limit=floats(d.buy_limit for d in rows),
        sell_limit=floats(d.sell_limit for d in rows),
        expires_ns=ints(round((d.ms + d.ttl_ms) * MS) for d in rows),
        buy_ask=floats(d.buy_ask for d in rows),
        sell_bid=floats(d.sell_bid for d in rows),
    )


class FedDesk:
    """A desk that is fed by name and keeps every report; ticks are numbered as they come, from 0."""

    def __init__(
        self,
        universe: Universe | None = None,
        journal: Journal | None = None,
        risk: RiskSettings | None = None,
        **executor: Any,
    ) -> None:
        self.universe = universe or market()
        self.journal = journal or MemoryLedger()
        self.desk = PaperDesk(ExecutorSettings(**executor), risk or RiskSettings(), self.journal)
        self.reports: list[Report] = []
        self.sequence = 0
        self.snapshot = self.open()

    def open(self) -> Snapshot:
        """Take a new epoch."""
        self.snapshot = self.desk.open(self.universe, taker_table(self.universe, {}, {}))
        return self.snapshot

    def step(self, ticks: Sequence[Tick] = (), decisions: Sequence[Decision] = ()) -> list[Report]:
        """One step; its reports."""
        numbers = np.arange(self.sequence, self.sequence + len(ticks), dtype=np.int64)
        self.sequence += len(ticks)
        new = self.desk.step(numbers, ticks_of(self.universe, ticks), decisions_of(self.universe, decisions))
        self.reports += new
        return new

    def finish(self) -> list[Report]:
        """Complete everything."""
        new = self.desk.finish()
        self.reports += new
        return new


# An arbitrage of one BTC: 100 paid on A, 103 got on B.
CHEAP: Levels = [(99.0, 5.0)]
ASKS_A: Levels = [(100.0, 1.0), (101.0, 2.0)]
BIDS_B: Levels = [(103.0, 1.0), (102.0, 2.0)]
DEAR: Levels = [(104.0, 5.0)]
A = Tick(0, "A", CHEAP, ASKS_A)
B = Tick(0, "B", BIDS_B, DEAR)


def held(report_positions: dict[tuple[str, str], tuple[float, float]]) -> dict[str, float]:
    """Positions of BTC/USD by venue."""
    return {venue: quantity for (venue, _), (quantity, _) in report_positions.items()}


def summed(journal: MemoryLedger) -> dict[tuple[str, str], Decimal]:
    """Positions as the plain sum of the fills."""
    sums: dict[tuple[str, str], Decimal] = {}
    for fill in journal.fills:
        sums[fill.key] = sums.get(fill.key, Decimal(0)) + fill.signed
    return sums
