"""The hub with an executor that comes and goes, feeds that contradict each other, and failures inside itself."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import structlog
from hub_probes import (
    SYMBOL,
    FakeEngine,
    ScriptedExecutor,
    SilentEngine,
    SlowEngine,
    approval,
    cheap,
    client_of,
    dear,
    hub_of,
    market,
    settings,
    status_of,
)

from arbhub.columns import NO_VENUE, Decisions, Opportunities, Verdicts
from arbhub.reference import Listing, ReferenceData
from arbhub.rows import MAX_ROWS
from arbhub.settings.schema import Settings
from arbhub.v1 import executor_pb2, ledger_pb2
from engines.spread import Spread
from hub import submissions
from hub.references import References
from hub.statistics import EDGES_A_BATCH, Statistics

APPROVED = ""
NONE, AWAY = "NO_COUNTERPART", "EXECUTOR_UNAVAILABLE"


def port_of(address: str) -> int:
    """The port of an address."""
    return int(address.rpartition(":")[2])


class LazyExecutor(ScriptedExecutor):
    """Acknowledges nothing on its first connection."""

    async def say(self, **frame: Any) -> None:
        if "ack" not in frame or self.connections > 1:
            await super().say(**frame)


async def test_without_the_executor_nothing_is_approved() -> None:
    """Away from the start, there, away, back: EXECUTOR_UNAVAILABLE for every opportunity while it is; a new epoch."""
    executor = ScriptedExecutor()
    async with contextlib.AsyncExitStack() as stack:
        async with executor.served() as place:
            at = await stack.enter_async_context(hub_of(settings(place)))
            client = await stack.enter_async_context(client_of(at))
            await client.ask_until(APPROVED)
            assert (await client.decided_epoch(), executor.epoch) == (1, 1)
        await status_of(at, lambda s: not s.executor_up, "its end")
        for _ in range(5):
            assert await client.ask(cheap(), dear()) == [AWAY, AWAY]
        await stack.enter_async_context(executor.served(port_of(place)))
        await client.ask_until(APPROVED)
        assert (await client.decided_epoch(), executor.epoch) == (2, 2)


async def test_a_hub_that_never_had_an_executor_approves_nothing() -> None:
    """From its first tick on, and the ticks are decided all the same."""
    async with hub_of(settings()) as at, client_of(at) as client:
        assert await client.ask(cheap(), dear()) == [NONE, AWAY]


async def test_decisions_come_behind_their_ticks() -> None:
    """Ticks in their order, all of them, and every approved decision once, after its own tick."""
    executor = ScriptedExecutor()
    async with executor.served() as place, hub_of(settings(place)) as at, client_of(at) as client:
        await status_of(at, lambda s: s.executor_up, "the executor")
        for number in range(40):
            await client.send(cheap(number), dear(number))
        approved = [d.sequence for _ in range(40) for d in (await client.decided())[1] if d.approved]
        await executor.until(lambda: ("decision", approved[-1]) in executor.events(), "the last decision")
    events = executor.events()
    assert [n for kind, n in events if kind == "tick"] == list(range(80))
    assert [n for kind, n in events if kind == "decision"] == approved
    assert len(approved) == 79
    assert all(events.index(("tick", n)) < events.index(("decision", n)) for n in approved)


async def test_what_was_queued_for_one_connection_is_not_sent_over_the_next() -> None:
    """Decisions that wait behind ticks when the executor stalls are never executed, by whichever epoch."""
    executor = LazyExecutor()
    async with executor.served() as place, hub_of(settings(place)) as at, client_of(at) as client:
        await status_of(at, lambda s: s.executor_up, "the executor")
        assert await client.ask(cheap(), dear()) == [NONE, APPROVED]
        assert await client.ask(cheap(2), dear(3)) == [APPROVED, APPROVED]
        await executor.until(lambda: executor.epoch == 2, "another connection")
        await status_of(at, lambda s: s.epoch == 2, "the epoch")
        assert await client.ask(dear(4)) == [APPROVED]
        await executor.until(lambda: ("decision", 4) in executor.events(), "the decision")
        assert [n for kind, n in executor.events(0) if kind == "decision"] == [1]
        assert [n for kind, n in executor.events(1) if kind == "decision"] == [4]


async def test_an_executor_that_connects_is_given_every_book() -> None:
    """The last tick of each book, in order of time, broken ones empty, before anything else: both legs are known."""
    executor = ScriptedExecutor()
    async with executor.served() as free:
        pass
    async with hub_of(settings(free)) as at, client_of(at) as client:
        broken = dear(9, "ETH/USD")._replace(bids=[(float("nan"), 1.0)])
        await client.ask(cheap(5), dear(3), cheap(6), cheap(8, "ETH/USD"), broken)
        async with executor.served(port_of(free)):
            await status_of(at, lambda s: s.executor_up, "the executor")
            assert await client.ask(dear(10)) == [APPROVED]
            await executor.until(lambda: ("decision", 5) in executor.events(), "the decision")
    first, *rest = executor.slices()
    rows = zip(first.ticks.ts_ns, first.ticks.venue, first.ticks.instrument, first.ticks.bid_levels, strict=True)
    assert list(rows) == [(3_000_000, 1, 0, 1), (6_000_000, 0, 0, 1), (8_000_000, 0, 1, 1), (9_000_000, 1, 1, 0)]
    assert set(first.tick_sequence) == {4}
    assert list(first.ticks.ask_price) == [104.0, 100.0, 100.0]
    assert [n for part in rest for n in part.tick_sequence] == [5]


async def test_a_round_that_saw_the_executor_go_is_not_approved() -> None:
    """Asked under one connection, answered under the next: that executor knows nothing of its ticks."""
    slow, executor = SlowEngine("spread"), ScriptedExecutor()
    async with contextlib.AsyncExitStack() as stack:
        life = contextlib.AsyncExitStack()
        place = await life.enter_async_context(executor.served())
        engine = await stack.enter_async_context(slow.served())
        # The engine stands still for longer than a link waits; its stall is not what this is about.
        made = settings(place, {"spread": {"place": engine}})
        at = await stack.enter_async_context(hub_of(made))
        await status_of(at, lambda s: s.executor_up and s.engines[0].up, "everyone")
        client = await stack.enter_async_context(client_of(at))
        slow.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
        await client.send(cheap(), dear())
        await slow.until(lambda: "batch" in slow.kinds(), "the question")
        await life.aclose()
        await stack.enter_async_context(executor.served(port_of(place)))
        await status_of(at, lambda s: s.epoch == 2, "the executor")
        slow.allowed.release()
        assert (await client.decided())[1][-1].reason == AWAY
        for _ in range(1000):
            slow.allowed.release()
        await client.ask_until(APPROVED)


class BabblingExecutor(ScriptedExecutor):
    """Begins with something else than its snapshot."""

    def __init__(self, frame: bytes) -> None:
        super().__init__()
        self.frame = frame

    async def converse(self, context: Any) -> None:
        if self.connections < 3:
            await context.write(self.frame)
        await super().converse(context)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff garbage",
        b"",
        executor_pb2.ExecuteReply(report=ledger_pb2.Report()).SerializeToString(),
        executor_pb2.ExecuteReply(ack=executor_pb2.ExecuteAck()).SerializeToString(),
    ],
)
async def test_an_executor_that_makes_no_sense_is_not_traded_with(frame: bytes) -> None:
    """Anything before the snapshot ends the connection, in one line of the log; the one that follows is as good."""
    executor = BabblingExecutor(frame)
    with structlog.testing.capture_logs() as logs:
        async with executor.served() as place, hub_of(settings(place)) as at, client_of(at) as client:
            await client.ask_until(APPROVED)
    assert executor.connections == 3
    assert len([entry for entry in logs if entry["event"] == "not connected"]) == 1
    assert not [entry for entry in logs if entry["log_level"] == "error"]


class FailingEngine(Spread):
    """Answers what it is told to, in the hub's process."""

    def __init__(self) -> None:
        self.say: Callable[[Opportunities], Verdicts] | None = None

    def judge(self, opportunities: Opportunities) -> Verdicts:
        return self.say(opportunities) if self.say else super().judge(opportunities)


