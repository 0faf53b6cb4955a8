"""The hub over real sockets: what it accepts and refuses, what it decides, and how it ends."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hub_probes import (
    SYMBOL,
    FeedClient,
    ScriptedExecutor,
    SilentEngine,
    SlowEngine,
    Tick,
    cheap,
    client_of,
    dear,
    hub_of,
    market,
    settings,
    status_of,
    within,
)
from log_records import amiss, of_another_loop

from arbhub.service import ServiceError, channel
from arbhub.v1 import hub_pb2, hub_pb2_grpc
from hub import session

APPROVED = ""
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def executor() -> AsyncIterator[tuple[ScriptedExecutor, str]]:
    """An executor that takes everything."""
    fake = ScriptedExecutor()
    async with fake.served() as at:
        yield fake, at


@pytest.fixture
async def hub(executor: tuple[ScriptedExecutor, str]) -> AsyncIterator[str]:
    """A hub with every engine in its process, connected to its executor."""
    async with hub_of(settings(executor[1])) as at:
        await status_of(at, lambda s: s.executor_up, "the executor")
        yield at


async def expect_refusal(client: FeedClient, said: str) -> None:
    """The stream ends as INVALID_ARGUMENT, saying this."""
    with pytest.raises(grpc.aio.AioRpcError, match=said) as caught:
        await within(client.call.read(), "the refusal")
    assert caught.value.code() is INVALID


async def test_ticks_in_decisions_out(hub: str) -> None:
    """One decision a tick, in order, with the batch's id, the epoch, the version and the legs' figures."""
    async with client_of(hub) as client:
        await client.send(cheap(), dear())
        batch, decided = await client.decided()
        assert (batch.batch_id, batch.epoch, batch.config_version) == (1, 1, settings().version())
        assert decided == [(0, False, "NO_COUNTERPART"), (1, True, APPROVED)]
        d = client.columns[0]
        assert math.isnan(d.gross_edge_bps[0])
        assert d.gross_edge_bps[1] == pytest.approx(300.0)
        assert (d.buy_limit[1], d.sell_limit[1], d.expires_ns[1]) == (100.0, 103.0, 1_001_000_000)
        await client.send()
        assert (await client.decided())[1] == []


async def test_each_tick_of_many_clients_is_decided_once(hub: str) -> None:
    """Clients with their own numbering, all at once: each gets its own batches, and no sequence comes twice."""

    async def feed(number: int) -> list[int]:
        symbols = (f"C{number}/USD", SYMBOL, "ETH/USD")
        async with client_of(hub, market(("B", "A") if number % 2 else ("A", "B"), symbols)) as client:
            for _ in range(20):
                await client.send(cheap(symbol=symbols[0]), dear(symbol=symbols[0]), cheap(), dear())
            got = [await client.decided() for _ in range(20)]
        assert [batch.batch_id for batch, _ in got] == list(range(1, 21))
        assert all(decided[1].reason == APPROVED for _, decided in got)
        return [row.sequence for _, decided in got for row in decided]

    everyone = await asyncio.gather(*(feed(number) for number in range(5)))
    sequences = [sequence for mine in everyone for sequence in mine]
    assert sorted(sequences) == list(range(5 * 20 * 4))
    status = await status_of(hub, lambda s: s.ticks == 400, "400 ticks")
    assert status.approved + sum(status.rejected.values()) == 400


async def test_a_huge_batch_is_answered_in_one(hub: str) -> None:
    """More ticks than a round takes are several rounds, and still one batch of decisions in the ticks' order."""
    rows = [cheap(), *(dear(n) for n in range(1, 6000))]
    async with client_of(hub) as client:
        await client.send(*rows)
        batch, decided = await client.decided()
    assert batch.batch_id == 1
    assert [row.sequence for row in decided] == list(range(6000))
    assert [row.reason for row in decided[:2]] == ["NO_COUNTERPART", APPROVED]
    assert {row.reason for row in decided[1:]} == {APPROVED}
    assert list(batch.reasons) == ["NO_COUNTERPART"]


