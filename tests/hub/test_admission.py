"""A hub whose engines stop answering: it waits for them no longer, approves nothing, and finds them again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from hub_probes import (
    FakeEngine,
    FakeHost,
    FeedClient,
    ScriptedExecutor,
    approval,
    cheap,
    client_of,
    dear,
    hub_of,
    market,
    settings,
    status_of,
    ticks_of,
)
from judging import SkippingEngine

from arbhub.columns import Opportunities, Verdicts
from arbhub.engine import Engine
from arbhub.service import channel
from arbhub.v1 import hub_pb2, hub_pb2_grpc
from engines.spread import Spread
from engines.table import ENGINES
from hub.breaker import State
from hub.hub import Hub

APPROVED, NONE = "", "NO_COUNTERPART"
EAGER = {"failures": 3.0, "failing_ms": 0.0, "failure_ratio": float("inf")}
FOR_EVER = 3_600_000.0


class FadingEngine(FakeEngine):
    """Answers three batches with what is no answer, and then none any more."""

    async def answer(self, batch: Any, context: Any) -> None:
        if self.kinds().count("batch") <= 3:
            await context.write(self.reply(batch.batch_id, approval(0)))


class MutedEngine(FakeEngine):
    """Approves when it is told to, and otherwise accepts everything and never answers."""

    mute = True

    async def answer(self, batch: Any, context: Any) -> None:
        if not self.mute:
            await super().answer(batch, context)


@contextlib.asynccontextmanager
async def tried(
    fake: FakeEngine | FakeHost, names: tuple[str, ...] = ("spread",), *, pause_ms: float = FOR_EVER, **engine: Any
) -> AsyncIterator[tuple[FeedClient, str]]:
    """A client of a hub with an executor, a breaker that opens after three silences, and that engine in its place."""
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        place = await stack.enter_async_context(fake.served())
        rules = EAGER | {"pause_ms": pause_ms}
        sections = {name: {"place": place, **engine} for name in names}
        at = await stack.enter_async_context(hub_of(settings(executor, sections, breaker=rules)))
        await status_of(at, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        yield await stack.enter_async_context(client_of(at)), at


@pytest.mark.parametrize("name", ENGINES)
async def test_an_engine_that_hangs_is_not_waited_for(name: str) -> None:
    """After three silences it is not asked: decided at once though the round has a minute, and nothing is approved."""
    engine = FadingEngine(name)
    with structlog.testing.capture_logs() as logs:
        async with tried(engine, (name,)) as (client, at):
            for number in range(20):
                assert (await client.ask(cheap(number), dear(number)))[-1] == f"ENGINE_TIMEOUT:{name}"
            status = await status_of(at, lambda s: s.ticks == 40, "all")
            (tally,) = [e for e in status.engines if e.name == name]
            assert (status.approved, tally.timeouts, tally.judged) == (0, 39, 0)
    assert engine.kinds().count("batch") == 3
    assert [entry["engine"] for entry in logs if "is not asked for a while" in entry["event"]] == [name]


async def test_one_round_tries_it_again_and_its_answer_closes() -> None:
    """Well again: a probe is answered, and from then on it is asked and waited for as ever."""
    engine = MutedEngine("spread")
    engine.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    with structlog.testing.capture_logs() as logs:
        async with tried(engine, pause_ms=20.0, budget_ms=200.0) as (client, _):
            for number in range(3):
                await client.ask(cheap(number), dear(number))
            engine.mute = False
            await client.ask_until(APPROVED)
            for number in range(5):
                assert (await client.ask(cheap(number), dear(number)))[-1] == APPROVED
    said = [entry["event"] for entry in logs if entry.get("engine") == "spread"]
    assert said == ["an engine does not answer: it is not asked for a while", "an engine answers again"]


async def test_an_engine_that_says_hello_anew_is_tried_at_once() -> None:
    """Its link stalled and was opened again: the pause is not waited out."""
    engine = MutedEngine("spread")
    engine.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    async with tried(engine, budget_ms=20.0) as (client, _):
        for number in range(3):
            await client.ask(cheap(number), dear(number))
        engine.mute = False
        await engine.until(lambda: engine.connections == 2, "another connection")
        await client.ask_until(APPROVED)
        assert (await client.ask(cheap(9), dear(9)))[-1] == APPROVED


async def test_an_engine_that_is_away_opens_nothing() -> None:
    """Its silence is decided at once as it is, and it is asked as soon as it is there."""
    engine = FakeEngine("spread")
    engine.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        async with engine.served() as place:
            pass
        made = settings(executor, {"spread": {"place": place}}, breaker=EAGER | {"pause_ms": FOR_EVER})
        at = await stack.enter_async_context(hub_of(made))
        await status_of(at, lambda s: s.executor_up, "the executor")
        client = await stack.enter_async_context(client_of(at))
        with structlog.testing.capture_logs() as logs:
            for number in range(20):
                assert (await client.ask(cheap(number), dear(number)))[-1] == "ENGINE_TIMEOUT:spread"
        assert not [entry for entry in logs if "is not asked" in entry["event"]]
        await stack.enter_async_context(engine.served(int(place.rpartition(":")[2])))
        await client.ask_until(APPROVED)


async def test_one_of_a_host_is_not_waited_for_while_the_others_are() -> None:
    """Two engines on one stream, one of which never has an answer: the other is asked on."""
    mute, well = FakeEngine("spread"), FakeEngine("fee")
    mute.verdicts = lambda rows: approval(0)  # type: ignore[method-assign]  # as a host says that an engine failed
    host = FakeHost(mute, well)
    async with tried(host, ("spread", "fee")) as (client, at):
        for number in range(10):
            assert (await client.ask(cheap(number), dear(number)))[-1] == "ENGINE_TIMEOUT:spread"
        status = await status_of(at, lambda s: s.ticks == 20, "all")
    assert host.kinds().count("batch") == 10
    assert [(e.judged, e.timeouts) for e in status.engines[:2]] == [(0, 19), (19, 0)]


async def test_callers_in_a_hurry_open_nothing() -> None:
    """Single evaluations with less time than rounds have say nothing of the engine, however many time out."""
    engine = MutedEngine("spread")
    async with tried(engine) as (client, at), channel(at) as wire:
        await client.send(cheap())
        await client.decided()
        request = hub_pb2.EvaluateRequest(venue="B", symbol="BTC/USD", ts_ns=2_000_000)
        request.MergeFrom(hub_pb2.EvaluateRequest(bid_price=[103.0], bid_size=[1.0]))
        request.MergeFrom(hub_pb2.EvaluateRequest(ask_price=[104.0], ask_size=[1.0]))
        stub = hub_pb2_grpc.HubStub(wire)
        with structlog.testing.capture_logs() as logs:
            replies = await asyncio.gather(*(stub.Evaluate(request, timeout=1.0) for _ in range(10)))
        assert {reply.reason for reply in replies} == {"ENGINE_TIMEOUT:spread"}
        assert not [entry for entry in logs if "is not asked" in entry["event"]]


async def test_an_engine_that_skips_everything_is_not_asked_any_more() -> None:
    """It says so at once each time; that is no answer either."""
    engine = SkippingEngine("spread")
    async with tried(engine) as (client, _):
        for number in range(6):
            assert (await client.ask(cheap(number), dear(number)))[-1] == "ENGINE_TIMEOUT:spread"
    assert engine.kinds().count("batch") == 3


class FallingEngine(Spread):
    """Raises, in the hub's process, and counts how often."""

    asked = 0

    def judge(self, opportunities: Opportunities) -> Verdicts:
        self.asked += 1
        raise ZeroDivisionError("a bug")


async def test_the_state_is_shown() -> None:
    """Every seat has its breaker, whose state a collector may read, and counts of what was not asked."""
    engine = FallingEngine()
    inside: dict[str, Engine] = {name: known() for name, known in ENGINES.items()}
    hub = Hub(settings(breaker=EAGER | {"pause_ms": FOR_EVER}), inside | {"spread": engine})
    hub.merge(market().data())
    for _ in range(5):
        hub.submit(ticks_of(hub.universe, [cheap(), dear()]), lambda _: None)
    assert [seat.breaker.state for seat in hub.seats] == [State.OPEN, *[State.CLOSED] * 3]
    assert [seat.breaker.opened for seat in hub.seats] == [1, 0, 0, 0]
    assert (hub.seats[0].tally.timeouts, hub.seats[0].tally.unasked, engine.asked) == (9, 4, 3)
