"""The hub's part of traces: which ticks have one, what is in it, and that a collector can do the hub no harm."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from http_probes import http_hub
from hub_probes import (
    FakeEngine,
    FeedClient,
    ScriptedExecutor,
    SilentEngine,
    SlowEngine,
    Tick,
    cheap,
    client_of,
    dear,
    hub_of,
    settings,
    status_of,
)
from otlp_collectors import Received, ReceivingCollector, parents
from test_metrics import scraped

import hub.tracing
from arbhub.traceids import Sampling, span_id, trace_id

ENGINES = ["engine fee", "engine liquidity", "engine risk", "engine spread"]
WHOLE = {"nowhere": ["round"], "round": [*ENGINES, "fold"]}  # the feed has the root
NEVER = {"failures": float("inf"), "failure_ratio": float("inf")}


@contextlib.asynccontextmanager
async def traced(
    collector: str, rate: float, *fakes: FakeEngine, **more: Any
) -> AsyncIterator[tuple[FeedClient, ScriptedExecutor]]:
    """A client of a hub that sends its traces to a collector, with an executor; real engines inside but for fakes."""
    executor = ScriptedExecutor()
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(executor.served())
        places = {f.name: {"place": await stack.enter_async_context(f.served())} for f in fakes}
        made = settings(address, places, {"otlp_endpoint": collector, "sample_rate": rate}, breaker=NEVER, **more)
        at = await stack.enter_async_context(hub_of(made))
        await status_of(at, lambda s: s.executor_up and all(e.up for e in s.engines), "everybody")
        yield await stack.enter_async_context(client_of(at)), executor


def of_sequence(collector: ReceivingCollector, sequence: int, epoch: int = 1) -> list[Received]:
    """What there is of a tick's trace."""
    return collector.traces().get(trace_id("", epoch, sequence), [])


def named(spans: Sequence[Received], name: str) -> Received:
    """The one span of a name."""
    (found,) = [span for span in spans if span.name == name]
    return found


@pytest.mark.parametrize("before", [0, 30], ids=["rows", "columns"])
async def test_an_approval_is_traced_at_rate_0(before: int) -> None:
    """The round below the feed's span that is to come, engines and fold below the round; and no other tick."""
    collector = ReceivingCollector()
    async with collector.served() as address, traced(address, 0.0) as (feed, _):
        reasons = await feed.ask(*[cheap()] * before, cheap(), dear())
        assert [reason == "" for reason in reasons] == [False] * (before + 1) + [True]
        await collector.until(lambda: len(collector.spans) >= 6, "a trace")
    spans = of_sequence(collector, before + 1)
    assert len(collector.spans) == len(spans) == 6
    assert parents(spans) == WHOLE
    round_ = named(spans, "round")
    assert round_.span.parent_span_id == span_id(trace_id("", 1, before + 1), "feed")
    told = feed.columns[-1]
    assert round_.said["net_edge_bps"] == told.net_edge_bps[-1]
    assert (round_.said["symbol"], round_.said["buy_venue"], round_.said["sell_venue"]) == ("BTC/USD", "A", "B")
    assert (round_.said["approved"], round_.said["reason"], round_.said["ticks"]) == (True, "approved", before + 2)
    for engine in ENGINES:
        said = named(spans, engine).said
        assert (said["verdict"], said["timed_out"], said["rows"]) == ("approve", False, 1)
    assert named(spans, "engine fee").said["bps"] == -told.fee_bps[-1]


async def test_the_parts_follow_one_another_in_time() -> None:
    """Receipt, asking, answers one after the other inside the process, fold, answer."""
    collector = ReceivingCollector()
    async with collector.served() as address, traced(address, 0.0) as (feed, _):
        await feed.ask(cheap(), dear())
        await collector.until(lambda: len(collector.spans) >= 6, "a trace")
    spans = {span.name: span.span for span in collector.spans}
    inside = [spans[f"engine {name}"] for name in ("spread", "fee", "liquidity", "risk")]
    way = [spans["round"].start_time_unix_nano]
    for span in (*inside, spans["fold"]):
        way += [span.start_time_unix_nano, span.end_time_unix_nano]
    way.append(spans["round"].end_time_unix_nano)
    assert way == sorted(way)


