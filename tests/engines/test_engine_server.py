"""Engines as services, over real sockets: what a hub is answered, and what it may not say."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import numpy as np
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from arbhub.columns import Opportunities, Verdicts
from arbhub.control import encode_reference, encode_snapshot
from arbhub.engine import Engine, EngineConfiguration, verdicts
from arbhub.reference import Listing, ReferenceData, Universe
from arbhub.service import ServiceError, channel
from arbhub.settings.schema import Settings
from arbhub.state import ACTIVE, LedgerValues, Snapshot
from arbhub.v1 import engine_pb2
from engines.server import run
from engines.table import ENGINES

METHOD = "/arbhub.v1.Engine/Evaluate"
Request = engine_pb2.EngineRequest


@contextlib.asynccontextmanager
async def served(*names: str) -> AsyncIterator[str]:
    """The address of an engine, or of several in one process."""
    made = Settings.model_validate({"engines": {name: {"place": "127.0.0.1:0"} for name in names}})
    shutdown, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(run(made, names, shutdown, port.set_result))
    try:
        yield f"127.0.0.1:{await asyncio.wait_for(port, 20)}"
    finally:
        shutdown.set()
        await asyncio.wait_for(serving, 20)


def configuration() -> Request:
    """The defaults."""
    content = EngineConfiguration().model_dump_json().encode()
    return Request(configuration=engine_pb2.Configuration(version="1-a", settings_json=content))


def reference() -> Request:
    """Two venues that list one instrument."""
    universe = Universe()
    listings = tuple(Listing(venue, "BTC/USD", taker_bps=1.0) for venue in "AB")
    universe.merge(ReferenceData(("A", "B"), ("BTC/USD",), listings))
    return Request(reference=encode_reference(universe))


def batch(number: int = 1) -> Request:
    """One opportunity: buy on A at 100, sell on B at 103, a unit deep."""
    request = Request(batch=engine_pb2.OpportunityBatch(batch_id=number))
    o, d = request.batch.opportunities, request.batch.depth
    for column in ("sequence", "ts_ns", "instrument", "candidate", "buy_venue", "buy_ts_ns", "sell_ts_ns"):
        getattr(o, column).append(0)
    o.edge_since_ns.append(0)
    o.sell_venue.append(1)
    for side, price in (("buy_ask", 100.0), ("sell_bid", 103.0)):
        getattr(o, side).append(price)
        getattr(o, f"{side}_size").append(1.0)
    for side, price in (("ask", 100.0), ("bid", 103.0)):
        getattr(d, f"{side}_levels").append(1)
        getattr(d, f"{side}_price").append(price)
        getattr(d, f"{side}_size").append(1.0)
    return request


class HubEnd:
    """The hub's end of one stream."""

    def __init__(self, wire: grpc.aio.Channel) -> None:
        self.call: Any = wire.stream_stream(METHOD)()

    async def send(self, *requests: Request | bytes) -> None:
        for request in requests:
            await self.call.write(request if isinstance(request, bytes) else request.SerializeToString())

    async def read(self) -> engine_pb2.EngineReply:
        return engine_pb2.EngineReply.FromString(await asyncio.wait_for(self.call.read(), 20))


@pytest.mark.parametrize("name", ENGINES)
async def test_an_engine_introduces_itself_and_answers(name: str) -> None:
    """Hello first, then each batch in order, its rows and its id; a snapshot makes risk approve too."""
    async with served(name) as at, channel(at) as wire:
        end = HubEnd(wire)
        hello = (await end.read()).hello
        engine = ENGINES[name]
        assert (hello.name, tuple(hello.reasons)) == (name, engine.reasons)
        assert (hello.wants_depth, hello.wants_state) == (engine.wants_depth, engine.wants_state)
        assert tuple(hello.reads) == engine.reads
        snapshot = Request(snapshot=encode_snapshot(Snapshot(1, True, LedgerValues(trading_state=ACTIVE))))
        await end.send(configuration(), reference(), batch(7), snapshot, batch(300))
        before, after = (await end.read()).batch, (await end.read()).batch
        assert (before.batch_id, after.batch_id) == (7, 300)
        known = name != "risk"
        assert hello.reasons[before.verdicts[0].reason[0] - 1] == "STATE_UNKNOWN" if not known else True
        assert list(before.verdicts[0].verdict) == [1 if known else 2]
        assert list(after.verdicts[0].verdict) == [1]
        health = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(service="arbhub.v1.Engine"))
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        end.call.cancel()


