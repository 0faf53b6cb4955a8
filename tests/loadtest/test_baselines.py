"""The designs that the hub replaces: the hub's own decisions on the same ticks, and processes that end together."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import pytest_asyncio

from arbhub.columns import Decisions, Ints, Side, Ticks, Verdicts
from arbhub.control import encode_reference
from arbhub.processes import Child, Household, Service, free_ports
from arbhub.reference import Universe
from arbhub.settings.schema import Settings
from arbhub.v1 import hub_pb2
from arbhub.wire import batch_frame, decode_decisions, encode_ticks, submessage
from loadtest.baselines.asking import DESIGNS, Answers, Question, RemoteEngine, gather, serial
from loadtest.baselines.desk import AT_A_TIME, Desk
from loadtest.schedule import Arrivals, Market, schedule

MARKET = Market(instruments=6, venues=3, depth=3)
CUTS = (1, 1, 1, 7, 1, 150, 2)  # batches, of which one is more than is asked about at a time
BATCH = hub_pb2.StreamRequest.BATCH_FIELD_NUMBER
TICKS = hub_pb2.TickBatch.TICKS_FIELD_NUMBER
BASELINE = (sys.executable, "-m", "loadtest.baselines")
Call = grpc.aio.StreamStreamCall[bytes, hub_pb2.StreamReply]


def stream_of_ticks() -> Ticks:
    """As many ticks as the cuts have, half a second apart; a venue goes silent now and then."""
    ticks = schedule(Arrivals.POISSON, 500, 1, MARKET, 7).ticks.slice(20, 20 + sum(CUTS))
    levels = np.where(np.arange(len(ticks)) % 11 == 5, 0, 3)
    ts_ns = np.arange(1, len(ticks) + 1, dtype=np.int64) * 500_000_000
    return replace(ticks, ts_ns=ts_ns, bids=cut_to(ticks.bids, levels), asks=cut_to(ticks.asks, levels))


def cut_to(side: Side, count: Ints) -> Side:
    """The side with `count` levels of each row left."""
    real = np.arange(side.price.shape[1]) < count[:, None]
    return Side(count, np.where(real, side.price, 0.0), np.where(real, side.size, 0.0))


def reference_frame(order: int = 1) -> bytes:
    """The market as a stream's first frame; with order -1 the venues' ids are the other way round."""
    universe, data = Universe(), MARKET.reference()
    universe.merge(replace(data, venues=data.venues[::order]))
    return hub_pb2.StreamRequest(reference=encode_reference(universe)).SerializeToString()


def tick_frame(number: int, ticks: Ticks) -> bytes:
    """A batch as a frame."""
    return batch_frame(BATCH, number, submessage(TICKS, encode_ticks(ticks)))


async def exchange(call: Call, frame: bytes) -> hub_pb2.StreamReply:
    """One frame and its answer."""
    await call.write(frame)
    reply = await call.read()
    assert isinstance(reply, hub_pb2.StreamReply), await call.details()
    return reply


def opened(channel: grpc.aio.Channel) -> Call:
    """A new stream."""
    call: Call = channel.stream_stream("/arbhub.v1.Hub/Stream", None, hub_pb2.StreamReply.FromString)()
    return call


def channel_to(household: Household, name: str) -> grpc.aio.Channel:
    """A channel to one of the children."""
    return grpc.aio.insecure_channel(next(c.service.address for c in household.children if c.service.name == name))


async def decided(
    household: Household, name: str, ticks: Ticks, cuts: Sequence[int], order: int = 1
) -> list[Decisions]:
    """What a child decides on a new stream, a batch after another."""
    answers, at = [], 0
    async with channel_to(household, name) as channel:
        call = opened(channel)
        assert (await exchange(call, reference_frame(order))).WhichOneof("frame") == "names"
        for number, rows in enumerate(cuts):
            reply = await exchange(call, tick_frame(number, ticks.slice(at, at + rows)))
            assert reply.batch.batch_id == number
            answers.append(decode_decisions(reply.batch.decisions, reply.batch.reasons))
            at += rows
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    return answers


@pytest_asyncio.fixture(scope="module")
async def household(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Household]:
    """The hub with its engines in its process, and both baselines; none has an executor."""
    folder = tmp_path_factory.mktemp("baselines")
    household, (port, *ports) = Household(folder), free_ports(1 + len(DESIGNS))
    config = configuration(folder)
    words = ("hub", "--config", str(config), "--set", f"hub.listen=127.0.0.1:{port}")
    try:
        await household.start([Service("hub", words, f"127.0.0.1:{port}")])
        for design, at in zip(DESIGNS, ports, strict=True):
            household.children.append(await baseline(design, f"127.0.0.1:{at}", config))
        await household.ready(45)
        yield household
    finally:
        await household.end()


def configuration(folder: Path) -> Path:
    """A file under which no deadline passes by itself, some edges are rejected, and no executor is there."""
    config = folder / "hub.toml"
    config.write_text(
        '[hub]\nhttp_listen = ""\nadmin_listen = ""\nstate_dir = ""\n'
        'deadline_ms = 20000\nmax_quote_age_ms = 60000\n[executor]\nlisten = "127.0.0.1:1"\n'
        "[engines.fee.taker_bps]\nEX1 = 0.5\nEX2 = 1.5\n[engines.liquidity]\nmax_notional = 900.0\n"
    )
    return config


async def baseline(design: str, address: str, config: Path, *more: str) -> Child:
    """A baseline's process."""
    words = (design, "--listen", address, "--config", str(config), *more)
    process = await asyncio.create_subprocess_exec(
        *BASELINE, *words, stderr=(config.parent / f"{design}.log").open("ab"), start_new_session=True
    )
    return Child(Service(design, words, address), process)


