"""What reports say of recent activity: decisions being traded back, last decisions, recent orders. Pure.

Only decisions whose orders were matched count. Others may be on their way to the desk or not, depending on
how a stream was cut, and a report must not. The gate counts every one.
"""

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Mapping

from arbhub.limits import SECOND_NS
from arbhub.state import NEVER_NS, LedgerValues
from executor.trades import Trade


class Activity:
    """By symbol; times in ns."""

    def __init__(self, decided_ns: Mapping[str, int], order_ts_ns: Iterable[int]) -> None:
        self._trading_back: Counter[str] = Counter()
        self._decided_ns = dict(decided_ns)
        self._order_ts = sorted(order_ts_ns)

    def executed(self, trade: Trade) -> None:
        """Both legs of a decision were matched."""
        symbol = trade.approved.symbol
        self._decided_ns[symbol] = max(self._decided_ns.get(symbol, NEVER_NS), trade.approved.ts_ns)
        for order in trade.orders:
            insort(self._order_ts, order.sent_ns)

    def sent(self, ts_ns: int) -> None:
        """An order that trades back was sent."""
        insort(self._order_ts, ts_ns)

    def trading_back(self, symbol: str, change: int) -> None:
        """So many more decisions on a symbol are being traded back."""
        self._trading_back[symbol] += change

    def values(self, symbol: str, now_ns: int) -> LedgerValues:
        """A report's part of it."""
        del self._order_ts[: bisect_right(self._order_ts, now_ns - SECOND_NS)]
        last_ns = self._decided_ns.get(symbol, NEVER_NS)
        return LedgerValues(activity={symbol: (self._trading_back[symbol], last_ns)}, order_ts_ns=tuple(self._order_ts))

    def with_flight(self, trades: Iterable[Trade]) -> LedgerValues:
        """A snapshot's part of it: all symbols, and the decisions in flight too."""
        flying, decided, sent = Counter[str](), dict(self._decided_ns), list(self._order_ts)
        for trade in trades:
            symbol = trade.approved.symbol
            flying[symbol] += 1
            decided[symbol] = max(decided.get(symbol, NEVER_NS), trade.approved.ts_ns)
            sent += [order.sent_ns for order in trade.orders if trade.attempt == 0]
        activity = {symbol: (flying[symbol], ts_ns) for symbol, ts_ns in decided.items()}
        return LedgerValues(activity=activity, order_ts_ns=tuple(sorted(sent)))