async def test_hosted_engines_answer_together() -> None:
    """Hellos in the table's order, whatever order they were named in; each batch is answered once, each by its own."""
    async with served(*reversed(ENGINES)) as at, channel(at) as wire:
        end = HubEnd(wire)
        hellos = [(await end.read()).hello for _ in ENGINES]
        assert [hello.name for hello in hellos] == list(ENGINES)
        assert all(list(hello.hosted) == list(ENGINES) for hello in hellos)
        wants = [(hello.wants_depth, hello.wants_state, tuple(hello.reasons)) for hello in hellos]
        assert wants == [(engine.wants_depth, engine.wants_state, engine.reasons) for engine in ENGINES.values()]
        snapshot = Request(snapshot=encode_snapshot(Snapshot(1, True, LedgerValues(trading_state=ACTIVE))))
        await end.send(configuration(), reference(), batch(7), snapshot, batch(300))
        before, after = (await end.read()).batch, (await end.read()).batch
        assert (before.batch_id, after.batch_id) == (7, 300)
        assert [list(columns.verdict) for columns in before.verdicts] == [[1], [1], [1], [2]]
        assert [list(columns.verdict) for columns in after.verdicts] == [[1]] * 4
        assert [list(columns.bps) for columns in after.verdicts] == [[300.0], [pytest.approx(-2.03)], [0.0], [0.0]]
        assert list(after.verdicts[2].quantity) == [1.0]
        end.call.cancel()


def crash(_: Engine, o: Opportunities) -> Verdicts:
    """Judging fails."""
    raise ZeroDivisionError(f"{len(o)} rows are too many")


def fall_short(_: Engine, o: Opportunities) -> Verdicts:
    """A verdict is missing."""
    return verdicts(np.zeros(len(o) - 1, np.int64), np.zeros(len(o) - 1))


def answer_nothing(_: Engine, o: Opportunities) -> Any:
    """What is returned are no verdicts."""


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("names", [("fee",), tuple(ENGINES)])
@pytest.mark.parametrize("failing", [crash, fall_short, answer_nothing])
async def test_an_engine_that_fails_silences_itself_only(
    monkeypatch: pytest.MonkeyPatch,
    failing: Callable[[Engine, Opportunities], Verdicts],
    names: tuple[str, ...],
    rows: int,
) -> None:
    """It answers without rows while the others go on, the log says so once an illness, and then it is well again."""
    well, asked = ENGINES["fee"].judge, batch()
    for _ in range(rows - 1):
        asked.batch.opportunities.MergeFrom(batch().batch.opportunities)
        asked.batch.depth.MergeFrom(batch().batch.depth)
    monkeypatch.setattr(ENGINES["fee"], "judge_row", lambda *_: None)  # a few rows are judged as many are
    monkeypatch.setattr(ENGINES["fee"], "judge_row", Engine.judge_row)  # so that `judge` is asked
    with structlog.testing.capture_logs() as logs:
        async with served(*names) as at, channel(at) as wire:
            end = HubEnd(wire)
            for _ in names:
                await end.read()
            await end.send(configuration(), reference())
            for judge in (failing, failing, well, failing, well):
                monkeypatch.setattr(ENGINES["fee"], "judge", judge)
                await end.send(asked)
                answered = [len(columns.verdict) for columns in (await end.read()).batch.verdicts]
                assert answered == [0 if name == "fee" and judge is failing else rows for name in names]
            end.call.cancel()
    failures = [entry["engine"] for entry in logs if entry["event"] == "engine failed"]
    assert failures == ["fee", "fee"]


async def test_depth_is_needed_where_one_engine_needs_it() -> None:
    """A batch without it is refused in the name of the engine that reads it."""
    async with served("spread", "liquidity") as at, channel(at) as wire:
        end = HubEnd(wire)
        for _ in range(2):
            await end.read()
        await end.send(configuration(), reference(), _changed(lambda b: b.ClearField("depth")))
        with pytest.raises(grpc.aio.AioRpcError, match="the engine liquidity was asked without depth"):
            await end.read()


async def test_each_connection_begins_knowing_nothing() -> None:
    """What one hub said counts for nothing with the next, while the first goes on."""
    async with served("risk") as at, channel(at) as wire:
        first, second = HubEnd(wire), HubEnd(wire)
        hello = (await first.read()).hello
        await second.read()
        snapshot = Request(snapshot=encode_snapshot(Snapshot(1, True, LedgerValues(trading_state=ACTIVE))))
        await first.send(configuration(), reference(), snapshot)
        await second.send(configuration(), reference(), batch())
        verdicts = (await second.read()).batch.verdicts[0]
        assert hello.reasons[verdicts.reason[0] - 1] == "STATE_UNKNOWN"
        await first.send(batch())
        assert list((await first.read()).batch.verdicts[0].verdict) == [1]
        for end in (first, second):
            end.call.cancel()


def _changed(change: Callable[[Any], None]) -> Request:
    request = batch()
    change(request.batch)
    return request


def _unknown(column: str, value: int) -> Request:
    return _changed(lambda b: getattr(b.opportunities, column).__setitem__(0, value))