def _cut(column: str) -> Any:
    return lambda ticks: getattr(ticks, column).pop()


def _set(column: str, value: int) -> Any:
    return lambda ticks: getattr(ticks, column).__setitem__(-1, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cut("instrument"), "column instrument has 1 values where ts_ns has 2"),
        (_cut("venue"), "column venue has 1 values where ts_ns has 2"),
        (_cut("bid_levels"), "column bid_levels has 1 values where ts_ns has 2"),
        (_cut("ask_levels"), "column ask_levels has 1 values where ts_ns has 2"),
        (_cut("bid_price"), "column bid_price has 1 values where bid_levels adds up to 2"),
        (_cut("bid_size"), "column bid_size has 1 values where bid_levels adds up to 2"),
        (_cut("ask_price"), "column ask_price has 1 values where ask_levels adds up to 2"),
        (_cut("ask_size"), "column ask_size has 1 values where ask_levels adds up to 2"),
        (_cut("ts_event_ns"), "column ts_event_ns has 1 values where ts_ns has 2"),
        (_cut("ts_ns"), "column instrument has 2 values where ts_ns has 1"),
        (_set("bid_levels", 0xFFFFFFFF), "column bid_price has 2 values where bid_levels adds up to 4294967296"),
        (_set("instrument", 2), "column instrument has the id 2, but this stream's reference data names only 2"),
        (_set("venue", 0xFFFFFFFF), "column venue has the id 4294967295, but this stream's reference data names only"),
        (_set("ts_ns", (1 << 63) - 1), "column ts_ns has a time beyond all years"),
        (_set("ts_ns", -(1 << 63)), "column ts_ns has a time beyond all years"),
    ],
)
async def test_a_batch_that_does_not_fit_is_refused_whole(hub: str, change: Any, said: str) -> None:
    """INVALID_ARGUMENT names the column; earlier ticks are decided first, others are served, no book moves."""
    async with client_of(hub) as client, client_of(hub) as other:
        bad = client.batch([cheap(2), Tick(3, "B", [(500.0, 1.0)], [(501.0, 1.0)])])
        change(bad.batch.ticks)
        await client.send(cheap(), dear())
        await client.call.write(bad)
        assert [row.reason for row in (await client.decided())[1]] == ["NO_COUNTERPART", APPROVED]
        await expect_refusal(client, said)
        assert await other.ask(dear(4)) == [APPROVED]
        assert other.columns[0].sell_bid[0] == 103.0
        assert other.columns[0].sequence[0] == 2


async def test_earlier_ticks_are_decided_before_a_refusal_however_long_it_takes() -> None:
    """The refusal waits for an engine that still has time."""
    slow = SlowEngine("spread")
    async with slow.served() as place, hub_of(settings(engines={"spread": {"place": place}})) as at:
        await status_of(at, lambda s: s.engines[0].up, "the engine")
        async with client_of(at) as client:
            await client.send(cheap(), dear())
            await client.call.write(hub_pb2.StreamRequest())
            await slow.until(lambda: "batch" in slow.kinds(), "the question")
            slow.allowed.release()
            assert (await client.decided())[1][1].reason == "EXECUTOR_UNAVAILABLE"
            await expect_refusal(client, "a frame is neither reference data nor ticks")


async def test_garbage_is_refused_after_the_decisions_on_what_came_before(hub: str) -> None:
    """Bytes that are no message end their own stream only, as INVALID_ARGUMENT."""
    async with channel(hub) as wire, client_of(hub) as other:
        call: Any = wire.stream_stream("/arbhub.v1.Hub/Stream")()
        client = FeedClient(wire)
        await client.refer()
        await call.write(hub_pb2.StreamRequest(reference=hub_pb2.StreamRequest().reference).SerializeToString())
        await call.write(client.batch([]).SerializeToString())
        await call.write(b"\xff\xff\xff garbage")
        kinds = [hub_pb2.StreamReply.FromString(await within(call.read())).WhichOneof("frame") for _ in range(2)]
        assert kinds == ["names", "batch"]
        with pytest.raises(grpc.aio.AioRpcError, match="a frame is no StreamRequest") as caught:
            await within(call.read())
        assert caught.value.code() is INVALID
        assert await other.ask(cheap()) == ["NO_COUNTERPART"]


