"""Several engines on one stream: asked once, answering together, failing each for itself."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structlog
from hub_probes import (
    FakeEngine,
    FakeHost,
    FeedClient,
    ScriptedExecutor,
    SlowHost,
    approval,
    cheap,
    client_of,
    dear,
    hub_of,
    settings,
    status_of,
)

from arbhub.columns import Verdicts
from arbhub.v1 import engine_pb2, hub_pb2

NAMES = ("spread", "fee", "liquidity", "risk")
APPROVED = ""
NONE = "NO_COUNTERPART"


class Hosted(FakeEngine):
    """A fake whose verdicts a test may set; it caps the quantity at 1."""

    def __init__(self, name: str, bps: float = 0.0, *, wants_state: bool = False, wants_depth: bool = False) -> None:
        super().__init__(name, wants_state=wants_state, wants_depth=wants_depth)
        self.bps = bps
        self.lies: dict[str, float] = {}
        """Columns whose every value is wrong."""
        self.mute = False

    def verdicts(self, rows: int) -> Verdicts:
        if self.mute:
            return approval(0)  # as a host says that an engine failed
        lies = {column: np.full(rows, value) for column, value in self.lies.items()}
        return replace(approval(rows, self.bps), **{"quantity": np.ones(rows), **lies})


def four(**wants: bool) -> list[Hosted]:
    """One of each; spread sees 300 bps, fee takes 2. What is wanted is wanted by the last."""
    return [Hosted("spread", 300.0), Hosted("fee", -2.0), Hosted("liquidity"), Hosted("risk", **wants)]


def hosted_at(place: str) -> dict[str, Any]:
    """All engines' sections."""
    return {name: {"place": place} for name in NAMES}


async def engines_of(address: str, rounds: int) -> dict[str, hub_pb2.EngineStatus]:
    """The engines' figures as soon as every one has answered, or failed to answer, so many opportunities."""

    def done(status: hub_pb2.Status) -> bool:
        return all(e.judged + e.timeouts >= rounds for e in status.engines)

    return {e.name: e for e in (await status_of(address, done, f"{rounds} answers")).engines}


@contextlib.asynccontextmanager
async def judged_by(host: FakeHost, **hub: Any) -> AsyncIterator[tuple[str, FeedClient]]:
    """The address and a client of a hub with an executor, whose engines are all on one host."""
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        place = await stack.enter_async_context(host.served())
        at = await stack.enter_async_context(hub_of(settings(executor, hosted_at(place), **hub)))
        await status_of(at, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        yield at, await stack.enter_async_context(client_of(at))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 3, 0, 2)])
async def test_verdicts_are_told_apart_by_the_order_of_the_hellos(order: tuple[int, ...]) -> None:
    """One question over one connection; each answer counts as that of the engine which said hello in its place."""
    engines = four()
    engines[3].lies = {"quantity": 0.25}
    host = FakeHost(*(engines[i] for i in order))
    async with judged_by(host) as (at, client):
        assert await client.ask(cheap(), dear()) == [NONE, APPROVED]
        figures = await engines_of(at, 1)
        engines[1].lies = {"verdict": 2, "reason": 1}
        assert await client.ask(dear(2)) == ["NO"]
        rejected = await status_of(at, lambda s: s.engines[1].rejected, "the reject")
    decided = client.columns[0]
    assert (decided.net_edge_bps[-1], decided.fee_bps[-1], decided.quantity[-1]) == (298.0, 2.0, 0.25)
    assert host.connections == 1
    assert host.kinds().count("batch") == 2
    assert [(figures[name].judged, figures[name].timeouts) for name in NAMES] == [(1, 0)] * 4
    assert all(figures[name].latency.max_ms > 0 for name in NAMES)
    assert [e.rejected for e in rejected.engines] == [0, 1, 0, 0]


@pytest.mark.parametrize("wants", [True, False])
async def test_what_one_engine_wants_is_sent_once(wants: bool) -> None:
    """Depth and state go to the host if one of its engines wants them, and to no host where none does."""
    host = FakeHost(*four(wants_depth=wants, wants_state=wants))
    async with judged_by(host) as (_, client):
        assert (await client.ask(cheap(), dear()))[-1] == APPROVED
    kinds = [kind for kind in host.kinds() if kind != "reference"]
    assert kinds == (["configuration", "snapshot", "batch"] if wants else ["configuration", "batch"])
    batch = host.told[-1].batch
    assert list(batch.depth.ask_price) == ([100.0] if wants else [])
    assert list(batch.opportunities.buy_ask) == [100.0]


