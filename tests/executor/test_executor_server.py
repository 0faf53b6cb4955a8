"""The service over a real socket: the stream's order, fences, silence, malformed batches, kill -9."""

import asyncio
import contextlib
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import structlog
from executor_probes import ASKS_A, BIDS_B, CHEAP, DEAR, A, B, Decision, Tick, decisions_of, market, ticks_of
from grpc_health.v1 import health_pb2, health_pb2_grpc

from arbhub.control import encode_reference
from arbhub.reference import Universe
from arbhub.service import ServiceError, channel
from arbhub.settings.schema import ExecutorSettings, Settings
from arbhub.settings.secret import SecretUrl
from arbhub.v1 import executor_pb2, executor_pb2_grpc, ledger_pb2
from arbhub.wire import encode_decisions, encode_ticks
from executor.server import run

EXECUTED, DENIED = ledger_pb2.REPORT_KIND_EXECUTED, ledger_pb2.REPORT_KIND_DENIED


def settings(ledger: Path, **executor: Any) -> Settings:
    """An executor on any free port."""
    return Settings(
        executor=ExecutorSettings(listen="127.0.0.1:0", ledger_url=SecretUrl(f"sqlite:///{ledger}"), **executor)
    )


@contextlib.asynccontextmanager
async def serving(made: Settings) -> AsyncIterator[str]:
    """A served executor's address."""
    shutdown, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    served = asyncio.create_task(run(made, shutdown, port.set_result))
    done, _ = await asyncio.wait([served, port], return_when=asyncio.FIRST_COMPLETED)
    if served in done:
        await served
    try:
        yield f"127.0.0.1:{port.result()}"
    finally:
        shutdown.set()
        await served


class Hub:
    """The hub's end of one stream; numbers its ticks from 0."""

    def __init__(self, open_channel: grpc.aio.Channel, universe: Universe | None = None) -> None:
        self.universe = universe or market()
        self.call: Any = executor_pb2_grpc.ExecutorStub(open_channel).Execute()
        self.sequence = self.batches = 0

    async def begin(self) -> ledger_pb2.StateSnapshot:
        """Configuration and reference data; the snapshot that answers."""
        configuration = executor_pb2.ExecuteRequest()
        configuration.configuration.version = "1-abc"
        await self.call.write(configuration)
        await self.refer()
        snapshot: ledger_pb2.StateSnapshot = (await self.call.read()).snapshot
        return snapshot

    async def refer(self) -> None:
        """Reference data."""
        await self.call.write(executor_pb2.ExecuteRequest(reference=encode_reference(self.universe)))

    def batch(self, ticks: list[Tick], decisions: list[Decision] = []) -> executor_pb2.ExecuteRequest:  # noqa: B006
        """A batch of one slice."""
        self.batches += 1
        request = executor_pb2.ExecuteRequest()
        request.batch.batch_id = self.batches
        part = request.batch.slices.add()
        part.tick_sequence.extend(range(self.sequence, self.sequence + len(ticks)))
        part.ticks.MergeFromString(encode_ticks(ticks_of(self.universe, ticks)))
        part.decisions.MergeFromString(encode_decisions(decisions_of(self.universe, decisions)))
        self.sequence += len(ticks)
        return request

    async def send(self, ticks: list[Tick], decisions: list[Decision] = []) -> list[ledger_pb2.Report]:  # noqa: B006
        """A batch; the reports before its acknowledgement."""
        request = self.batch(ticks, decisions)
        await self.call.write(request)
        reports = []
        while (reply := await self.call.read()).WhichOneof("frame") == "report":
            reports.append(reply.report)
        assert reply.ack.batch_id == request.batch.batch_id
        return reports


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """An executor on a fresh ledger, slow enough that nothing completes in silence."""
    async with serving(settings(tmp_path / "ledger.db", latency_ms=60_000.0)) as at:
        yield at


