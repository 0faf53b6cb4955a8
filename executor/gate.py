"""The last gate: admits or denies one decision, in sequence order, on the true state. Pure.

It asks the limits the risk engine asks (`arbhub.limits`), on a state that also holds what decisions in flight
have reserved. The state is as of the decision's own time: a completion counts for decisions at or after its
time, whenever the machine came to compute it, so that it does not matter how a stream is cut into batches.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from arbhub.columns import Floats
from arbhub.limits import ORDERS_PER_DECISION, REASONS, SECOND_NS, Pair, headroom
from arbhub.reference import Universe, split_symbol
from arbhub.settings.risk import RiskSettings
from arbhub.state import NEVER_NS, LedgerState, LedgerValues, Snapshot
from executor.money import ZERO, exact, floor_to
from executor.orders import Approved, Key, Order

# Beside those of arbhub.limits.REASONS.
MODE, STALE_EPOCH, DUPLICATE, EXPIRED = "MODE", "STALE_EPOCH", "DUPLICATE", "EXPIRED"
UNKNOWN_FEE, QUANTITY_TOO_SMALL = "UNKNOWN_FEE", "QUANTITY_TOO_SMALL"
DENY_REASONS = (MODE, STALE_EPOCH, DUPLICATE, EXPIRED, UNKNOWN_FEE, QUANTITY_TOO_SMALL, *REASONS)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a decision in flight may still do: buy and sell by (venue, symbol), spend by (venue, asset)."""

    buys: Mapping[Key, Decimal] = field(default_factory=dict)
    sells: Mapping[Key, Decimal] = field(default_factory=dict)
    assets: Mapping[Key, Decimal] = field(default_factory=dict)


def held_for(order: Order, mark: Decimal, fee: Decimal) -> Reservation:
    """What an order without a limit price needs, by the last fill price `mark` and the fee as a fraction."""
    base, quote = split_symbol(order.symbol)
    asset, amount = (quote, order.quantity * mark * (1 + fee)) if order.buy else (base, order.quantity)
    return Reservation(assets={(order.venue, asset): amount})


@dataclass(frozen=True, slots=True)
class Settlement:
    """A completion as the gate sees it: in effect for decisions of `effective_ns` and later.

    `hold` takes the place of `release`; None: the decision is in flight no more. `order_ts_ns`: orders sent. `after` is
    the sequence of the tick that brought it about, for decisions on that tick and later ones; what was due is there
    before any tick of its time.
    """

    effective_ns: int
    symbol: str
    values: LedgerValues
    release: Reservation
    hold: Reservation | None
    order_ts_ns: tuple[int, ...] = ()
    after: int = -1

    def counts_for(self, approved: Approved) -> bool:
        """Whether it is in effect for a decision; others may have come before it was judged."""
        then = approved.ts_ns
        return self.effective_ns < then or (self.effective_ns == then and self.after <= approved.sequence)


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a decision goes no further."""

    reason: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A decision that goes on: `quantity` rounded to the coarser lot, and what is reserved for it."""

    quantity: Decimal
    reservation: Reservation