LIES: list[dict[str, float]] = [{}, {"verdict": 7}, {"verdict": 2, "reason": 2}, {"verdict": 2}]


@pytest.mark.parametrize("lies", LIES)
@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_that_is_none_silences_its_engine_only(name: str, lies: dict[str, float]) -> None:
    """No rows, unknown verdicts or reasons: no answer of that engine; the others' count, over the same connection."""
    engines = {engine.name: engine for engine in four()}
    host = FakeHost(*engines.values())
    engines[name].lies, engines[name].mute = lies, not lies
    async with judged_by(host) as (at, client):
        assert await client.ask(cheap(), dear()) == [NONE, f"ENGINE_TIMEOUT:{name}"]
        figures = await engines_of(at, 1)
        engines[name].lies, engines[name].mute = {}, False
        assert await client.ask(dear(2)) == [APPROVED]
    assert {n: (e.judged, e.timeouts) for n, e in figures.items()} == {n: (n != name, n == name) for n in NAMES}
    assert host.connections == 1


@pytest.mark.parametrize("count", [0, 3, 5])
async def test_another_number_of_answers_is_nobodys(count: int) -> None:
    """Where it cannot be told whose verdicts are whose, none counts; the next answer does."""
    host = FakeHost(*four())
    right = host.reply

    def miscounted(batch: engine_pb2.OpportunityBatch) -> bytes:
        reply = engine_pb2.EngineReply.FromString(right(batch))
        verdicts = [*reply.batch.verdicts, reply.batch.verdicts[0]][:count]
        del reply.batch.verdicts[:]
        reply.batch.verdicts.extend(verdicts)
        return reply.SerializeToString()

    async with judged_by(host) as (at, client):
        host.reply = miscounted  # type: ignore[method-assign]
        assert await client.ask(cheap(), dear()) == [NONE, "ENGINE_TIMEOUT:spread"]
        figures = await engines_of(at, 1)
        host.reply = right  # type: ignore[method-assign]
        assert await client.ask(dear(2)) == [APPROVED]
    assert [(figures[name].judged, figures[name].timeouts) for name in NAMES] == [(0, 1)] * 4
    assert host.connections == 1


async def test_cases_that_wait_go_out_together_and_come_apart_again() -> None:
    """While the window is closed cases collect; each gets its own rows of every engine's one answer."""
    engines = four()
    host = SlowHost(*engines)
    for engine, base in zip(engines, (300.0, -10.0, 0.0, 0.0), strict=True):
        engine.verdicts = lambda rows, base=base: replace(  # type: ignore[method-assign,misc]
            approval(rows), bps=base + np.arange(rows), quantity=np.ones(rows)
        )
    async with judged_by(host) as (_, client):
        await client.send(cheap(), dear())
        await host.until(lambda: "batch" in host.kinds(), "the first")
        for number in range(2, 5):
            await client.send(cheap(number), dear(number))
        await client.send()  # answered at once: then the others have been taken in
        while (await client.decided())[0].batch_id != 5:
            pass
        for _ in range(2):
            host.allowed.release()
        got = [await client.decided() for _ in range(4)]
    assert [batch.batch_id for batch, _ in got] == [1, 2, 3, 4]
    assert host.kinds().count("batch") == 2
    assert [d.net_edge_bps[-1] for d in client.columns[-4:]] == [290.0, 294.0, 302.0, 310.0]
    assert [d.fee_bps[-1] for d in client.columns[-4:]] == [10.0, 9.0, 7.0, 5.0]