async def test_a_stream_from_snapshot_to_fill(address: str) -> None:
    """Snapshot with an epoch, then reports and an acknowledgement for each batch."""
    async with channel(address) as open_channel:
        hub = Hub(open_channel)
        snapshot = await hub.begin()
        assert (snapshot.epoch, snapshot.unlimited_balances) == (1, True)
        assert snapshot.values.trading_state == ledger_pb2.TRADING_STATE_ACTIVE
        assert await hub.send([A, B], [Decision(1, 0)]) == []
        (report,) = await hub.send([Tick(60_000, "A", [], [])])
        assert (report.kind, report.epoch, report.sequence, len(report.fills)) == (EXECUTED, 1, 1, 2)
        assert (await hub.send([], [Decision(1, 0)]))[0].reason == "DUPLICATE"


async def test_a_newer_stream_fences_the_older(address: str) -> None:
    """Decisions on the older stream are denied, its ticks are nothing; the newer one sees the snapshot."""
    async with channel(address) as open_channel:
        old, new = Hub(open_channel), Hub(open_channel, market(venues=("B", "A")))
        await old.begin()
        await old.send([A, B], [Decision(1, 0)])
        snapshot = await new.begin()
        assert snapshot.epoch == 2
        assert [a.open_decisions for a in snapshot.values.activity] == [1]
        (denied,) = await old.send([Tick(70_000, "A", [], [])], [Decision(2, 70_000)])
        assert (denied.kind, denied.reason, denied.epoch) == (DENIED, "STALE_EPOCH", 1)
        (report,) = await new.send([Tick(60_000, "A", CHEAP, ASKS_A)])
        assert (report.kind, report.epoch, len(report.fills)) == (EXECUTED, 1, 2)


async def test_fills_complete_although_the_feed_is_silent(tmp_path: Path) -> None:
    """Without another batch, time passes by itself until what is due has completed."""
    async with serving(settings(tmp_path / "ledger.db", latency_ms=5.0)) as at, channel(at) as open_channel:
        hub = Hub(open_channel)
        await hub.begin()
        await hub.send([A, Tick(0, "B", [(103.0, 0.5)], DEAR)], [Decision(1, 0)])
        reports = [(await hub.call.read()).report for _ in range(2)]
        assert [(r.sequence, r.unhedged) for r in reports] == [(1, 0.5), (1, 0.0)]


async def test_reference_data_may_grow(address: str) -> None:
    """More venues later on the same stream, with ids after the earlier ones."""
    async with channel(address) as open_channel:
        hub = Hub(open_channel)
        await hub.begin()
        await hub.send([A])
        hub.universe.merge(market(venues="ABC").data())
        await hub.refer()
        await hub.send([Tick(1, "C", BIDS_B, DEAR)], [Decision(1, 1, sell="C")])
        (report,) = await hub.send([Tick(60_001, "A", [], [])])
        assert [fill.venue for fill in report.fills] == ["A", "C"]


def _cut(column: str, by: int = 1) -> Any:
    def change(request: executor_pb2.ExecuteRequest) -> None:
        part = request.batch.slices[0]
        for message in (part, part.ticks, part.decisions):
            if column in message.DESCRIPTOR.fields_by_name:
                del getattr(message, column)[-by:]
                return

    return change


def _set(message: str, column: str, value: float) -> Any:
    def change(request: executor_pb2.ExecuteRequest) -> None:
        getattr(getattr(request.batch.slices[0], message), column)[0] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cut("tick_sequence"), "column tick_sequence has 1 values where the slice has 2 ticks"),
        (_cut("venue"), "column venue has 1 values where "),
        (_cut("ask_price"), "column ask_price has 1 values where ask_levels adds up to 2"),
        (_cut("sell_limit"), "column sell_limit has 0 values where "),
        (_set("ticks", "venue", 2), "column venue has the id 2 where reference data name 2"),
        (_set("ticks", "instrument", 9), "column instrument has the id 9 where reference data name 2"),
        (_set("decisions", "buy_venue", 0xFFFFFFFF), "column buy_venue has the id 4294967295 where reference data"),
        (_set("decisions", "sell_limit", float("nan")), "column sell_limit has nan in an approved decision"),
        (_set("decisions", "buy_ask", 0.0), "column buy_ask has 0.0 in an approved decision"),
    ],
)
async def test_a_malformed_batch_is_refused_whole(address: str, change: Any, said: str) -> None:
    """INVALID_ARGUMENT names the column, earlier batches are acknowledged, and others are served on."""
    async with channel(address) as open_channel:
        hub = Hub(open_channel)
        await hub.begin()
        good, bad = (
            hub.batch([A]),
            hub.batch([Tick(1, "B", BIDS_B, DEAR), Tick(2, "A", [], ASKS_A[:1])], [Decision(2, 2)]),
        )
        change(bad)
        await hub.call.write(good)
        await hub.call.write(bad)
        assert (await hub.call.read()).ack.batch_id == 1
        with pytest.raises(grpc.aio.AioRpcError, match=said) as caught:
            await hub.call.read()
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert (await Hub(open_channel).begin()).epoch == 2