@pytest_asyncio.fixture(scope="module")
async def of_the_hub(household: Household) -> list[Decisions]:
    """What the hub decides, asked once: its books go on from stream to stream."""
    return await decided(household, "hub", stream_of_ticks(), CUTS)


@pytest.mark.parametrize("design", DESIGNS)
async def test_decisions_are_the_hubs(household: Household, of_the_hub: list[Decisions], design: str) -> None:
    """Every column of every decision, bit for bit, from batches of one tick and of more than go at a time."""
    ours = await decided(household, design, stream_of_ticks(), CUTS)
    for our, hub in zip(ours, of_the_hub, strict=True):
        for column in (f.name for f in fields(Decisions) if f.name != "reasons"):
            if column == "reason":
                assert [our.reasons[r] for r in our.reason] == [hub.reasons[r] for r in hub.reason]
            else:
                assert np.array_equal(getattr(our, column), getattr(hub, column), equal_nan=True), column
    reasons = [answer.reasons[r] for answer in ours for r in answer.reason]
    assert set(reasons) >= {"EXECUTOR_UNAVAILABLE", "NO_COUNTERPART"}
    for column in ("gross_edge_bps", "fee_bps", "slippage_bps", "net_edge_bps", "buy_limit"):
        values = np.concatenate([getattr(answer, column) for answer in ours])
        assert len(np.unique(values[np.isfinite(values)])) > 20, column


@pytest.mark.parametrize("design", DESIGNS)
async def test_a_stream_begins_a_market_of_its_own(household: Household, design: str) -> None:
    """The same ticks are decided the same on a stream whose ids mean other venues: nothing is left over."""
    ticks = stream_of_ticks()
    first = await decided(household, design, ticks, (40,))
    turned = await decided(household, design, replace(ticks, venue=MARKET.venues - 1 - ticks.venue), (40,), order=-1)
    assert np.array_equal(first[0].net_edge_bps, turned[0].net_edge_bps, equal_nan=True)
    assert first[0].sequence.tolist() == turned[0].sequence.tolist() == list(range(40))


async def test_what_cannot_be_taken_ends_the_stream(household: Household) -> None:
    """Ticks before reference data, and ids that reference data do not name, are refused with a reason."""
    unknown = replace(stream_of_ticks().slice(0, 1), venue=np.array([9]))
    async with channel_to(household, "gather") as channel:
        for frames, said in (
            ([], "reference data once, and then ticks"),
            ([reference_frame()], "column venue has an id"),
        ):
            call = opened(channel)
            for frame in frames:
                await exchange(call, frame)
            await call.write(tick_frame(0, unknown))
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert said in (await call.details() or "")


async def test_one_stream_at_a_time(household: Household) -> None:
    """A second stream is refused while the first goes on."""
    async with channel_to(household, "serial") as channel:
        first = opened(channel)
        await exchange(first, reference_frame())
        assert await opened(channel).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await exchange(first, tick_frame(3, stream_of_ticks().slice(0, 2)))).batch.batch_id == 3
        await first.done_writing()
        assert await first.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("design", DESIGNS)
