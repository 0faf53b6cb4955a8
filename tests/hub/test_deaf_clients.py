"""Clients that stop reading their decisions and send nothing more: their time ends, too, and nobody waits for them."""

import asyncio
import contextlib

import grpc
import pytest
import structlog
from hub_probes import FeedClient, ScriptedExecutor, cheap, client_of, dear, hub_of, market, settings, status_of, within

from arbhub.control import encode_reference
from arbhub.service import channel
from arbhub.v1 import hub_pb2
from engines.table import ENGINES
from hub import server, session
from hub.hub import Hub
from hub.session import Session

S = 1_000_000_000


async def test_time_counts_from_the_last_frame_that_was_read() -> None:
    """Not from the first unread one, and not where there is nothing to read; a little reading is enough."""
    asked = Session(Hub(settings(), {name: engine() for name, engine in ENGINES.items()}))
    assert not asked.stalled(1000 * S)
    asked.take(hub_pb2.StreamRequest(reference=encode_reference(market())).SerializeToString())
    assert [asked.stalled(at * S) for at in (1009, 1010, 1011)] == [False, False, True]
    asked.take(hub_pb2.StreamRequest(reference=encode_reference(market())).SerializeToString())
    asked.pop()
    asked.written += 1
    assert [asked.stalled(at * S) for at in (1012, 1022, 1023)] == [False, False, True]
    asked.pop()  # it is on its way, and stays there
    assert asked.stalled(1024 * S)
    asked.written += 1
    assert [asked.stalled(at * S) for at in (1025, 2000, 3000)] == [False] * 3


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_client_that_stops_reading_is_disconnected(monkeypatch: pytest.MonkeyPatch, goes_on: bool) -> None:
    """It keeps within every other bound: cut off after the time there is, told so when it reads, others unaffected."""
    for module in (server, session):
        monkeypatch.setattr(module, "MAX_UNREAD_S", 0.4)
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(ScriptedExecutor().served())
        logs = stack.enter_context(structlog.testing.capture_logs())
        at = await stack.enter_async_context(hub_of(settings(place)))
        await status_of(at, lambda s: s.executor_up, "the executor")
        other = await stack.enter_async_context(client_of(at))
        deaf = FeedClient(await stack.enter_async_context(channel(at)))
        await deaf.refer()
        rows = [cheap(), dear()] * 500
        for _ in range(150):
            await deaf.call.write(deaf.batch(rows))

        async def cut_off() -> None:
            while not any(entry.get("code") == "RESOURCE_EXHAUSTED" for entry in logs):
                assert (await other.ask(cheap(), dear()))[1] == ""

        await within(cut_off(), "the end of the deaf client's stream")
        if goes_on:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await deaf.call.write(deaf.batch(rows))

        async def read_on() -> None:
            while await deaf.call.read() is not grpc.aio.EOF:
                pass

        with pytest.raises(grpc.aio.AioRpcError, match="have not been read") as caught:
            await within(read_on(), "the end")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for _ in range(20):
            assert (await other.ask(cheap(), dear()))[1] == ""
    refused = [entry["reason"] for entry in logs if entry["event"] == "stream refused"]
    assert refused == ["decisions have not been read for 0.4 s"]
    assert not [entry for entry in logs if entry["log_level"] == "error"]