async def test_a_batch_before_reference_data_is_refused(address: str) -> None:
    """Ids have no meaning yet."""
    async with channel(address) as open_channel:
        hub = Hub(open_channel)
        await hub.call.write(hub.batch([A]))
        with pytest.raises(grpc.aio.AioRpcError, match="before any reference data") as caught:
            await hub.call.read()
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_names_must_not_change_their_ids(address: str) -> None:
    """Reference data that renumber venues are refused."""
    async with channel(address) as open_channel:
        hub = Hub(open_channel)
        await hub.begin()
        hub.universe = market(venues=("B", "A"))
        await hub.refer()
        with pytest.raises(grpc.aio.AioRpcError, match="venues are not the earlier ones"):
            await hub.call.read()


async def test_shutdown_ends_streams_and_the_next_executor_goes_on(tmp_path: Path) -> None:
    """An open stream ends UNAVAILABLE at once; what was in flight is cancelled by the next epoch."""
    made = settings(tmp_path / "ledger.db", latency_ms=60_000.0)
    async with contextlib.AsyncExitStack() as stack:
        async with serving(made) as at:
            open_channel = await stack.enter_async_context(channel(at))
            checked = await health_pb2_grpc.HealthStub(open_channel).Check(health_pb2.HealthCheckRequest())
            assert checked.status == health_pb2.HealthCheckResponse.SERVING
            hub = Hub(open_channel)
            await hub.begin()
            await hub.send([A, B], [Decision(1, 0)])
            ended = asyncio.create_task(hub.call.read())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ended
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    async with serving(made) as at, channel(at) as open_channel:
        snapshot = await Hub(open_channel).begin()
        assert snapshot.epoch == 2
        assert [a.open_decisions for a in snapshot.values.activity] == [0]


async def test_another_executor_takes_the_ledger(tmp_path: Path) -> None:
    """The first executor's stream ends with a sentence instead of trading on."""
    made = settings(tmp_path / "ledger.db", latency_ms=60_000.0)
    async with serving(made) as one, serving(made) as two, channel(one) as to_one, channel(two) as to_two:
        first = Hub(to_one)
        await first.begin()
        assert (await Hub(to_two).begin()).epoch == 2
        await first.call.write(first.batch([A, B], [Decision(1, 0)]))
        with pytest.raises(grpc.aio.AioRpcError, match="epoch 1 no longer holds the ledger") as caught:
            await first.call.read()
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert (await Hub(to_one).begin()).epoch == 3


async def test_live_is_refused(tmp_path: Path) -> None:
    """Live trading is not built, and says so."""
    with pytest.raises(ServiceError, match='trading_mode is "live", which is not built yet: only "paper" is allowed'):
        await run(settings(tmp_path / "ledger.db", trading_mode="live"), asyncio.Event())


async def test_a_port_in_use_is_said(tmp_path: Path, address: str) -> None:
    """One sentence names the address."""
    taken = ExecutorSettings(listen=address, ledger_url=SecretUrl(f"sqlite:///{tmp_path / 'other.db'}"))
    with pytest.raises(ServiceError, match=f"cannot listen on {address}"):
        await run(Settings(executor=taken), asyncio.Event())


