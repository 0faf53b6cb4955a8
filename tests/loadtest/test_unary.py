"""Ticks as single calls, against hubs on a real socket that answer well or in no time that anyone has."""

import asyncio
from typing import Any

import grpc
import pytest
from fake_hubs import HELD_NS, MARKET, OPENING, ApprovingHub, driven, short_schedule

from arbhub.service import ServiceError
from arbhub.v1 import hub_pb2
from loadtest import unary
from loadtest.outcome import Outcome
from loadtest.unary import UnaryWay


class DeafHub(ApprovingHub):
    """Answers its first call, and keeps all others waiting for ever."""

    async def evaluate(self, request: hub_pb2.EvaluateRequest, context: Any) -> hub_pb2.EvaluateReply:
        reply = await super().evaluate(request, context)
        if len(self.asked) > 1:
            await asyncio.Event().wait()
        return reply


class RefusingHub(ApprovingHub):
    """Refuses calls, with a code of its choice, from the second on."""

    def __init__(self, code: Any) -> None:
        super().__init__()
        self._code = code

    async def evaluate(self, request: hub_pb2.EvaluateRequest, context: Any) -> hub_pb2.EvaluateReply:
        reply = await super().evaluate(request, context)
        if len(self.asked) > 1:
            await context.abort(self._code, "not now")
        return reply


@pytest.fixture
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no call expires and no book is sent again."""
    monkeypatch.setattr(unary, "CALL_S", 60.0)
    monkeypatch.setattr(unary, "REFRESH_S", 60.0)


async def run_on(hub: ApprovingHub) -> Outcome:
    """What became of a short run."""
    plan = short_schedule()
    outcome = Outcome(plan)
    async with hub.served() as target:
        await driven(UnaryWay(target, MARKET, plan, outcome), plan, outcome)
    return outcome


@pytest.mark.usefixtures("_patience")
async def test_every_tick_is_one_call_on_books_that_are_there() -> None:
    """The stream brings the opening and nothing else; each tick is asked for by name, with its book."""
    hub, plan = ApprovingHub(), short_schedule()
    outcome = await run_on(hub)
    assert outcome.by_fate() == {"": outcome.sent}
    assert set(outcome.holdings_ns().tolist()) == {HELD_NS}
    assert len(hub.ticks) == OPENING
    first, *asked = hub.asked
    assert first.symbol == "C0/USD"
    asked.sort(key=lambda request: request.ts_ns)
    assert [request.bid_price for request in asked] == plan.ticks.bids.price[OPENING:].tolist()
    assert [request.venue for request in asked] == [f"EX{venue + 1}" for venue in plan.ticks.venue[OPENING:].tolist()]


async def test_the_books_are_sent_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Evaluate` updates no book, so without that they would be too old to trade with."""
    monkeypatch.setattr(unary, "REFRESH_S", 0.01)
    hub = ApprovingHub()
    await run_on(hub)
    assert len(hub.ticks) > 2 * OPENING


async def test_a_call_ends_by_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts with the whole of its time, as a failure; the run waits for it and for no more."""
    monkeypatch.setattr(unary, "CALL_S", 0.5)
    outcome = await run_on(DeafHub())
    assert outcome.by_fate() == {"expired": outcome.sent}
    assert (outcome.latencies_ns() > 400_000_000).all()
    assert not len(outcome.holdings_ns())


async def test_calls_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks beyond the bound are shed here and never asked for, so a hub that stalls cannot fill our memory."""
    monkeypatch.setattr(unary, "CALL_S", 2.0)
    monkeypatch.setattr(unary, "MAX_CALLS", 8)
    hub = DeafHub()
    outcome = await run_on(hub)
    assert outcome.by_fate() == {"expired": 8, "SHED": outcome.sent - 8}
    assert len(hub.asked) == 1 + 8


@pytest.mark.usefixtures("_patience")
@pytest.mark.parametrize(("code", "fate"), [("RESOURCE_EXHAUSTED", "SHED"), ("UNAVAILABLE", "lost")])
async def test_refusals_are_sheds_and_all_else_is_lost(code: str, fate: str) -> None:
    """A refused call is answered, though not with a decision, and is no fast answer."""
    outcome = await run_on(RefusingHub(getattr(grpc.StatusCode, code)))
    assert outcome.by_fate() == {fate: outcome.sent}
    assert not len(outcome.latencies_ns())


async def test_a_hub_that_does_not_evaluate_is_named_at_once() -> None:
    """Before a schedule is sent at it."""

    class StreamingHub(ApprovingHub):
        async def evaluate(self, request: hub_pb2.EvaluateRequest, context: Any) -> hub_pb2.EvaluateReply:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such call")
            raise AssertionError

    with pytest.raises(ServiceError, match="does not evaluate: no such call"):
        await run_on(StreamingHub())
