"""The ledger's state as limits need it: positions, balances, realised results, recent activity.

The executor's ledger owns the truth. The hub, the risk engine and the gate each hold a `LedgerState` built from
the ledger's snapshot and kept by its reports. Reports carry new values, not differences, so applying one twice
changes nothing. Arrays are indexed by the ids of a `Universe`; float64 unless said otherwise.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from arbhub.columns import Floats, Ints
from arbhub.reference import Universe, split_symbol

ACTIVE, REDUCING, HALTED = 1, 2, 3  # arbhub.v1.TradingState; 0 is unknown
TRADING_STATES = {"active": ACTIVE, "reducing": REDUCING, "halted": HALTED}
DAY_NS = 86_400_000_000_000
NEVER_NS = -(1 << 62)  # far enough back that no window reaches it, near enough that no subtraction overflows


@dataclass(frozen=True, slots=True)
class Pnl:
    """Realised result in one quote asset: of UTC day number `day`, in all, and the highest it was in all (>= 0)."""

    day: int = 0
    realised_day: float = 0.0
    cumulative: float = 0.0
    high_water: float = 0.0


@dataclass(frozen=True, slots=True)
class LedgerValues:
    """New values of whatever changed, keyed by name: what a snapshot (all of it) and a report (its part) carry."""

    positions: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """(venue, symbol) -> (quantity in base currency, last fill price)."""
    balances: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(venue, asset) -> free amount."""
    pnl: Mapping[str, Pnl] = field(default_factory=dict)
    """quote asset -> realised result."""
    activity: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """symbol -> (decisions in flight, time of the last decision)."""
    order_ts_ns: tuple[int, ...] = ()
    """Times of all orders sent in the last second, ascending; empty leaves them as they are."""
    trading_state: int = 0
    """ACTIVE, REDUCING or HALTED; 0 leaves it as it is."""

    def merged(self, change: "LedgerValues") -> "LedgerValues":
        """These values with `change` over them."""
        return LedgerValues(
            {**self.positions, **change.positions},
            {**self.balances, **change.balances},
            {**self.pnl, **change.pnl},
            {**self.activity, **change.activity},
            change.order_ts_ns or self.order_ts_ns,
            change.trading_state or self.trading_state,
        )

    def gross_exposure(self) -> dict[str, float]:
        """Open positions at their last fill prices, by quote asset, without what is reserved for orders in flight."""
        gross: defaultdict[str, float] = defaultdict(float)
        for (_, symbol), (quantity, price) in self.positions.items():
            gross[split_symbol(symbol)[1]] += abs(quantity) * price
        return gross


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state at a connection. Without `unlimited_balances` a balance that is not named is zero."""

    epoch: int
    unlimited_balances: bool
    values: LedgerValues
    equity: Mapping[str, float] = field(default_factory=dict)
    """asset -> what the account started with of it, on all venues together; an asset not named: unknown."""

    def after(self, change: LedgerValues) -> "Snapshot":
        """The snapshot that would be taken after a report with these values."""
        return Snapshot(self.epoch, self.unlimited_balances, self.values.merged(change), self.equity)


@dataclass(frozen=True, slots=True)
class FillRow:
    """One fill as reported. `fee` in quote currency."""

    client_order_id: str
    symbol: str
    venue: str
    buy: bool
    price: float
    quantity: float
    fee: float


EXECUTED, DENIED, FLATTENED = 1, 2, 3  # arbhub.v1.ReportKind


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one approved decision. In effect for ticks of `effective_ns` and later."""

    kind: int
    epoch: int
    sequence: int
    effective_ns: int
    symbol: str
    reason: str = ""
    fills: tuple[FillRow, ...] = ()
    values: LedgerValues = LedgerValues()
    unhedged: float = 0.0