async def test_a_ledger_that_fails_in_the_silence_ends_the_stream(tmp_path: Path) -> None:
    """What was due could not be written: the next batch says so, and a new connection finds the truth."""
    ledger = tmp_path / "ledger.db"
    async with serving(settings(ledger, latency_ms=5.0)) as at, channel(at) as open_channel:
        hub = Hub(open_channel)
        await hub.begin()
        with structlog.testing.capture_logs() as logs:
            with sqlite3.connect(ledger, isolation_level=None) as other:
                other.execute("ALTER TABLE fills RENAME TO gone")
            other.close()
            await hub.send([A, B], [Decision(1, 0)])
            while not any(entry["log_level"] == "error" for entry in logs):  # noqa: ASYNC110  # sets no event
                await asyncio.sleep(0.005)
        await hub.call.write(hub.batch([A]))
        with pytest.raises(grpc.aio.AioRpcError, match="connect again") as caught:
            await hub.call.read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        with sqlite3.connect(ledger, isolation_level=None) as other:
            other.execute("ALTER TABLE gone RENAME TO fills")
        other.close()
        snapshot = await Hub(open_channel).begin()
        assert (snapshot.epoch, len(snapshot.values.positions)) == (2, 0)


async def test_a_bad_ledger_stops_the_start(tmp_path: Path) -> None:
    """The sentence about the ledger comes before anything is served."""
    with pytest.raises(ServiceError, match="is a directory"):
        await run(settings(tmp_path), asyncio.Event())


PROGRAM = """
import asyncio, sys
from pathlib import Path
from arbhub.settings.schema import ExecutorSettings, Settings
from executor.server import run
made = ExecutorSettings(listen="127.0.0.1:0", ledger_url="sqlite:///" + sys.argv[1], latency_ms=10.0)
asyncio.run(run(Settings(executor=made), asyncio.Event(), lambda port: Path(sys.argv[2]).write_text(f"{port}")))
"""


async def killed_mid_stream(ledger: Path, fed: int) -> set[tuple[int, int]]:
    """Run an executor process, feed it, kill -9 it after so many batches; the decisions reported as executed."""
    told = ledger.with_suffix(".port")
    told.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, str(ledger), str(told))
    try:
        while not (told.exists() and told.read_text()):
            assert process.returncode is None
            await asyncio.sleep(0.01)
        async with channel(f"127.0.0.1:{told.read_text()}") as open_channel:
            hub, executed = Hub(open_channel), set()
            epoch = (await hub.begin()).epoch
            for number in range(fed):
                size = 1.0 + number % 7 / 10
                at = [Tick(number * 4, "A", CHEAP, [(100.0, size)]), Tick(number * 4, "B", [(103.0, 0.9)], DEAR)]
                reports = await hub.send(at, [Decision(number * 2 + 1, number * 4)])
                executed |= {(r.epoch, r.sequence) for r in reports if r.kind == EXECUTED}
            await hub.call.write(hub.batch([Tick(9000, "A", [], [])]))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        assert executed
        assert {e for e, _ in executed} <= {epoch}
        return executed
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_kill_nine_and_restart_executes_nothing_twice(tmp_path: Path) -> None:
    """Killed in the middle of a stream three times over, the ledger keeps what was reported and adds up."""
    from sqlalchemy import func, select

    from executor import tables
    from executor.opening import open_ledger

    ledger = tmp_path / "ledger.db"
    executed: set[tuple[int, int]] = set()
    for fed in np.random.default_rng(7).integers(8, 30, 3).tolist():
        executed |= await killed_mid_stream(ledger, fed)
    engine = open_ledger(f"sqlite:///{ledger}")  # refuses what does not add up
    o, d = tables.orders.c, tables.decisions.c
    with engine.begin() as connection:
        done = set(connection.execute(select(d.epoch, d.sequence).where(d.status.in_(["done", "open"]))).all())
        legs = select(func.count()).where(o.leg != "flat").group_by(o.epoch, o.sequence)
        assert set(connection.execute(legs).scalars()) == {2}
        assert executed <= {tuple(row) for row in done}
        assert connection.execute(select(func.max(tables.epochs.c.epoch))).scalar_one() == 3
    engine.dispose()