class Gate:
    """Holds the state as of the last decision, and the settlements that come after it."""

    def __init__(self, mode: str, limits: RiskSettings) -> None:
        self._mode, self._limits = mode, limits
        self._last = -(1 << 63)

    def open(
        self,
        universe: Universe,
        taker_bps: Floats,
        snapshot: Snapshot,
        held: Sequence[Reservation],
    ) -> None:
        """Start an epoch: the ledger's state, in which decisions of older epochs hold `held`."""
        self._last = -(1 << 63)
        self._state = LedgerState(universe)
        self._state.load(snapshot)
        self._free = dict(snapshot.values.balances)
        self._open: Counter[str] = Counter()
        self._decided_ns: dict[str, int] = {}
        for symbol, (count, last_ns) in snapshot.values.activity.items():
            self._open[symbol], self._decided_ns[symbol] = count, last_ns
        self._buys: defaultdict[Key, Decimal] = defaultdict(Decimal)
        self._sells: defaultdict[Key, Decimal] = defaultdict(Decimal)
        self._assets: defaultdict[Key, Decimal] = defaultdict(Decimal)
        self._order_ts = deque(snapshot.values.order_ts_ns)
        self._settlements: deque[Settlement] = deque()
        self.reference(taker_bps)
        for reservation in held:
            self._reserve(reservation, 1)

    def configure(self, limits: RiskSettings) -> None:
        """Judge by these limits from here on."""
        self._limits = limits

    def trading(self, state: int) -> None:
        """Judge by this trading state from here on."""
        self._state.apply(LedgerValues(trading_state=state))

    def reference(self, taker_bps: Floats) -> None:
        """The universe has grown; fees in bps, (instruments, venues)."""
        self._taker_bps = taker_bps
        self._state.resize()
        for key in (*self._buys, *self._sells):
            self._show_position(key)
        for key in self._assets:
            self._show_balance(key)
        for symbol in self._open:
            self._show_activity(symbol)

    def fee(self, key: Key) -> Decimal | None:
        """The taker fee of a (venue, symbol) as a fraction, None where it is not known."""
        fee = self._fee_bps(key)
        return exact(fee) / 10_000 if np.isfinite(fee) else None

    def settle(self, settlement: Settlement) -> None:
        """A completion, to be counted from its time on. They come in order of time."""
        self._settlements.append(settlement)

    def admit(self, approved: Approved, now_ns: int) -> Admission | Denial:
        """Judge one decision, and reserve what it needs. `now_ns` is the desk's clock."""
        self._catch_up(approved)
        reason = self._refusal(approved, now_ns)
        if approved.epoch == self._state.epoch:
            self._last = max(self._last, approved.sequence)
        if reason:
            return Denial(reason)
        quantity = self._rounded(approved)
        if not quantity:
            return Denial(QUANTITY_TOO_SMALL)
        reason = self._over(approved, quantity)
        if reason:
            return Denial(reason)
        reservation = self._needs(approved, quantity)
        self._take(approved, reservation)
        return Admission(quantity, reservation)

    def _refusal(self, approved: Approved, now_ns: int) -> str:
        """What stops a decision whatever its quantity is."""
        if self._mode != "paper":
            return MODE
        if approved.epoch != self._state.epoch:
            return STALE_EPOCH
        if approved.sequence <= self._last:  # the stream is in order: this one was judged before
            return DUPLICATE
        if now_ns > approved.expires_ns:
            return EXPIRED
        if self.fee(approved.buy_key) is None or self.fee(approved.sell_key) is None:
            return UNKNOWN_FEE
        return ""

    def _rounded(self, approved: Approved) -> Decimal:
        """The quantity down to the coarser lot; zero where a leg's minimum is not met."""
        if not 0 < approved.quantity < float("inf"):
            return ZERO
        u = self._state.universe
        i = u.symbol_ids[approved.symbol]
        venues = [u.venue_ids[v] for v in (approved.buy_venue, approved.sell_venue)]
        lot = exact(max(u.lot_size[i, v] for v in venues))
        quantity = floor_to(exact(approved.quantity), lot)
        for v, price in zip(venues, (approved.buy_ask, approved.sell_bid), strict=True):
            if quantity < exact(u.min_quantity[i, v]) or quantity * exact(price) < exact(u.min_notional[i, v]):
                return ZERO
        return quantity

    def _over(self, approved: Approved, quantity: Decimal) -> str:
        """The limit that does not allow this quantity, "" where all do."""
        u = self._state.universe
        if np.isfinite(self._limits.max_orders_per_s):
            self._state.order_ts_ns = np.array(self._order_ts, np.int64)
        ids = u.symbol_ids[approved.symbol], u.venue_ids[approved.buy_venue], u.venue_ids[approved.sell_venue]
        ts_ns, i, buy, sell = (np.array([number], np.int64) for number in (approved.ts_ns, *ids))
        pair = Pair(
            ts_ns,
            i,
            buy,
            sell,
            np.array([approved.buy_ask]),
            np.array([approved.sell_bid]),
            np.array([approved.buy_limit]),
            np.array([self._fee_bps(approved.buy_key) / 1e4]),
        )
        room = headroom(self._state, self._limits, pair)
        if room.reason[0]:
            return REASONS[room.reason[0] - 1]
        if float(quantity) > room.quantity[0]:
            return REASONS[room.tightest[0] - 1]
        return ""

    def _needs(self, approved: Approved, quantity: Decimal) -> Reservation:
        base, quote = split_symbol(approved.symbol)
        cost = quantity * exact(approved.buy_limit) * (1 + (self.fee(approved.buy_key) or ZERO))
        assets = {(approved.buy_venue, quote): cost, (approved.sell_venue, base): quantity}
        return Reservation({approved.buy_key: quantity}, {approved.sell_key: quantity}, assets)

    def _take(self, approved: Approved, reservation: Reservation) -> None:
        """Reserve for a decision; where nothing was traded yet, its best prices stand in for the mark."""
        state = self._state
        i = state.universe.symbol_ids[approved.symbol]
        for venue, price in (
            (approved.buy_venue, approved.buy_ask),
            (approved.sell_venue, approved.sell_bid),
        ):
            v = state.universe.venue_ids[venue]
            state.mark[i, v] = state.mark[i, v] or price
        self._reserve(reservation, 1)
        self._open[approved.symbol] += 1
        self._decided_ns[approved.symbol] = approved.ts_ns
        self._show_activity(approved.symbol)
        self._order_ts.extend([approved.ts_ns] * ORDERS_PER_DECISION)

    def _catch_up(self, approved: Approved) -> None:
        """Count the settlements in effect for a decision, and forget orders older than a second."""
        while self._settlements and self._settlements[0].counts_for(approved):
            self._count(self._settlements.popleft())
        while self._order_ts and self._order_ts[0] <= approved.ts_ns - SECOND_NS:
            self._order_ts.popleft()

    def _count(self, settlement: Settlement) -> None:
        self._free.update(settlement.values.balances)
        self._state.apply(settlement.values)
        self._reserve(settlement.release, -1)
        self._order_ts.extend(settlement.order_ts_ns)
        if settlement.hold is not None:
            self._reserve(settlement.hold, 1)
        else:
            self._open[settlement.symbol] -= 1
            self._show_activity(settlement.symbol)

    def _reserve(self, reservation: Reservation, sign: int) -> None:
        for totals, amounts in ((self._buys, reservation.buys), (self._sells, reservation.sells)):
            for key, quantity in amounts.items():
                totals[key] += sign * quantity
                self._show_position(key)
        for key, amount in reservation.assets.items():
            self._assets[key] += sign * amount
            self._show_balance(key)

    def _show_position(self, key: Key) -> None:
        at = self._at(key)
        if at:
            self._state.reserved_buy[at] = float(self._buys[key])
            self._state.reserved_sell[at] = float(self._sells[key])
            self._state.touched()

    def _show_balance(self, key: Key) -> None:
        """Free is what is there less what is reserved."""
        u = self._state.universe
        if not self._state.unlimited and key[0] in u.venue_ids and key[1] in u.asset_ids:
            free = exact(self._free.get(key, 0.0)) - self._assets[key]
            self._state.free[u.venue_ids[key[0]], u.asset_ids[key[1]]] = float(free)

    def _show_activity(self, symbol: str) -> None:
        if symbol in self._state.universe.symbol_ids:
            i = self._state.universe.symbol_ids[symbol]
            self._state.open[i] = self._open[symbol]
            self._state.last_decision_ns[i] = self._decided_ns.get(symbol, NEVER_NS)

    def _at(self, key: Key) -> tuple[int, int] | None:
        u = self._state.universe
        if key[0] not in u.venue_ids or key[1] not in u.symbol_ids:
            return None
        return u.symbol_ids[key[1]], u.venue_ids[key[0]]

    def _fee_bps(self, key: Key) -> float:
        at = self._at(key)
        return float(self._taker_bps[at]) if at else float("nan")
