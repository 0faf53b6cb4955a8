"""A hub that sends on and on and never reads: its stream ends at a bound, and the next one is served."""

import asyncio
from pathlib import Path

import grpc
import pytest
import structlog
from executor_probes import A, B, Decision
from test_executor_server import Hub, serving, settings

from arbhub.service import channel
from executor import server


async def test_a_hub_that_never_reads_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was told is given up; whoever connects then gets the next epoch, and answers."""
    monkeypatch.setattr(server, "MAX_UNREAD", 2000)
    with structlog.testing.capture_logs() as logs:
        async with serving(settings(tmp_path / "ledger.db")) as at, channel(at) as wire:
            deaf = Hub(wire)
            await deaf.begin()
            late = [Decision(number, -5000.0) for number in range(100)]  # expired long ago: a report each
            async with asyncio.timeout(60):
                while not any(entry["event"] == "hub cut off" for entry in logs):
                    await deaf.call.write(deaf.batch([A, B], late))
            async with channel(at) as other_wire:
                other = Hub(other_wire)
                assert (await other.begin()).epoch == 2
                await other.call.write(other.batch([A, B]))
                async with asyncio.timeout(20):
                    assert (await other.call.read()).ack.batch_id == 1
                other.call.cancel()
                await other.call.code()
            with pytest.raises(grpc.aio.AioRpcError, match="replies are not being read") as caught:
                await asyncio.wait_for(_read_all(deaf), 20)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [entry["reason"] for entry in logs if entry["event"] == "hub cut off"] == [
        "replies are not being read as fast as batches are sent"
    ]


async def _read_all(hub: Hub) -> None:
    while await hub.call.read() is not grpc.aio.EOF:
        pass