async def test_a_batch_that_would_fill_the_memory_is_refused(hub: str) -> None:
    """One very deep book among very many empty ones, and more ticks than a batch may have."""
    async with client_of(hub) as client:
        empty = [Tick(0, "A", [], [])] * 20_000
        await client.call.write(client.batch([*empty, Tick(0, "A", [(1.0, 1.0)] * 5000, [])]))
        await expect_refusal(client, "column bid_levels has 1000 levels in a batch of 20001 ticks")
    async with client_of(hub) as client:
        await client.call.write(client.batch([Tick(0, "A", [], [])] * 70_000))
        await expect_refusal(client, "column ts_ns has 70000 values: a batch has at most 65536 ticks")


def _listing(reference: Any) -> None:
    reference.listings[0].venue = 7


def _symbol(reference: Any) -> None:
    reference.symbols[0] = "BTCUSD"


def _renumbered(reference: Any) -> None:
    reference.venues[:] = ["B", "A"]


def _twice(reference: Any) -> None:
    reference.venues.append("A")


def _schedule(reference: Any) -> None:
    reference.schedules.add(venue=9)


def _venue_state(reference: Any) -> None:
    reference.venue_states.add(venue=9, state="open")


def _flood(reference: Any) -> None:
    reference.venues.extend(f"V{n}" for n in range(2000))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_listing, "a listing, schedule or state names an id that has no name"),
        (_schedule, "a listing, schedule or state names an id that has no name"),
        (_venue_state, "a listing, schedule or state names an id that has no name"),
        (_symbol, "symbol 'BTCUSD' is not of the form"),
        (_renumbered, "venues are not the earlier ones with new ones after them"),
        (_twice, "venues are not the earlier ones with new ones after them"),
        (_flood, "2002 venues and 2 symbols are more than this hub takes"),
    ],
)
async def test_reference_data_that_make_no_sense_are_refused(hub: str, change: Any, said: str) -> None:
    """INVALID_ARGUMENT says what is wrong; earlier ticks are decided first, and others are served."""
    async with client_of(hub) as client, client_of(hub) as other:
        await client.send(cheap())
        request = hub_pb2.StreamRequest()
        request.reference.CopyFrom(hub_pb2.StreamRequest.FromString(await _stated(client)).reference)
        change(request.reference)
        await client.call.write(request)
        assert (await client.decided())[1][0].reason == "NO_COUNTERPART"
        await expect_refusal(client, said)
        assert await other.ask(dear()) == [APPROVED]


async def _stated(client: FeedClient) -> bytes:
    from arbhub.control import encode_reference

    return hub_pb2.StreamRequest(reference=encode_reference(client.universe)).SerializeToString()


async def test_reference_data_may_grow_on_a_stream(hub: str) -> None:
    """New venues and instruments behind the old ones, in the middle of ticks, and the names come before their use."""
    async with client_of(hub) as client:
        assert await client.ask(cheap(), dear()) == ["NO_COUNTERPART", APPROVED]
        client.universe.merge(market(("A", "B", "0"), (SYMBOL, "ETH/USD", "LTC/USD")).data())
        names = await client.refer()
        assert (list(names.venues), list(names.symbols)) == (["A", "B", "0"], [SYMBOL, "ETH/USD", "LTC/USD"])
        assert await client.ask(Tick(2, "0", [(99.0, 1.0)], [(100.0, 1.0)])) == [APPROVED]
        assert client.columns[-1].buy_venue.tolist() == [2]


