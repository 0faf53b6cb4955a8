"""The paper desk: ticks and approved decisions in, in order; reports out. Pure and deterministic.

Time is the stream's: the largest tick time seen. Before a tick at `ts` everything due at or before `ts` is
matched, against the books as they are before that tick. A decision is gated right after its own tick. How a
stream is cut into steps changes no report, as long as decisions come no later than the first tick at or after
the time their orders are due: reports hold nothing that depends on decisions that may still be on their way.
"""

import heapq
from collections.abc import Iterator
from decimal import Decimal, localcontext

from arbhub.columns import Decisions, Floats, Ints, Ticks
from arbhub.reference import Universe, split_symbol
from arbhub.settings.risk import RiskSettings
from arbhub.settings.schema import ExecutorSettings
from arbhub.state import EXECUTED, FLATTENED, NEVER_NS, LedgerValues, Report, Snapshot
from executor.account import Account, Books, Holding
from executor.activity import Activity
from executor.gate import DUPLICATE, STALE_EPOCH, Denial, Gate, Reservation, Settlement, held_for
from executor.journal import Completion, Journal, Recovered
from executor.latest import first_row, rows_of
from executor.money import CONTEXT, ZERO, exact
from executor.orders import Approved, Fill, Key, Order, approved_rows, status_of
from executor.paper import PaperVenue
from executor.reports import denied, fill_row
from executor.trades import Increments, Trade, legs, trade_back

MS = 1_000_000
FEW = 8  # so many ticks are taken as fast one by one as they are looked over together


