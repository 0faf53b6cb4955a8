"""Services of a running arbhub asked to end while it trades: each says so, ends in order, and may be started again."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running_arbhub import PATIENCE_S, RunningArbhub

pytestmark = pytest.mark.asyncio(loop_scope="module")

END_S = 5.0  # what a supervisor may be told to wait


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def arbhub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningArbhub]:
    """Everything running, ended afterwards."""
    async with RunningArbhub(tmp_path_factory.mktemp("arbhub")).running() as running:
        yield running


async def ended(arbhub: RunningArbhub, name: str) -> int:
    """Ask a service to end; it has to say NOT_SERVING before it is gone. Its exit code."""
    child = next(child for child in arbhub.household.children if child.service.name == name)
    async with grpc.aio.insecure_channel(child.service.address) as wire:
        health: Any = health_pb2_grpc.HealthStub(wire).Watch(health_pb2.HealthCheckRequest())
        async with asyncio.timeout(PATIENCE_S):
            assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
            child.process.terminate()
            while (await health.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                pass
        code = await asyncio.wait_for(child.process.wait(), END_S)
    arbhub.household.children.remove(child)
    return code


def lines(arbhub: RunningArbhub, name: str) -> list[str]:
    """What a service has said."""
    return (arbhub.folder / f"{name}.log").read_text().splitlines()


@pytest.mark.parametrize("name", ["feed", "engine spread", "engine risk", "executor", "hub"])
async def test_a_service_ends_in_order_under_ticks(arbhub: RunningArbhub, name: str) -> None:
    """NOT_SERVING, exit 0 in time, nothing amiss in its log; started again alone, approvals come back."""
    await arbhub.until(lambda s: s.approved > 0 and s.fills > 0, "fills")
    said = len(lines(arbhub, name))
    assert await ended(arbhub, name) == 0
    assert not [line for line in lines(arbhub, name)[said:] if "Traceback" in line or "error" in line.lower()]
    await arbhub.start(name)
    before = await arbhub.until(lambda s: all(e.up for e in s.engines) and s.executor_up, "everyone")
    await arbhub.until(lambda s: s.approved > before.approved, "approvals")


async def test_an_executor_leaves_a_whole_ledger(arbhub: RunningArbhub) -> None:
    """No order is left under way, and what its file says of positions is the sum of its fills.

    What could not be traded back yet, for want of a book, stays open for the next executor to take up.
    """
    await arbhub.until(lambda s: s.fills > 0 and s.executor_up, "fills")
    assert await ended(arbhub, "executor") == 0
    with sqlite3.connect(f"file:{arbhub.folder / 'ledger.db'}?mode=ro", uri=True) as ledger:
        (check,) = ledger.execute("PRAGMA integrity_check").fetchone()
        orders = dict(ledger.execute("SELECT status, count(*) FROM orders GROUP BY status").fetchall())
        fills = ledger.execute("SELECT venue, symbol, buy, quantity FROM fills").fetchall()
        positions = ledger.execute("SELECT venue, symbol, quantity FROM positions").fetchall()
    await arbhub.start("executor")
    total: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for venue, symbol, buy, quantity in fills:
        total[venue, symbol] += Decimal(str(quantity)) * (1 if buy else -1)
    assert check == "ok"
    assert (orders.get("sent", 0), orders.get("filled", 0) > 0) == (0, True)
    assert {(venue, symbol): Decimal(str(quantity)) for venue, symbol, quantity in positions} == total
