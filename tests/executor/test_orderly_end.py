"""An executor that is asked to end lets the orders that are under way come to their end, for a while."""

import contextlib
import sqlite3
from pathlib import Path

import grpc
import pytest
from executor_probes import A, B, Decision
from test_executor_server import Hub, serving, settings

from arbhub.service import channel
from executor import server


async def _ended_with_an_order_under_way(ledger: Path, latency_ms: float) -> list[str]:
    """The states of both legs' orders in the ledger of an executor that has ended."""
    async with contextlib.AsyncExitStack() as stack:
        async with serving(settings(ledger, latency_ms=latency_ms)) as at:
            hub = Hub(await stack.enter_async_context(channel(at)))
            await hub.begin()
            await hub.call.write(hub.batch([A, B], [Decision(1, 0.0)]))
            while (reply := await hub.call.read()).WhichOneof("frame") != "ack":
                assert reply.WhichOneof("frame") == "report"
        assert await hub.call.code() is grpc.StatusCode.UNAVAILABLE
    with sqlite3.connect(ledger) as written:
        return [status for (status,) in written.execute("SELECT status FROM orders ORDER BY client_order_id")]


async def test_orders_under_way_are_finished(tmp_path: Path) -> None:
    """They meet their books after the latency, as ever, though no hub is there any more."""
    assert await _ended_with_an_order_under_way(tmp_path / "ledger.db", 400.0) == ["filled", "filled"]


async def test_orders_that_take_too_long_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a crash would leave them: written down, and the next executor knows that they never met a book."""
    monkeypatch.setattr(server, "LAST_ORDERS_S", 0.05)
    assert await _ended_with_an_order_under_way(tmp_path / "ledger.db", 60_000.0) == ["sent", "sent"]