BAD = (math.nan, math.inf, -math.inf, 0.0, -1.0)
GOOD = [(103.0, 5.0), (102.0, 5.0)]
BROKEN_SIDES = [
    *([(bad, 5.0), (102.0, 5.0)] for bad in BAD),
    *([(103.0, 5.0), (bad, 5.0)] for bad in BAD),
    *([(103.0, bad), (102.0, 5.0)] for bad in BAD),
    *([(103.0, 5.0), (102.0, bad)] for bad in BAD),
    [(102.0, 5.0), (103.0, 5.0)],
    [],
]


async def test_a_bad_price_is_never_an_edge(hub: str) -> None:
    """NaN, infinity, zero, negative, out of order, crossed, at the top or deeper: no counterpart, until it is well."""
    async with client_of(hub) as client:
        asks = [(104.0, 5.0), (105.0, 5.0)]
        for side in BROKEN_SIDES:
            assert await client.ask(cheap(), Tick(1, "B", GOOD, asks)) == ["NO_COUNTERPART", APPROVED]
            assert await client.ask(Tick(1, "B", side, asks), cheap()) == ["NO_COUNTERPART"] * 2, side
            mirrored = [(price + 1 if price > 1 else price, size) for price, size in reversed(side)]
            assert await client.ask(Tick(1, "B", [(50.0, 1.0)], mirrored), cheap()) == ["NO_COUNTERPART"] * 2, side
        for crossed in ([(102.0, 1.0)], [(103.0, 1.0)]):
            assert await client.ask(Tick(1, "B", GOOD, crossed), cheap()) == ["NO_COUNTERPART"] * 2


async def evaluate(at: str, within_s: float = 20.0, **request: Any) -> hub_pb2.EvaluateReply:
    """One call."""
    given = {"venue": "B", "symbol": SYMBOL, "ts_ns": 2_000_000, **request}
    async with channel(at) as wire:
        reply: hub_pb2.EvaluateReply = await hub_pb2_grpc.HubStub(wire).Evaluate(
            hub_pb2.EvaluateRequest(**given), timeout=within_s
        )
        return reply


async def test_evaluate_judges_one_tick_without_a_trace(hub: str, executor: tuple[ScriptedExecutor, str]) -> None:
    """Judged against the books as they are; they stay so, nothing is counted, and the executor hears of nothing."""
    async with client_of(hub) as client:
        await client.ask(cheap())
        reply = await evaluate(hub, bid_price=[110.0], bid_size=[1.0], ask_price=[111.0], ask_size=[1.0])
        assert (reply.approved, reply.reason, reply.buy_venue, reply.sell_venue) == (True, "", "A", "B")
        assert reply.gross_edge_bps == pytest.approx(1000.0)
        assert reply.quantity == 1.0
        assert reply.config_version == settings().version()
        assert await client.ask(cheap()) == ["NO_COUNTERPART"]
        await executor[0].until(lambda: ("tick", 1) in executor[0].events(), "the second tick")
        assert executor[0].events() == [("tick", 0), ("tick", 1)]
        assert (await status_of(hub, lambda _: True, "any")).ticks == 2


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"venue": "C"}, "venue 'C' is not known to this hub"),
        ({"symbol": "X/Y"}, "symbol 'X/Y' is not known to this hub"),
        ({"bid_price": [1.0]}, "column bid_size has 0 values where bid_price has 1"),
        ({"ask_price": [1.0], "ask_size": [1.0, 2.0]}, "column ask_size has 2 values where ask_price has 1"),
        ({"ts_ns": (1 << 63) - 1}, "ts_ns"),
    ],
)
async def test_evaluate_refuses_what_it_cannot_judge(hub: str, request_: dict[str, Any], said: str) -> None:
    """INVALID_ARGUMENT names the field."""
    async with client_of(hub):
        with pytest.raises(grpc.aio.AioRpcError, match=said) as caught:
            await evaluate(hub, **request_)
        assert caught.value.code() is INVALID


