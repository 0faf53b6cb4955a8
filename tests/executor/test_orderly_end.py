"""An executor that is asked to end lets the orders that are under way come to their end, for a while."""

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from executor_probes import A, B, Decision
from test_executor_server import Hub, serving, settings

from arbhub.service import channel
from executor import server
from executor.desk import PaperDesk


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
    return _orders(ledger)


def _orders(ledger: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(ledger)) as written:
        return [status for (status,) in written.execute("SELECT status FROM orders ORDER BY client_order_id")]


async def test_orders_under_way_are_finished(tmp_path: Path) -> None:
    """They meet their books after the latency, as ever, though no hub is there any more."""
    assert await _ended_with_an_order_under_way(tmp_path / "ledger.db", 400.0) == ["filled", "filled"]


async def test_orders_of_a_turn_that_was_cut_off_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream ends while the desk is busy with its batch: what comes of that batch has its end as well."""
    step, busy, go_on = PaperDesk.step, threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        busy.set()
        assert go_on.wait(10)
        return step(*arguments)

    monkeypatch.setattr(PaperDesk, "step", held)
    ledger = tmp_path / "ledger.db"
    async with contextlib.AsyncExitStack() as stack:
        async with serving(settings(ledger, latency_ms=100.0)) as at:
            hub = Hub(await stack.enter_async_context(channel(at)))
            await hub.begin()
            await hub.call.write(hub.batch([A, B], [Decision(1, 0.0)]))
            await asyncio.to_thread(busy.wait, 10)
            freed = asyncio.create_task(_freed_by_the_end(hub, go_on))
        await freed
    assert _orders(ledger) == ["filled", "filled"]


async def _freed_by_the_end(hub: Hub, go_on: threading.Event) -> None:
    assert await hub.call.code() is grpc.StatusCode.UNAVAILABLE
    go_on.set()


async def test_orders_that_take_too_long_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a crash would leave them: written down, and the next executor knows that they never met a book."""
    monkeypatch.setattr(server, "LAST_ORDERS_S", 0.05)
    assert await _ended_with_an_order_under_way(tmp_path / "ledger.db", 60_000.0) == ["sent", "sent"]
