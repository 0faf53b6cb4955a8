"""The executor's part of a tick's trace: its orders, each from the decision's arrival or the order before to what came
of it, and their fills; or the gate, where it stopped the decision.

All it sees is approved, so all of it is traced. Times are those of this process, as the desk's own are the stream's.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arbhub.columns import Decisions
from arbhub.spans import CLIENT, INTERNAL, Attributes, Span, Traces
from arbhub.state import DENIED, EXECUTED, FillRow, Report
from arbhub.traceids import GATE, ROUND, fill_role, order_role, trace_id
from executor.orders import Leg, client_order_id

MAX_TRADES = 4096  # decisions that are remembered until nothing of them is open
ALL = range(1)


@dataclass(slots=True)
class _Trade:
    """What is remembered of a decision: since when its next order is under way, its legs' venues, orders so far."""

    since_ns: int
    venues: tuple[str, str] = ("", "")
    limits: tuple[float | None, float | None] = (None, None)
    flattened: int = 0


class TradeTraces:
    """Is told of every decision that comes in and of every report that goes out, never of both at a time."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._trades: OrderedDict[tuple[int, int], _Trade] = OrderedDict()

    def __len__(self) -> int:
        return len(self._trades)

    def took(self, epoch: int, decisions: Decisions, venues: Sequence[str]) -> None:
        """Approved decisions of an epoch, on their way to the gate; `venues` are those of their ids."""
        d, now_ns = decisions, time.time_ns()
        for row in d.approved.nonzero()[0].tolist():
            legs = venues[d.buy_venue.item(row)], venues[d.sell_venue.item(row)]
            limits = d.buy_limit.item(row), d.sell_limit.item(row)
            self._trades.setdefault((epoch, d.sequence.item(row)), _Trade(now_ns, legs, limits))
        while len(self._trades) > MAX_TRADES:
            self._trades.popitem(last=False)

    def reported(self, reports: Sequence[Report]) -> None:
        """What became of decisions; of those from before this process only the end is known."""
        now_ns = time.time_ns()
        for report in reports:
            key = report.epoch, report.sequence
            trade = self._trades.get(key) or _Trade(now_ns)
            if report.kind not in (DENIED, EXECUTED):
                trade.flattened += 1
            material = TracedReport(report, (trade.since_ns, now_ns), trade, trade.flattened, self._deployment)
            self._traces.offer(material, ALL)
            trade.since_ns = now_ns
            if report.kind == DENIED or not report.unhedged:
                self._trades.pop(key, None)

    @property
    def _deployment(self) -> str:
        return self._traces.sampling.deployment


@dataclass(frozen=True, slots=True)
class TracedReport:
    """`times`: since when what is reported was under way, and when it was reported."""

    report: Report
    times: tuple[int, int]
    trade: _Trade
    flattened: int
    deployment: str

    def __len__(self) -> int:
        return 1

    def spans(self, _: int) -> Iterator[Span]:
        """The gate's, or one for each order and each of its fills."""
        r = self.report
        trace = trace_id(self.deployment, r.epoch, r.sequence)
        if r.kind == DENIED:
            said: Attributes = {"arbhub.symbol": r.symbol, "arbhub.reason": r.reason}
            yield Span(trace, GATE, ROUND, "gate", INTERNAL, *self.times, said, r.reason)
        elif r.kind == EXECUTED:
            (buy_venue, sell_venue), (buy_limit, sell_limit) = self.trade.venues, self.trade.limits
            yield from self._order(trace, "buy", 0, {"arbhub.venue": buy_venue or None, "arbhub.limit": buy_limit})
            yield from self._order(trace, "sell", 0, {"arbhub.venue": sell_venue or None, "arbhub.limit": sell_limit})
        else:
            yield from self._order(trace, "flat", self.flattened, {})

    def _order(self, trace: bytes, leg: Leg, attempt: int, known: Attributes) -> Iterator[Span]:
        r, name = self.report, f"leg {leg}"
        order = client_order_id(r.epoch, r.sequence, leg, attempt)
        if leg == "flat" and r.fills:  # which attempt it was is not known of a trade that a crash left open
            order = r.fills[0].client_order_id
        fills = [f for f in r.fills if f.client_order_id == order]
        said: Attributes = {
            "arbhub.client_order_id": order,
            "arbhub.symbol": r.symbol,
            "arbhub.filled": sum(f.quantity for f in fills),
            "arbhub.unhedged": r.unhedged,
        }
        yield Span(trace, order_role(order), ROUND, name, CLIENT, *self.times, said | known)
        for number, fill in enumerate(fills):
            yield _fill(trace, order, number, fill, self.times[1])


def _fill(trace: bytes, order: str, number: int, fill: FillRow, at_ns: int) -> Span:
    said: Attributes = {
        "arbhub.venue": fill.venue,
        "arbhub.side": "buy" if fill.buy else "sell",
        "arbhub.price": fill.price,
        "arbhub.quantity": fill.quantity,
        "arbhub.fee": fill.fee,
    }
    return Span(trace, fill_role(order, number), order_role(order), "fill", INTERNAL, at_ns, at_ns, said)
