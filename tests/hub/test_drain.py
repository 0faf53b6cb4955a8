"""A hub in a process of its own, asked to end while it is busy: it says so, decides what it took, and is gone."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tomli_w
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hub_probes import (
    LONG_MS,
    FakeEngine,
    FeedClient,
    ScriptedExecutor,
    SilentEngine,
    SlowEngine,
    cheap,
    client_of,
    dear,
    status_of,
    within,
)

from arbhub.processes import free_ports
from arbhub.service import channel

END_S = 5.0  # what a supervisor may be told to wait
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class HubProcess:
    """The process, its address, and its health as it is watched from before its end."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, health: Any) -> None:
        self.process, self.address, self._health = process, address, health

    async def terminate(self) -> None:
        """Ask it to end, and wait until it says that it does."""
        self.process.terminate()
        while (await within(self._health.read(), "the end's begin")).status != NOT_SERVING:
            pass

    async def ended(self) -> int:
        """How it ended; TimeoutError where it did not in time."""
        return await asyncio.wait_for(self.process.wait(), END_S)


@contextlib.asynccontextmanager
async def hub_process(folder: Path, executor: str, engines: dict[str, Any], **hub: Any) -> AsyncIterator[HubProcess]:
    """A hub that answers; killed where a test leaves it alive."""
    address, admin, http = [f"127.0.0.1:{port}" for port in free_ports(3)]
    config = folder / "hub.toml"
    own = {"listen": address, "admin_listen": admin, "http_listen": http, "state_dir": str(folder / "state")}
    content = {"hub": own | hub, "executor": {"listen": executor}, "engines": engines}
    config.write_text(tomli_w.dumps(content))
    words = (sys.executable, "-m", "arbhub", "hub", "--config", str(config))
    with (folder / "hub.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*words, stdout=log, stderr=log)
    try:
        async with channel(address) as wire:
            check = health_pb2.HealthCheckRequest()
            stub = health_pb2_grpc.HealthStub(wire)
            await within(stub.Check(check, wait_for_ready=True), "the hub")
            health: Any = stub.Watch(check)
            assert (await within(health.read())).status == SERVING
            yield HubProcess(process, address, health)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def amid_a_round(folder: Path, engine: FakeEngine) -> AsyncIterator[tuple[HubProcess, FeedClient]]:
    """A hub whose one engine elsewhere has been asked about two ticks of a client, and a minute to wait for it."""
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(engine.served())
        made = hub_process(folder, "127.0.0.1:1", {"spread": {"place": place}}, deadline_ms=LONG_MS)
        hub = await stack.enter_async_context(made)
        await status_of(hub.address, lambda s: s.engines[0].up, "the engine")
        client = await stack.enter_async_context(client_of(hub.address))
        await client.send(cheap(), dear())
        await engine.until(lambda: "batch" in engine.kinds(), "the question")
        yield hub, client


async def test_rounds_in_flight_are_finished(tmp_path: Path) -> None:
    """A question is out: its answer still counts, the decision reaches the client and the executor; then exit 0."""
    slow, executor = SlowEngine("spread"), ScriptedExecutor()
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(slow.served())
        at = await stack.enter_async_context(executor.served())
        rules = {"deadline_ms": LONG_MS, "min_net_edge_bps": -1000.0}
        hub = await stack.enter_async_context(hub_process(tmp_path, at, {"spread": {"place": place}}, **rules))
        await status_of(hub.address, lambda s: s.executor_up and s.engines[0].up, "everyone")
        client = await stack.enter_async_context(client_of(hub.address))
        await client.send(cheap(), dear())
        await slow.until(lambda: "batch" in slow.kinds(), "the question")
        await hub.terminate()
        slow.allowed.release()
        assert [decided.approved for decided in (await client.decided())[1]] == [False, True]
        assert await hub.ended() == 0
        assert ("decision", 1) in executor.events()


async def test_under_ticks_every_batch_is_answered_in_turn(tmp_path: Path) -> None:
    """Ticks come on and on: what was taken is decided, once and in order, until the stream is ended; then exit 0."""
    async with ScriptedExecutor().served() as at, hub_process(tmp_path, at, {}) as hub:
        await status_of(hub.address, lambda s: s.executor_up, "the executor")
        async with client_of(hub.address) as client:
            answered: list[int] = []

            async def trade() -> None:
                for _ in range(8):
                    await client.send(cheap(), dear())
                while True:
                    answered.append((await client.decided())[0].batch_id)
                    await client.send(cheap(), dear())

            trading = asyncio.create_task(trade())
            await status_of(hub.address, lambda s: s.ticks > 400, "some decisions")
            await hub.terminate()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await within(trading, "the end of the stream")
            # Where a write of its own fails on the ended stream, its library calls the end by that.
            assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
            assert answered == list(range(1, len(answered) + 1))
            assert await hub.ended() == 0


async def test_who_comes_during_the_end_is_turned_away(tmp_path: Path) -> None:
    """A client whose stream was ended comes again at once: what it would be taken in with, nobody would answer."""
    slow = SlowEngine("spread")
    async with amid_a_round(tmp_path, slow) as (hub, client), contextlib.AsyncExitStack() as stack:
        await hub.terminate()
        with pytest.raises(grpc.aio.AioRpcError, match="the hub is shutting down"):
            await stack.enter_async_context(client_of(hub.address))
        slow.allowed.release()
        assert len((await client.decided())[1]) == 2
        assert await hub.ended() == 0


async def test_an_engine_that_hangs_holds_up_no_end(tmp_path: Path) -> None:
    """However long the deadline is: rounds are given a while, and then the process ends by itself, with 0."""
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(SilentEngine("spread").served())
        hub = await stack.enter_async_context(
            hub_process(
                tmp_path, "127.0.0.1:1", {"spread": {"place": place, "budget_ms": LONG_MS}}, deadline_ms=LONG_MS
            )
        )
        await status_of(hub.address, lambda s: s.engines[0].up, "the engine")
        client = await stack.enter_async_context(client_of(hub.address))
        await client.send(cheap(), dear())
        await hub.terminate()
        assert await hub.ended() == 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """While it waits for a round that takes a minute: not 0, as it was not finished."""
    async with amid_a_round(tmp_path, SilentEngine("spread")) as (hub, _):
        await hub.terminate()
        hub.process.terminate()
        assert await hub.ended() == 1