async def test_processes_end_together_and_silence_is_counted(tmp_path: Path, design: str) -> None:
    """A stopped engine leaves its part out when the time is up; SIGTERM ends the baseline and every engine."""
    (port,) = free_ports(1)
    household = Household(tmp_path)
    try:
        words = (design, f"127.0.0.1:{port}", configuration(tmp_path), "--set", "hub.deadline_ms=300")
        household.children.append(await baseline(*words))
        await household.ready(45)
        process = household.children[0].process
        engines = psutil.Process(process.pid).children()
        assert sorted(each.cmdline()[4] for each in engines) == ["fee", "liquidity", "risk", "spread"]
        async with channel_to(household, design) as channel:
            call = opened(channel)
            await exchange(call, reference_frame())
            next(each for each in engines if "liquidity" in each.cmdline()).send_signal(signal.SIGSTOP)
            batch = (await exchange(call, tick_frame(0, stream_of_ticks().slice(0, 30)))).batch
        answer = decode_decisions(batch.decisions, batch.reasons)
        assert np.isnan([answer.slippage_bps, answer.net_edge_bps]).all()
        assert np.isfinite(answer.fee_bps).any()  # the fee engine is asked before it
        os.kill(process.pid, signal.SIGTERM)
        assert await process.wait() == 0
        assert not [each for each in engines if each.is_running()]
    finally:
        await household.end()


async def test_an_engine_that_ends_ends_all(tmp_path: Path) -> None:
    """The baseline says which engine went, fails, and leaves no process behind."""
    (port,) = free_ports(1)
    household = Household(tmp_path)
    try:
        household.children.append(await baseline("gather", f"127.0.0.1:{port}", configuration(tmp_path)))
        await household.ready(45)
        engines = psutil.Process(household.children[0].process.pid).children()
        next(each for each in engines if "risk" in each.cmdline()).kill()
        assert await household.children[0].process.wait() == 1
        assert "baselines: the engine risk ended by itself" in (tmp_path / "gather.log").read_text()
        assert not [each for each in engines if each.is_running()]
    finally:
        await household.end()


def test_help_says_what_it_is_for() -> None:
    """Nobody takes a baseline for a hub to trade with."""
    done = subprocess.run((*BASELINE, "--help"), capture_output=True, text=True, timeout=60, check=True)
    assert "FOR COMPARISON ONLY" in done.stdout


class NotingEngine(RemoteEngine):
    """Notes when it is asked and when it answers, and gives up its turn in between."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self._notes = name, notes

    async def judge(self, question: Question, timeout_s: float) -> Verdicts | None:
        self._notes.append(f"{self.name} asked")
        await asyncio.sleep(0)
        self._notes.append(f"{self.name} answers")
        return None


async def test_serial_waits_for_each_engine_and_gather_for_none() -> None:
    """That is the whole difference between them."""
    notes: list[str] = []
    engines = [NotingEngine(name, notes) for name in ("fee", "risk")]
    await serial(engines, Question(b"", b""), 1.0)
    assert notes == ["fee asked", "fee answers", "risk asked", "risk answers"]
    notes.clear()
    await gather(engines, Question(b"", b""), 1.0)
    assert notes == ["fee asked", "risk asked", "fee answers", "risk answers"]


async def test_no_more_ticks_are_asked_about_than_may_be_at_a_time() -> None:
    """As many as the bound, and never one more, however large the batch."""
    asked = most = 0
    full, go_on = asyncio.Event(), asyncio.Event()

    async def held_up(_: Sequence[RemoteEngine], __: Question, ___: float) -> Answers:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        if asked == AT_A_TIME:
            full.set()
        await go_on.wait()
        asked -= 1
        return []

    desk = Desk(Settings(), [], held_up, MARKET.reference())
    deciding = asyncio.create_task(desk.decide(schedule(Arrivals.POISSON, 4000, 0.1, MARKET, 3).ticks))
    await full.wait()
    assert not deciding.done()
    go_on.set()
    answer = await deciding
    assert answer.sequence.tolist() == list(range(len(answer)))
    assert len(answer) > 300
    assert most == AT_A_TIME


async def test_an_empty_batch_is_answered() -> None:
    """With no decisions, as by the hub."""
    none = stream_of_ticks().slice(0, 0)
    assert len(await Desk(Settings(), [], gather, MARKET.reference()).decide(none)) == 0