@pytest.mark.parametrize("count", [4, 40], ids=["rows", "columns"])
async def test_all_are_traced_at_rate_1_each_with_its_own(count: int) -> None:
    """A tick without an opportunity asked no engine; of the others every engine's verdict is the tick's own."""
    collector, lone = ReceivingCollector(), [cheap()] * (count // 2)
    moving = [Tick(1, "B", [(103.0 + n, 5.0)], [(104.0 + n, 5.0)]) for n in range(count)]
    async with collector.served() as address, traced(address, 1.0) as (feed, _):
        reasons = await feed.ask(*lone, *[tick for dearer in moving for tick in (dearer, cheap())])
        await collector.until(lambda: len(collector.named("fold")) == len(reasons), "every fold")
    fees = feed.columns[-1].fee_bps
    for sequence, reason in enumerate(reasons):
        spans = of_sequence(collector, sequence)
        assert named(spans, "round").said["reason"] == (reason or "approved")
        if sequence < len(lone):
            assert parents(spans) == {"nowhere": ["round"], "round": ["fold"]}
        else:
            assert parents(spans) == WHOLE
            assert named(spans, "engine fee").said["bps"] == -fees[sequence]
    assert len(set(fees[len(lone) :].tolist())) == count


async def test_the_rest_is_sampled_by_trace_id() -> None:
    """Those ticks are traced, and no others, whose ids every service finds sampled."""
    collector = ReceivingCollector()
    async with collector.served() as address, traced(address, 0.3) as (feed, _):
        for _ in range(10):
            await feed.ask(*[cheap()] * 20)
        wanted = Sampling(0.3).rows(1, np.arange(200))
        await collector.until(lambda: len(collector.named("fold")) >= len(wanted), "the sampled")
    assert {span.said["sequence"] for span in collector.named("round")} == set(wanted)


async def test_a_timeout_is_traced_at_rate_0() -> None:
    """The silent engine's span failed and ended with its time; the others said what they said."""
    collector = ReceivingCollector()
    async with (
        collector.served() as address,
        traced(address, 0.0, SilentEngine("spread"), deadline_ms=20.0) as (feed, _),
    ):
        assert (await feed.ask(cheap(), dear()))[-1] == "ENGINE_TIMEOUT:spread"
        await collector.until(lambda: len(collector.spans) >= 6, "a trace")
    spans = of_sequence(collector, 1)
    assert parents(spans) == WHOLE
    silent, round_ = named(spans, "engine spread"), named(spans, "round")
    assert (silent.failed, silent.said["timed_out"], silent.said["late"]) == (True, True, False)
    assert "verdict" not in silent.said
    assert round_.failed
    assert named(spans, "engine fee").said["verdict"] == "approve"
    assert silent.span.end_time_unix_nano <= round_.span.end_time_unix_nano


async def test_an_answer_that_came_too_late_is_in_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace waits for it, while others go; with what it said, and when it came: after the round was over."""
    monkeypatch.setattr(hub.tracing, "HOLD_S", 3600.0)  # so that it is the end of the hub that ends the wait
    collector, slow = ReceivingCollector(), SlowEngine("spread")
    async with collector.served() as address:
        async with traced(address, 1.0, slow, deadline_ms=20.0) as (feed, _):
            assert (await feed.ask(cheap(), dear()))[-1] == "ENGINE_TIMEOUT:spread"
            await feed.ask(cheap(symbol="ETH/USD"))
            await collector.until(lambda: of_sequence(collector, 2), "another trace")
            assert not of_sequence(collector, 1)
            for _ in range(10_000):
                slow.allowed.release()
            await feed.ask_until(
                "NET_EDGE_TOO_LOW"
            )  # that is in time, and answers come in order: the late one is there
        spans = of_sequence(collector, 1)
    late = named(spans, "engine spread")
    assert (late.failed, late.said["late"], late.said["verdict"]) == (True, True, "approve")
    assert late.span.end_time_unix_nano >= named(spans, "round").span.end_time_unix_nano


async def test_a_new_epoch_begins_new_traces() -> None:
    """The same executor again gives the next epoch, and with it other ids."""
    collector, executor = ReceivingCollector(), ScriptedExecutor()
    executor.epoch = 6
    async with collector.served() as address, executor.served() as trades:
        made = settings(trades, traces={"otlp_endpoint": address, "sample_rate": 1.0})
        async with hub_of(made) as at, client_of(at) as feed:
            await status_of(at, lambda s: s.epoch == 7, "the epoch")
            await feed.ask(cheap())
            await collector.until(lambda: collector.named("fold"), "a trace")
    assert of_sequence(collector, 0, epoch=7)


async def test_without_a_collector_ticks_are_decided_as_ever() -> None:
    """Nobody listens where traces go: every tick has its decision, and the hub ends."""
    async with traced("127.0.0.1:1", 1.0) as (feed, _):
        for _ in range(50):
            assert (await feed.ask(cheap(), dear()))[-1] == ""


async def test_spans_are_counted() -> None:
    """What was sent and what was dropped is among the metrics; without traces there is none of it."""
    collector = ReceivingCollector()
    async with collector.served() as address, http_hub() as plain:
        assert ("arbhub_trace_spans_sent_total", ()) not in await scraped(plain)
        traces = {"otlp_endpoint": address, "sample_rate": 1.0}
        async with http_hub(traces=traces) as client, client_of(client.grpc) as feed:
            await feed.ask(cheap())
            found = await scraped(client)
            while found["arbhub_trace_spans_sent_total", ()] < 2:
                await asyncio.sleep(0.01)
                found = await scraped(client)
        assert (found["arbhub_trace_spans_dropped_total", ()], found["arbhub_traces_dropped_total", ()]) == (0, 0)
