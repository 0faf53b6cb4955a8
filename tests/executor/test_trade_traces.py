"""What the executor says of a decision: the gate, or the orders and their fills."""

from executor_probes import SYMBOL, A, B, Decision, FedDesk, Tick, decisions_of
from kept_spans import KeptTraces

from arbhub.spans import Span
from arbhub.traceids import trace_id
from executor.tracing import MAX_TRADES, TradeTraces

LATER = Tick(60, "A", [(99.0, 5.0)], [(100.0, 5.0)])


def traced(desk: FedDesk, *decisions: Decision, known: bool = True, later: Tick = LATER) -> list[Span]:
    """The spans of decisions on the cheap and the dear book, traded to their end; `later` comes when legs are due."""
    traces = KeptTraces(0.0)
    trades = TradeTraces(traces)
    if known:
        trades.took(1, decisions_of(desk.universe, decisions), desk.universe.venues)
    trades.reported(desk.step([A, B], decisions))
    trades.reported(desk.step([later]))
    for ms in (150, 250):
        trades.reported(desk.step([LATER._replace(ms=ms)]))
    trades.reported(desk.finish())
    assert {span.trace_id for span in traces.spans} <= {trace_id("", 1, d.sequence) for d in decisions}
    return traces.spans


def below(spans: list[Span], parent: str) -> list[str]:
    """The roles of the spans below one."""
    return [span.role for span in spans if span.parent == parent]


def test_two_legs_stand_below_the_round_and_their_fills_below_them() -> None:
    """By their client order ids; with venue, limit and what was filled."""
    spans = traced(FedDesk(latency_ms=50.0), Decision(1, 1))
    assert below(spans, "round") == ["order:e1-s1-buy-0", "order:e1-s1-sell-0"]
    assert below(spans, "order:e1-s1-buy-0") == ["fill:e1-s1-buy-0:0"]
    buy, fill = spans[0], next(span for span in spans if span.role.startswith("fill"))
    assert (buy.name, buy.attributes["arbhub.venue"], buy.attributes["arbhub.limit"]) == ("leg buy", "A", 101.0)
    assert (buy.attributes["arbhub.filled"], buy.attributes["arbhub.symbol"]) == (1.0, SYMBOL)
    assert (fill.attributes["arbhub.side"], fill.attributes["arbhub.price"]) == ("buy", 100.0)
    assert fill.start_ns == fill.end_ns == buy.end_ns
    assert buy.start_ns <= buy.end_ns


def test_an_order_that_was_filled_at_several_prices_has_as_many_fills() -> None:
    """Each with an id of its own."""
    spans = traced(FedDesk(latency_ms=50.0), Decision(1, 1, quantity=2.0))
    assert below(spans, "order:e1-s1-sell-0") == ["fill:e1-s1-sell-0:0", "fill:e1-s1-sell-0:1"]


def test_what_a_leg_left_open_is_a_third_leg() -> None:
    """It begins when the two are done."""
    spans = traced(FedDesk(latency_ms=50.0), Decision(1, 1, sell_limit=103.5))
    legs = {span.name: span for span in spans if span.parent == "round"}
    assert list(legs) == ["leg buy", "leg sell", "leg flat"]
    assert legs["leg sell"].attributes["arbhub.filled"] == 0
    assert below(spans, legs["leg flat"].role) == ["fill:e1-s1-flat-1:0"]
    assert legs["leg flat"].start_ns == legs["leg buy"].end_ns


def test_every_attempt_to_trade_back_is_a_leg() -> None:
    """One that found no book has no fills, and the next has the next number."""
    gone = Tick(60, "A", [], [])
    spans = traced(FedDesk(latency_ms=50.0), Decision(1, 1, sell_limit=103.5), later=gone)
    flat = [span.role for span in spans if span.name == "leg flat"]
    assert flat == ["order:e1-s1-flat-1", "order:e1-s1-flat-2"]
    assert [len(below(spans, role)) for role in flat] == [0, 1]


def test_a_denied_decision_ends_at_the_gate() -> None:
    """With the reason, and no legs."""
    spans = traced(FedDesk(latency_ms=50.0), Decision(1, 1, ttl_ms=-2.0))
    assert [(span.role, span.parent, span.error) for span in spans] == [("gate", "round", "EXPIRED")]


def test_of_a_decision_from_before_this_process_only_the_end_is_known() -> None:
    """Its legs take no time, and what was not told is not said."""
    spans = traced(FedDesk(latency_ms=50.0), Decision(1, 1), known=False)
    buy = next(span for span in spans if span.name == "leg buy")
    assert buy.start_ns == buy.end_ns
    assert buy.attributes["arbhub.venue"] is None


def test_decisions_that_never_end_are_forgotten() -> None:
    """The oldest first; memory is bounded."""
    desk, trades = FedDesk(), TradeTraces(KeptTraces(0.0))
    for first in range(0, 2 * MAX_TRADES, 512):
        decisions = decisions_of(desk.universe, [Decision(first + n, 1) for n in range(512)])
        trades.took(1, decisions, desk.universe.venues)
    assert len(trades) == MAX_TRADES