async def test_a_full_queue_sheds_once_for_all_engines() -> None:
    """Rows shed on the way to a host are decided as shed, those beside them by every engine's verdicts."""
    host = SlowHost(*four())
    async with judged_by(host, max_queue_ticks=4) as (_, client):
        await client.send(cheap(), dear())
        await host.until(lambda: "batch" in host.kinds(), "the question")
        await client.send(dear(2), cheap(2, "ETH/USD"), dear(2, "ETH/USD"))
        for number in range(3, 6):
            await client.send(dear(number))
        await client.send()
        while (await client.decided())[0].batch_id != 6:
            pass
        for _ in range(20):
            host.allowed.release()
        reasons: dict[int, list[str]] = {}
        while len(reasons) < 5:
            batch, rows = await client.decided()
            reasons[batch.batch_id] = [row.reason for row in rows]
    assert reasons[1] == [NONE, APPROVED]
    assert reasons[2] == ["SHED", NONE, APPROVED]
    assert [reasons[number] for number in (3, 4, 5)] == [[APPROVED]] * 3


async def test_a_host_that_dies_and_comes_back() -> None:
    """While it is away all its engines are silent at once; back again it has the state before any question."""
    host = SlowHost(*four(wants_state=True))
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        life = contextlib.AsyncExitStack()
        place = await life.enter_async_context(host.served())
        at = await stack.enter_async_context(hub_of(settings(executor, hosted_at(place))))
        await status_of(at, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        client = await stack.enter_async_context(client_of(at))
        for _ in range(2):
            await client.send(cheap(), dear())
        await host.until(lambda: "batch" in host.kinds(), "the question")
        await life.aclose()
        for _ in range(2):  # what was asked and what was queued
            assert (await client.decided())[1][-1].reason == "ENGINE_TIMEOUT:spread"
        lost = await status_of(at, lambda s: not any(e.up for e in s.engines), "the host's end")
        assert [e.timeouts for e in lost.engines] == [3] * 4  # the second batch has two opportunities
        assert (await client.ask(cheap(), dear()))[-1] == "ENGINE_TIMEOUT:spread"
        host.told.clear()
        for _ in range(1000):
            host.allowed.release()
        await stack.enter_async_context(host.served(int(place.rpartition(":")[2])))
        await client.ask_until(APPROVED)
    assert [kind for kind in host.kinds() if kind != "reference"][:3] == ["configuration", "snapshot", "batch"]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (NAMES[:3], "'spread' and 'fee' and 'liquidity'"),
        (("spread",), "'spread'"),
        ((*NAMES, "news"), "'spread' and 'fee' and 'liquidity' and 'risk' and 'news'"),
        ((*NAMES[:3], "news"), "'spread' and 'fee' and 'liquidity' and 'news'"),
    ],
)
async def test_a_host_of_other_engines_is_said_and_not_asked(there: tuple[str, ...], said: str) -> None:
    """One too few, too many or another: one line in the log however often it is tried, and silence of all."""
    host = FakeHost(*(FakeEngine(name) for name in there))
    with structlog.testing.capture_logs() as logs:
        async with contextlib.AsyncExitStack() as stack:
            executor = await stack.enter_async_context(ScriptedExecutor().served())
            place = await stack.enter_async_context(host.served())
            at = await stack.enter_async_context(hub_of(settings(executor, hosted_at(place))))
            await host.until(lambda: host.connections == 3, "three tries")
            await status_of(at, lambda s: s.executor_up, "the executor")
            client = await stack.enter_async_context(client_of(at))
            assert await client.ask(cheap(), dear()) == [NONE, "ENGINE_TIMEOUT:spread"]
    lines = [entry["reason"] for entry in logs if entry.get("address") == place]
    assert lines == [f"{place} is the engine {said}, not 'spread' and 'fee' and 'liquidity' and 'risk'"]
    assert "batch" not in host.kinds()


async def test_an_engine_that_says_hello_twice_is_cut_off() -> None:
    """A host is not asked on the word of one engine said twice."""
    engines = four()
    host = FakeHost(engines[0], engines[0], *engines[1:])
    with structlog.testing.capture_logs() as logs:
        async with contextlib.AsyncExitStack() as stack:
            place = await stack.enter_async_context(host.served())
            await stack.enter_async_context(hub_of(settings(engines=hosted_at(place))))
            await host.until(lambda: host.connections == 2, "another try")
    lines = [entry["reason"] for entry in logs if entry.get("address") == place]
    assert lines[0] == "it sent what no such peer sends: an engine says hello once"