class LedgerState:
    """Arrays of the state, grown with the universe. `known` is False until a snapshot was applied.

    position, mark, reserved_buy, reserved_sell: (instruments, venues), base currency and quote prices; what is
    reserved is only ever set by the gate. free: (venues, assets). day, realised_day, cumulative, high_water, equity
    (0 where unknown): (assets,). open, last_decision_ns: (instruments,). order_ts_ns: ascending.
    """

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.known = False
        self.epoch = 0
        self.trading_state = 0
        self.unlimited = False
        self.position = self.mark = self.reserved_buy = self.reserved_sell = np.zeros((0, 0))
        self.free = np.zeros((0, 0))
        self.day: Ints = np.zeros(0, np.int64)
        self.realised_day = self.cumulative = self.high_water = self.equity = np.zeros(0)
        self.open: Ints = np.zeros(0, np.int64)
        self.last_decision_ns: Ints = np.zeros(0, np.int64)
        self.order_ts_ns: Ints = np.zeros(0, np.int64)
        self._gross: Floats | None = None
        self._all = LedgerValues()  # by name, so that names which become known later get their values
        self._equity: Mapping[str, float] = {}
        self.resize()

    def resize(self) -> None:
        """Follow the universe: call after it has merged new reference data."""
        u = self.universe
        pairs, assets = (len(u.symbols), len(u.venues)), len(u.assets)
        for name in ("position", "mark", "reserved_buy", "reserved_sell"):
            setattr(self, name, _grown(getattr(self, name), pairs, 0.0))
        self.free = _grown(self.free, (len(u.venues), assets), np.inf if self.unlimited else 0.0)
        for name in ("realised_day", "cumulative", "high_water", "equity"):
            setattr(self, name, _grown(getattr(self, name), (assets,), 0.0))
        self.day = _grown_ints(self.day, assets, 0)
        self.open = _grown_ints(self.open, pairs[0], 0)
        self.last_decision_ns = _grown_ints(self.last_decision_ns, pairs[0], NEVER_NS)
        self._set(self._all)
        self._state_equity()

    def load(self, snapshot: Snapshot) -> None:
        """Forget everything and take the snapshot."""
        self.__init__(self.universe)  # type: ignore[misc]  # starting afresh is what is meant
        self.unlimited = snapshot.unlimited_balances
        self.free[:] = np.inf if self.unlimited else 0.0
        self.epoch = snapshot.epoch
        self._equity = snapshot.equity
        self._state_equity()
        self.apply(snapshot.values)
        self.known = True

    def apply(self, values: LedgerValues) -> None:
        """Take a report's new values."""
        self._all = self._all.merged(values)
        self._set(values)

    def gross_exposure(self) -> Floats:
        """The worst gross exposure by quote asset, (assets,): open positions and reservations at their marks."""
        if self._gross is None:
            worst = np.maximum(np.abs(self.position + self.reserved_buy), np.abs(self.position - self.reserved_sell))
            by_instrument = (worst * self.mark).sum(axis=1)
            gross = np.zeros(len(self.universe.assets))
            np.add.at(gross, self.universe.quote_ids, by_instrument)
            self._gross = gross
        return self._gross

    def touched(self) -> None:
        """Say that the arrays were written to directly."""
        self._gross = None

    def _state_equity(self) -> None:
        for asset, amount in self._equity.items():
            if asset in self.universe.asset_ids:
                self.equity[self.universe.asset_ids[asset]] = amount

    def _set(self, values: LedgerValues) -> None:
        u = self.universe
        for (venue, symbol), (quantity, mark) in values.positions.items():
            if venue in u.venue_ids and symbol in u.symbol_ids:
                at = u.symbol_ids[symbol], u.venue_ids[venue]
                self.position[at], self.mark[at] = quantity, mark
        for (venue, asset), amount in values.balances.items():
            if venue in u.venue_ids and asset in u.asset_ids:
                self.free[u.venue_ids[venue], u.asset_ids[asset]] = amount
        for asset, pnl in values.pnl.items():
            if asset in u.asset_ids:
                a = u.asset_ids[asset]
                self.day[a], self.realised_day[a] = pnl.day, pnl.realised_day
                self.cumulative[a], self.high_water[a] = pnl.cumulative, pnl.high_water
        for symbol, (count, last_ns) in values.activity.items():
            if symbol in u.symbol_ids:
                self.open[u.symbol_ids[symbol]] = count
                self.last_decision_ns[u.symbol_ids[symbol]] = last_ns
        if values.order_ts_ns:
            self.order_ts_ns = np.array(values.order_ts_ns, np.int64)
        self.trading_state = values.trading_state or self.trading_state
        self._gross = None


def _grown(old: Floats, shape: tuple[int, ...], fill: float) -> Floats:
    new = np.full(shape, fill)
    new[tuple(slice(0, n) for n in old.shape)] = old
    return new


def _grown_ints(old: Ints, size: int, fill: int) -> Ints:
    new = np.full(size, fill, np.int64)
    new[: len(old)] = old
    return new