async def test_evaluate_answers_within_the_callers_deadline() -> None:
    """A caller in a hurry gets a decision, a timeout, although a round with more time is open before it."""
    silent = SilentEngine("spread")
    async with silent.served() as place, hub_of(settings(engines={"spread": {"place": place}})) as at:
        await status_of(at, lambda s: s.engines[0].up, "the engine")
        async with client_of(at) as client:
            await client.send(cheap(), dear())
            await silent.until(lambda: "batch" in silent.kinds(), "the question")
            reply = await evaluate(at, 2.0, bid_price=[110.0], bid_size=[1.0], ask_price=[111.0], ask_size=[1.0])
    assert (reply.approved, reply.reason) == (False, "EXECUTOR_UNAVAILABLE")
    assert math.isnan(reply.net_edge_bps)


async def test_a_caller_that_goes_away_harms_nobody() -> None:
    """Its answer comes to nobody; rounds that end together with its own are still answered."""
    slow = SlowEngine("spread")
    async with slow.served() as place, hub_of(settings(engines={"spread": {"place": place}})) as at:
        await status_of(at, lambda s: s.engines[0].up, "the engine")
        async with client_of(at) as client, channel(at) as wire, contextlib.AsyncExitStack() as stack:
            await client.ask(cheap())
            request = hub_pb2.EvaluateRequest(venue="B", symbol=SYMBOL, ts_ns=1)
            for side, price in (("bid", 103.0), ("ask", 104.0)):
                getattr(request, f"{side}_price").append(price)
                getattr(request, f"{side}_size").append(1.0)
            logs = stack.enter_context(structlog.testing.capture_logs())
            gone = hub_pb2_grpc.HubStub(wire).Evaluate(request)
            await slow.until(lambda: "batch" in slow.kinds(), "the question")
            gone.cancel()
            await status_of(at, lambda _: True, "any")  # a round trip later the hub knows
            await client.send(dear())
            slow.allowed.release()
            slow.allowed.release()
            assert (await client.decided())[1][0].reason == "EXECUTOR_UNAVAILABLE"
            assert slow.connections == 1
            assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_a_client_that_never_reads_is_disconnected(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DeafClient sends on and on: the hub gives up on it at the bound, and goes on serving the others."""
    monkeypatch.setattr(session, "MAX_UNREAD", 16)
    async with channel(hub) as wire, client_of(hub) as other:
        deaf = FeedClient(wire)
        await deaf.refer()
        rows = [cheap(), dear()] * 500

        async def flood() -> None:
            while not deaf.call.done():
                await deaf.call.write(deaf.batch(rows))

        with structlog.testing.capture_logs() as logs:
            flooding = asyncio.create_task(flood())

            async def cut_off() -> None:
                while not any(entry.get("code") == "RESOURCE_EXHAUSTED" for entry in logs):
                    assert (await other.ask(cheap(), dear()))[1] == APPROVED

            await within(cut_off(), "the end of the deaf client's stream")
        for _ in range(20):
            assert (await other.ask(cheap(), dear()))[1] == APPROVED
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await within(deaf.call.read(), "the end") is not grpc.aio.EOF:
                pass
        # Where a write of its own fails on the ended stream, its library calls the end by that.
        ended = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL
        assert await within(deaf.call.code(), "the end") in ended
        await asyncio.gather(flooding, return_exceptions=True)
        assert (await other.ask(cheap(), dear()))[1] == APPROVED


@pytest.mark.parametrize("bound", [4, 1000])
async def test_a_deaf_client_does_not_hold_up_shutdown(
    executor: tuple[ScriptedExecutor, str], monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    """DeafClient, cut off already or not yet, never reads that it is over; the hub ends all the same."""
    monkeypatch.setattr(session, "MAX_UNREAD", bound)
    async with contextlib.AsyncExitStack() as stack:
        with structlog.testing.capture_logs() as logs:
            async with hub_of(settings(executor[1], deadline_ms=10.0)) as at:
                deaf = FeedClient(await stack.enter_async_context(channel(at)))
                await deaf.refer()

                async def flood() -> None:
                    for _ in range(100):
                        await deaf.call.write(deaf.batch([cheap()] * 1000))

                flooding = asyncio.create_task(flood())
                async with client_of(at) as other:
                    while not (flooding.done() or any(entry.get("code") for entry in logs)):
                        await other.ask(cheap())
        # A flood that is still under way at the end is told so, as everybody is: UNAVAILABLE says nothing of deafness.
        cut_off = [entry["code"] for entry in logs if entry.get("code", "UNAVAILABLE") != "UNAVAILABLE"]
        assert cut_off == ["RESOURCE_EXHAUSTED"] * (bound == 4)
        await within(asyncio.gather(flooding, return_exceptions=True), "the end of the flood")


async def test_health_and_reflection_answer(hub: str) -> None:
    """grpc.health.v1 for the whole and for the service; reflection names them."""
    async with channel(hub) as wire:
        for name in ("", "arbhub.v1.Hub"):
            reply = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        ask: Any = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        async for answer in reflection_pb2_grpc.ServerReflectionStub(wire).ServerReflectionInfo(ask):
            names = {service.name for service in answer.list_services_response.service}
    assert {"arbhub.v1.Hub", "grpc.health.v1.Health"} <= names


async def test_a_port_in_use_is_said(hub: str) -> None:
    """A second hub on the same port does not start."""
    with pytest.raises(ServiceError, match="the port is in use"):
        async with hub_of(settings(listen=hub)):
            pass


async def test_shutdown_decides_what_was_accepted_and_ends_every_stream(caplog: pytest.LogCaptureFixture) -> None:
    """Streams idle, waiting for an engine, half closed and watching: decisions first, then UNAVAILABLE, no noise."""
    slow, noise = SlowEngine("spread"), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(slow.served())
        made = settings(engines={"spread": {"place": place}})
        async with hub_of(made) as at:
            await status_of(at, lambda s: s.engines[0].up, "the engine")
            idle, busy, halved = [await stack.enter_async_context(client_of(at)) for _ in range(3)]
            wire = await stack.enter_async_context(channel(at))
            watching = hub_pb2_grpc.HubStub(wire).Watch(hub_pb2.WatchRequest(interval_ms=4_000_000))
            health = health_pb2_grpc.HealthStub(wire).Watch(health_pb2.HealthCheckRequest())
            assert (await within(health.read())).status == health_pb2.HealthCheckResponse.SERVING
            await within(watching.read())
            await busy.send(cheap(), dear())
            await halved.send(cheap(), dear())
            await halved.call.done_writing()
            await slow.until(lambda: slow.kinds().count("batch") == 1, "the question")
            for _ in range(2):
                slow.allowed.release()
            ended = asyncio.create_task(idle.call.read())
        assert (await within(health.read())).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for client in (busy, halved):
            assert (await client.decided())[1][1].reason == "EXECUTOR_UNAVAILABLE"
        for reading in (ended, asyncio.create_task(busy.call.read())):
            with pytest.raises(grpc.aio.AioRpcError, match="the hub is shutting down") as caught:
                await within(reading)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await within(watching.read()) is grpc.aio.EOF
    assert [context for context in noise if not of_another_loop(context)] == []
    assert amiss(r for r in caplog.records if r.name in ("asyncio", "grpc._cython.cygrpc")) == []


async def test_the_state_can_be_watched(hub: str) -> None:
    """Books, edges, engines and latencies of what was decided."""
    async with client_of(hub) as client:
        now_ms = time.time_ns() / 1e6
        await client.ask(cheap(now_ms), dear(now_ms))
        status = await status_of(hub, lambda s: s.ticks == 2, "two ticks")
    assert {(b.venue, b.bid, b.ask, b.usable) for b in status.books} == {("A", 99, 100, True), ("B", 103, 104, True)}
    (edge,) = status.edges
    assert (edge.symbol, edge.buy_venue, edge.sell_venue, edge.outcome) == (SYMBOL, "A", "B", "approved")
    assert [(e.name, e.place, e.up, e.judged) for e in status.engines] == [
        (name, "in-process", True, 1) for name in ("spread", "fee", "liquidity", "risk")
    ]
    assert status.decision_latency.max_ms > 0