def _raises(_: Opportunities) -> Verdicts:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    "say",
    [
        _raises,
        lambda o: approval(len(o) + 1),
        lambda o: Verdicts(np.full(len(o), 2), np.zeros(len(o), np.int64), np.zeros(len(o)), np.ones(len(o))),
        lambda o: Verdicts(np.full(len(o), 2), np.full(len(o), 99), np.zeros(len(o)), np.ones(len(o))),
    ],
)
async def test_an_engine_inside_that_fails_has_not_answered(say: Callable[[Opportunities], Verdicts]) -> None:
    """An exception, wrong rows, a reject without a known reason: a timeout at once, said once, until it is well."""
    engine = FailingEngine()
    with structlog.testing.capture_logs() as logs:
        async with ScriptedExecutor().served() as place, hub_of(settings(place), spread=engine) as at:
            await status_of(at, lambda s: s.executor_up, "the executor")
            async with client_of(at) as client:
                engine.say = say
                for _ in range(3):
                    assert (await client.ask(cheap(), dear()))[-1] == "ENGINE_TIMEOUT:spread"
                engine.say = None
                assert (await client.ask(cheap(), dear()))[-1] == APPROVED
    assert [entry["engine"] for entry in logs if entry["log_level"] == "error"] == ["spread"]


@pytest.mark.parametrize(("form", "before"), [("decide", 0), ("fold", MAX_ROWS)], ids=["rows", "columns"])
async def test_a_fold_that_fails_approves_nothing(form: str, before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug while deciding: the log has it, the round counts as unanswered, and the next is decided as ever."""
    real, fails = getattr(submissions, form), [True]

    def failing_once(*given: Any) -> Any:
        if fails and any(isinstance(part, list) and part and hasattr(part[0], "engine") for part in given):
            fails.pop()
            raise ZeroDivisionError("a bug")
        return real(*given)

    monkeypatch.setattr(submissions, form, failing_once)
    with structlog.testing.capture_logs() as logs:
        async with ScriptedExecutor().served() as place, hub_of(settings(place)) as at, client_of(at) as client:
            await status_of(at, lambda s: s.executor_up, "the executor")
            ticks = [*[cheap()] * before, cheap(), dear()]
            assert (await client.ask(*ticks))[-2:] == [NONE, "ENGINE_TIMEOUT:spread"]
            assert (await client.ask(*ticks))[-1] == APPROVED
            assert not fails
    assert len([entry for entry in logs if entry["log_level"] == "error"]) == 1


@pytest.fixture
async def told() -> AsyncIterator[tuple[str, FakeEngine]]:
    """A hub, and an engine that remembers what it was told."""
    engine = FakeEngine("spread")
    given = {"listings": {"A": {SYMBOL: {"lot_size": 0.5, "taker_bps": 1.0}}}}
    async with engine.served() as place:
        made = settings(engines={"spread": {"place": place}})
        content = made.model_dump(exclude_unset=True) | {"reference": given}
        async with hub_of(Settings.model_validate(content)) as at:
            await engine.until(lambda: "reference" in engine.kinds(), "the greeting")
            await status_of(at, lambda s: s.engines[0].up, "the engine")
            yield at, engine


async def test_reference_data_reach_engines_once(told: tuple[str, FakeEngine]) -> None:
    """What is new is passed on; a feed that says the same again is not; the configuration's word stands."""
    at, engine = told
    async with client_of(at), client_of(at), client_of(at) as client:
        await client.ask(cheap(), dear())
        await engine.until(lambda: "batch" in engine.kinds(), "the question")
    assert engine.kinds().count("reference") == 2
    (listing,) = [m for m in engine.told[-2].reference.listings if (m.venue, m.instrument) == (0, 0)]
    assert (listing.lot_size, len(engine.told[-2].reference.listings)) == (0.5, 4)


def _reference(lot: float) -> ReferenceData:
    return ReferenceData(("A",), (SYMBOL,), (Listing("A", SYMBOL, lot_size=lot),))


def test_feeds_that_contradict_each_other_are_said() -> None:
    """The later word counts; a feed may correct itself, and one that is gone contradicts nobody."""
    references = References()
    with structlog.testing.capture_logs() as logs:
        assert references.merge(_reference(1.0), "one")
        assert references.merge(_reference(2.0), "one")
        assert not references.merge(_reference(2.0), "two")
        assert logs == []
        assert references.merge(_reference(3.0), "one")
        assert [entry["event"] for entry in logs] == ["two feeds contradict each other"]
        references.left("one")
        assert references.merge(_reference(4.0), "two")
    assert len(logs) == 1
    assert references.universe.lot_size.tolist() == [[4.0]]


def _decisions(rows: int) -> Decisions:
    numbers, nothing = np.arange(rows), np.zeros(rows)
    reason = numbers % 3
    return Decisions(
        *(numbers, numbers, numbers % 2, reason == 0, reason, np.zeros(rows, np.int64), np.ones(rows, np.int64)),
        *(nothing,) * 7,
        *(numbers, nothing, nothing),
        reasons=["", "SHED", "NO_COUNTERPART"],
    )


def test_statistics_keep_values_and_not_batches() -> None:
    """Counts add up, the latest edge of each instrument is there, and no batch stays alive for it."""
    statistics, d = Statistics(), _decisions(7)
    gone = weakref.ref(d.net_edge_bps)
    statistics.decided([], d, d.reasons, 1.0)
    d = _decisions(5000)
    statistics.decided([], d, d.reasons, 1.0)
    assert (statistics.ticks, statistics.opportunities) == (5007, 5007)
    assert statistics.approved + sum(statistics.rejected.values()) == 5007
    assert statistics.rejected == {"SHED": 2 + 1667, "NO_COUNTERPART": 2 + 1666}
    assert {i: e.reason for i, e in statistics.edges.items()} == {0: "", 1: "SHED"}
    d = _decisions(3)
    d.buy_venue[:] = NO_VENUE
    statistics.decided([], d, d.reasons, 1.0)
    gc.collect()
    assert gone() is None
    assert EDGES_A_BATCH < 5000


async def test_two_silent_engines_are_one_timeout() -> None:
    """The first in the table is the reason; the clock ends the round once, and its successors have their own."""
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(ScriptedExecutor().served())
        places = {}
        for name in ("fee", "risk"):
            places[name] = {"place": await stack.enter_async_context(SilentEngine(name).served())}
        at = await stack.enter_async_context(hub_of(settings(place, places, deadline_ms=20.0)))
        await status_of(at, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        one, two = [await stack.enter_async_context(client_of(at, market())) for _ in range(2)]
        await one.ask(cheap())
        answers = await asyncio.gather(*(c.ask(dear(n)) for n, c in enumerate((one, two))))
    assert answers == [["ENGINE_TIMEOUT:fee"]] * 2