def _bad_reference() -> Request:
    request = reference()
    request.reference.symbols[0] = "BTC"
    return request


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (_unknown("instrument", 1), "column instrument has the id 1 where reference data name 1"),
        (_unknown("buy_venue", 2), "column buy_venue has the id 2 where reference data name 2"),
        (_unknown("sell_venue", 0xFFFFFFFF), "column sell_venue has the id 4294967295"),
        (_changed(lambda b: b.opportunities.sell_bid.append(1.0)), "column sell_bid has 2 values where sequence has 1"),
        (_changed(lambda b: b.opportunities.ClearField("buy_ask")), "column buy_ask has 0 values where sequence has 1"),
        (_changed(lambda b: b.depth.ask_price.pop()), "column ask_price has 0 values where ask_levels adds up to 1"),
        (_changed(lambda b: b.ClearField("depth")), "the engine liquidity was asked without depth"),
        (_bad_reference(), "symbol 'BTC' is not of the form"),
        (Request(configuration=engine_pb2.Configuration(settings_json=b'{"engines": 1}')), "configuration: "),
        (b"\xff garbage", "a frame is no EngineRequest"),
        (b"", "a frame is of no kind known here"),
    ],
)
async def test_what_a_hub_may_not_say(bad: Request | bytes, said: str) -> None:
    """INVALID_ARGUMENT says what is wrong, behind the answers to what came before; other hubs are served on."""
    async with served("liquidity") as at, channel(at) as wire:
        end, other = HubEnd(wire), HubEnd(wire)
        for one in (end, other):
            await one.read()
            await one.send(configuration(), reference(), batch())
        await end.send(bad)
        assert list((await end.read()).batch.verdicts[0].quantity) == [1.0]
        with pytest.raises(grpc.aio.AioRpcError, match=said) as caught:
            await end.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        await other.send(batch(2))
        assert [(await other.read()).batch.batch_id for _ in range(2)] == [1, 2]
        other.call.cancel()


async def test_a_question_before_the_configuration_is_refused() -> None:
    """There is nothing to judge by yet."""
    async with served("spread") as at, channel(at) as wire:
        end = HubEnd(wire)
        await end.read()
        await end.send(batch())
        with pytest.raises(grpc.aio.AioRpcError, match="batch came before the configuration"):
            await end.read()


async def test_shutdown_ends_open_streams() -> None:
    """A hub that waits hears UNAVAILABLE with the reason."""
    async with contextlib.AsyncExitStack() as stack:
        async with served("spread") as at:
            end = HubEnd(await stack.enter_async_context(channel(at)))
            await end.read()
            reading = asyncio.create_task(end.read())
        with pytest.raises(grpc.aio.AioRpcError, match="the engine is shutting down") as caught:
            await reading
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("name", "place", "said"),
    [
        ("spred", "127.0.0.1:0", "there is no engine 'spred'; there are spread, fee, liquidity, risk"),
        ("spread", "in-process", "the hub runs this engine itself"),
        ("spread", None, "the port is in use"),
    ],
)
async def test_what_cannot_be_served_is_one_sentence(name: str, place: str | None, said: str) -> None:
    """An engine that does not exist, one without a place, a port in use."""
    async with served("fee") as taken:
        made = Settings.model_validate({"engines": {"spread": {"place": place or taken}}})
        with pytest.raises(ServiceError, match=said):
            await run(made, [name], asyncio.Event())


SHARED, APART = "127.0.0.1:7411", "127.0.0.1:7412"


@pytest.mark.parametrize(
    ("names", "places", "said"),
    [
        (["spread", "news"], {"spread": SHARED}, "there is no engine 'news'"),
        (["spread", "fee"], {"spread": SHARED}, 'engines.fee.place is "in-process"'),
        (
            ["spread", "fee"],
            {"spread": SHARED, "fee": APART},
            f"engines.spread.place is {SHARED} but engines.fee.place is {APART}: engines share a process only at one",
        ),
        (
            ["fee"],
            {"spread": SHARED, "fee": SHARED, "risk": APART},
            f"spread also has the place {SHARED}, .* run 'arbhub engine spread fee'",
        ),
        (
            ["risk", "spread"],
            dict.fromkeys(ENGINES, SHARED),
            f"fee and liquidity also have the place {SHARED}, .* run 'arbhub engine spread fee liquidity risk'",
        ),
        (
            ["spread", "fee"],
            {"spread": [SHARED, APART], "fee": [SHARED, APART]},
            f"engines.spread.place has 2 replicas, {SHARED}, {APART}: say which of them this process is, such as "
            f"--set engines.spread.place={SHARED} --set engines.fee.place={SHARED}",
        ),
    ],
)
async def test_which_engines_share_a_process(names: list[str], places: dict[str, Any], said: str) -> None:
    """All that have one place, and no others: anything else is one sentence."""
    made = Settings.model_validate({"engines": {name: {"place": place} for name, place in places.items()}})
    with pytest.raises(ServiceError, match=said):
        await run(made, names, asyncio.Event())