class PaperDesk:
    """Gate, paper venue and account as one machine, writing to a journal. `open` comes first."""

    def __init__(self, executor: ExecutorSettings, risk: RiskSettings, journal: Journal) -> None:
        self.epoch = 0
        self.now_ns = NEVER_NS
        self._settings, self._journal = executor, journal
        self._latency = round(executor.latency_ms * MS)
        self._gate = Gate(executor.trading_mode, risk)
        self._venue = PaperVenue()
        self._generation = 0
        self._restore(Recovered())

    def open(self, universe: Universe, taker_bps: Floats) -> Snapshot:
        """Begin an epoch with this universe and its taker fees in bps; what is in flight stays in flight."""
        with localcontext(CONTEXT):
            self.epoch, recovered = self._journal.take_epoch()
            if recovered is not None:
                self._restore(recovered)
            self._sequence, self._waiting = -1, list[Approved]()
            self._universe = universe
            snapshot = Snapshot(self.epoch, self._account.unlimited, self._values_now(), self._account.equity())
            self._venue.open(universe)
            self._gate.open(universe, taker_bps, snapshot, [t.reservation for t in self._in_flight()])
            return snapshot

    def reference(self, taker_bps: Floats) -> None:
        """The universe has grown in place; its taker fees are these now."""
        self._gate.reference(taker_bps)

    def configure(self, limits: RiskSettings) -> None:
        """The gate's limits are these from here on."""
        self._gate.configure(limits)

    def trading(self, state: int) -> None:
        """ACTIVE, REDUCING or HALTED from the next decision on, and in the journal before that."""
        self._journal.trading_state(state)
        self._commit()
        self._trading_state = state
        self._gate.trading(state)

    @property
    def next_due_ns(self) -> int | None:
        """When the next orders meet their books; None where none are on their way."""
        return self._pending[0][0] if self._pending else None

    @property
    def awaits_books(self) -> bool:
        """Whether a tick alone may send an order: one that trades back what found no book."""
        return bool(self._stranded)

    def step(self, tick_sequence: Ints, ticks: Ticks, decisions: Decisions) -> list[Report]:
        """Take ticks in order and approved decisions; the reports that come of it, already in the journal."""
        reports: list[Report] = []
        with localcontext(CONTEXT):
            self._waiting += approved_rows(decisions, self.epoch, self._universe.venues, self._universe.symbols)
            self._waiting.sort(key=lambda approved: approved.sequence)
            self._judge(self._sequence, reports)
            at = 0
            while at < len(ticks):
                at = self._pass_over(tick_sequence, ticks, at)
                at = self._take(tick_sequence, ticks, at, reports)
            self._commit()
        return reports

    def _pass_over(self, tick_sequence: Ints, ticks: Ticks, start: int) -> int:
        """Take the rows from `start` on that only replace books; the first row that does more."""
        if len(ticks) - start < FEW:
            return start
        stop = self._quiet_until(tick_sequence, ticks, start)
        if stop > start:
            self._venue.replace_all(ticks, start, stop)
            self._sequence = int(tick_sequence[stop - 1])
            self.now_ns = max(self.now_ns, int(ticks.ts_ns[start:stop].max()))
        return stop

    def _quiet_until(self, tick_sequence: Ints, ticks: Ticks, start: int) -> int:
        """The first row that a decision waits for, when orders are due, or that may be a book a trade waits for."""
        stop = len(ticks)
        if self._waiting:
            stop = first_row(tick_sequence[:stop] >= self._waiting[0].sequence, start)
        if self._pending:
            stop = first_row(ticks.ts_ns[:stop] >= self._pending[0][0], start)
        if self._stranded:
            stop = next(iter(rows_of(self._stranded, self._universe, ticks, start, stop).tolist()), stop)
        return stop

    def _take(self, tick_sequence: Ints, ticks: Ticks, start: int, reports: list[Report]) -> int:
        """Take FEW rows from `start` on, each with all that may come of it; the row after them."""
        venues, symbols = self._universe.venues, self._universe.symbols
        stop = min(start + FEW, len(ticks))
        columns = (tick_sequence, ticks.ts_ns, ticks.instrument, ticks.venue)
        rows = zip(*(column[start:stop].tolist() for column in columns), strict=True)
        for row, (sequence, ts_ns, instrument, venue) in enumerate(rows, start):
            if self._waiting and self._waiting[0].sequence < sequence:
                self._judge(sequence - 1, reports)
            if self._pending and self._pending[0][0] <= ts_ns:
                self._complete(ts_ns, reports)
            key = venues[venue], symbols[instrument]
            self._venue.replace(key, ticks.bids, ticks.asks, row)
            self._sequence, self.now_ns = sequence, max(self.now_ns, ts_ns)
            if key in self._stranded and ticks.bids.count[row] and ticks.asks.count[row]:
                self._take_up(key)
            if self._waiting and self._waiting[0].sequence <= sequence:
                self._judge(sequence, reports)
        return stop

    def advance(self, ts_ns: int) -> list[Report]:
        """No tick came, but it is `ts_ns` now: complete what is due."""
        reports: list[Report] = []
        with localcontext(CONTEXT):
            self._complete(ts_ns, reports)
            self.now_ns = max(self.now_ns, ts_ns)
            self._commit()
        return reports

    def finish(self) -> list[Report]:
        """No tick comes any more: complete everything against the last books, each at its own time.

        What found its book too thin to be traded back goes on waiting for the next.
        """
        reports: list[Report] = []
        with localcontext(CONTEXT):
            self._judge(1 << 63, reports)
            while self._pending:
                self._complete(self._pending[0][0], reports)
            self._commit()
        return reports

    def refuse(self, decisions: Decisions, epoch: int, venues: list[str], symbols: list[str]) -> list[Report]:
        """What decisions of an older epoch get: every one a denial."""
        rows = approved_rows(decisions, epoch, venues, symbols)
        return [denied(approved, STALE_EPOCH) for approved in rows]

    def _judge(self, sequence: int, reports: list[Report]) -> None:
        """Gate the waiting decisions up to a tick's sequence."""
        while self._waiting and self._waiting[0].sequence <= sequence:
            approved = self._waiting.pop(0)
            verdict = self._gate.admit(approved, self.now_ns)
            if isinstance(verdict, Denial):
                if verdict.reason != DUPLICATE:  # a duplicate is in the journal already
                    self._journal.deny(approved, verdict.reason)
                reports.append(denied(approved, verdict.reason))
            else:
                self._send_legs(approved, verdict.quantity, verdict.reservation)
                self._complete(self.now_ns, reports)

    def _send_legs(self, approved: Approved, quantity: Decimal, reservation: Reservation) -> None:
        due_ns = max(approved.ts_ns + self._latency, self.now_ns)  # late: books of the past are gone
        limits = exact(approved.buy_limit), exact(approved.sell_limit)
        keys = approved.buy_key, approved.sell_key
        ticks = Increments.of(self._universe, keys[0]).tick, Increments.of(self._universe, keys[1]).tick
        trade = Trade(approved, reservation, attempts_left=self._settings.flatten_attempts)
        trade.fees = {key: self._gate.fee(key) or ZERO for key in keys}
        orders = legs(approved, quantity, limits, ticks, due_ns)
        self._journal.admit(approved, orders)
        self._send(trade, orders)

    def _send(self, trade: Trade, orders: tuple[Order, ...]) -> None:
        trade.orders, trade.generation = orders, self._generation
        heapq.heappush(self._pending, (orders[0].due_ns, *trade.approved.id, trade.attempt, trade))

    def _complete(self, until_ns: int, reports: list[Report]) -> None:
        while self._pending and self._pending[0][0] <= until_ns:
            due_ns, *_, trade = heapq.heappop(self._pending)
            if trade.generation == self._generation:
                self._commit()  # an order is written before the venue sees it
            reports.append(self._match(trade, due_ns))

    def _match(self, trade: Trade, due_ns: int) -> Report:
        """Match a trade's orders, book what they filled, and send what trades back."""
        symbol, executed = trade.approved.symbol, trade.attempt == 0
        by_order = [(order, self._fill(order, trade, due_ns)) for order in trade.orders]
        fills = [fill for _, got in by_order for fill in got]
        matched = [(order, status_of(order, got)) for order, got in by_order]
        trade.count(fills)
        changed = self._account.book(fills)
        values = self._account.values(changed)
        if executed:
            self._activity.executed(trade)
        following = self._trade_back(trade, due_ns) if executed else None
        # What trading back left open has found the book too thin: only the venue's next book can help.
        waits = not executed and self._order_back(trade, due_ns) is not None
        goes_on = waits or following is not None
        self._journal.complete(Completion(trade.approved.id, matched, fills, changed, goes_on, trade.unhedged))
        self._activity.trading_back(symbol, goes_on - (not executed))
        if waits:
            self._stranded.setdefault(trade.excess_key, []).append(trade)
        self._follow(trade, following, values, due_ns, waits=waits)
        values = values.merged(self._activity.values(symbol, due_ns))
        kind, rows = EXECUTED if executed else FLATTENED, tuple(fill_row(fill) for fill in fills)
        return Report(kind, *trade.approved.id, due_ns, symbol, "", rows, values, float(trade.unhedged))

    def _follow(
        self, trade: Trade, order: Order | None, values: LedgerValues, now_ns: int, waits: bool = False, after: int = -1
    ) -> None:
        """Tell the gate what a trade changed, and send the order that follows, if one does; or it `waits`."""
        released, trade.reservation = trade.reservation, self._hold(trade, order) if order else Reservation()
        hold = trade.reservation if order or waits else None
        sent = (now_ns,) if order else ()
        self._gate.settle(Settlement(now_ns, trade.approved.symbol, values, released, hold, sent, after))
        if order:
            self._activity.sent(now_ns)
            self._journal.order(order)
            self._send(trade, (order,))

    def _fill(self, order: Order, trade: Trade, due_ns: int) -> list[Fill]:
        base, quote = split_symbol(order.symbol)
        budget = self._account.balance((order.venue, quote if order.buy else base))
        return self._venue.fill(order, trade.fees.get(order.key, ZERO), budget, due_ns)

    def _order_back(self, trade: Trade, now_ns: int) -> Order | None:
        key = trade.excess_key
        mark = self._account.books.holdings.get(key, Holding()).mark
        return trade_back(trade, Increments.of(self._universe, key), mark, now_ns, now_ns + self._latency)

    def _trade_back(self, trade: Trade, now_ns: int) -> Order | None:
        order = self._order_back(trade, now_ns)
        if order:
            trade.attempt, trade.attempts_left = order.attempt, trade.attempts_left - 1
        return order

    def _hold(self, trade: Trade, order: Order) -> Reservation:
        mark = self._account.books.holdings.get(order.key, Holding()).mark
        return held_for(order, mark, trade.fees.get(order.key, ZERO))

    def _restore(self, recovered: Recovered) -> None:
        """Take the ledger's state for the only truth. What a crash left half executed waits for its book."""
        self._account = Account(self._settings.balances, recovered.books)
        self._pending: list[tuple[int, int, int, int, Trade]] = []
        self._activity = Activity(recovered.last_decision_ns, recovered.order_ts_ns)
        self._trading_state = recovered.trading_state
        self._stranded: dict[Key, list[Trade]] = {}
        for residual in recovered.residuals:
            done = (residual.bought, residual.sold, residual.attempt, self._settings.flatten_attempts)
            trade = Trade(residual.approved, Reservation(), (), *done)
            self._stranded.setdefault(trade.excess_key, []).append(trade)
            self._activity.trading_back(trade.approved.symbol, 1)

    def _take_up(self, key: Key) -> None:
        """A new book of what trades left open is there: trade back, if its fee is known too."""
        fee = self._gate.fee(key)
        if fee is None:
            return
        for trade in self._stranded.pop(key):
            trade.fees.setdefault(key, fee)  # a crash forgot them
            self._close_or_send(trade)

    def _close_or_send(self, trade: Trade) -> None:
        order = self._trade_back(trade, self.now_ns)
        if order is None:  # too little to trade: it stays a position
            self._activity.trading_back(trade.approved.symbol, -1)
            self._journal.complete(Completion(trade.approved.id, [], [], Books(), False, trade.unhedged))
        self._follow(trade, order, LedgerValues(), self.now_ns, after=self._sequence)

    def _in_flight(self) -> Iterator[Trade]:
        yield from (entry[-1] for entry in self._pending)
        for trades in self._stranded.values():
            yield from trades

    def _values_now(self) -> LedgerValues:
        """The whole state, decisions in flight included."""
        activity = self._activity.with_flight(self._in_flight())
        return self._account.values().merged(activity).merged(LedgerValues(trading_state=self._trading_state))

    def _commit(self) -> None:
        self._journal.commit()
        self._generation += 1
