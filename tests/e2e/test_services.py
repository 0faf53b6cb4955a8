"""Sandbox, ccxt.pro, feed, hub, four engine processes, paper executor and ledger over real sockets.

The tests share one running arbhub and leave it whole; each kills something and starts it again.
"""

import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator
from decimal import Decimal

import grpc
import pytest
import pytest_asyncio
from running_arbhub import PATIENCE_S, RunningArbhub, states

from arbhub.v1 import hub_pb2, hub_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENOUGH = 20  # decisions that are to be seen before something is believed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def arbhub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningArbhub]:
    """Everything running, ended afterwards."""
    async with RunningArbhub(tmp_path_factory.mktemp("arbhub")).running() as running:
        yield running


def opportunities(status: hub_pb2.Status) -> int:
    """How many ticks had an opportunity."""
    none = sum(status.rejected.get(reason, 0) for reason in ("NO_COUNTERPART", "SAME_VENUE", "SHED"))
    return status.ticks - none


async def test_real_books_become_paper_fills(arbhub: RunningArbhub) -> None:
    """Every tick of three venues read through ccxt is decided, and approved ones are filled and booked."""
    status = await arbhub.until(lambda s: s.fills >= 4 and s.ticks > 50, "fills")
    assert {(b.venue, b.symbol) for b in status.books} == {
        (venue, symbol) for venue in ("EX1", "EX2", "EX3") for symbol in ("BTC/USDT", "ETH/USDT")
    }
    assert status.ticks == status.approved + sum(status.rejected.values())
    assert status.epoch == 1
    assert [(e.name, e.up) for e in status.engines] == [(n, True) for n in ("spread", "fee", "liquidity", "risk")]
    assert status.pnl["USDT"] != 0


async def test_every_position_is_the_sum_of_its_fills(arbhub: RunningArbhub) -> None:
    """What the ledger's file says of positions agrees with its fills."""
    await arbhub.until(lambda s: s.fills >= 4, "fills")
    with sqlite3.connect(f"file:{arbhub.folder / 'ledger.db'}?mode=ro", uri=True) as ledger:
        ledger.execute("BEGIN")
        fills = ledger.execute("SELECT venue, symbol, buy, quantity FROM fills").fetchall()
        positions = ledger.execute("SELECT venue, symbol, quantity FROM positions").fetchall()
    total: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for venue, symbol, buy, quantity in fills:
        total[venue, symbol] += Decimal(str(quantity)) * (1 if buy else -1)
    assert fills
    assert {(venue, symbol): Decimal(str(quantity)) for venue, symbol, quantity in positions} == total


@pytest.mark.parametrize("name", ["spread", "fee", "liquidity", "risk"])
async def test_without_an_engine_nothing_is_approved_until_it_is_back(arbhub: RunningArbhub, name: str) -> None:
    """A killed engine vetoes by its silence; started again alone, approvals come back."""
    reason = f"ENGINE_TIMEOUT:{name}"
    await arbhub.kill(f"engine {name}")
    began = await arbhub.until(lambda s: s.rejected.get(reason, 0) > 0, f"{reason}")
    later = await arbhub.until(lambda s: opportunities(s) >= opportunities(began) + ENOUGH, "more decisions")
    assert later.approved == began.approved
    assert later.rejected[reason] - began.rejected[reason] == opportunities(later) - opportunities(began)
    await arbhub.start(f"engine {name}")
    await arbhub.until(lambda s: s.approved > later.approved, "approvals")


async def test_without_the_executor_nothing_is_approved_until_it_is_back(arbhub: RunningArbhub) -> None:
    """A killed executor stops approvals; started again it gives the hub a new epoch and what it had before."""
    before = await arbhub.until(lambda s: s.approved > 0, "approvals")
    await arbhub.kill("executor")
    began = await arbhub.until(lambda s: s.rejected.get("EXECUTOR_UNAVAILABLE", 0) > 0, "EXECUTOR_UNAVAILABLE")
    later = await arbhub.until(lambda s: opportunities(s) >= opportunities(began) + ENOUGH, "more decisions")
    assert later.approved == began.approved
    await arbhub.start("executor")
    after = await arbhub.until(lambda s: s.approved > later.approved, "approvals")
    assert after.epoch == before.epoch + 1
    assert after.positions


async def test_a_killed_feed_is_started_again(arbhub: RunningArbhub) -> None:
    """Without the feed no tick is decided; started again, it states everything anew."""
    await arbhub.kill("feed")
    silent = await arbhub.until(lambda s: all(not b.usable for b in s.books), "stale books")
    await arbhub.start("feed")
    again = await arbhub.until(lambda s: s.approved > silent.approved and all(b.usable for b in s.books), "approvals")
    assert again.ticks > silent.ticks


async def test_a_restarted_hub_goes_on_with_a_new_epoch(arbhub: RunningArbhub) -> None:
    """A killed hub, started again, gets full books from the feed, its state from the ledger, and a new epoch."""
    before = await arbhub.until(lambda s: s.approved > 0, "approvals")
    await arbhub.kill("hub")
    await arbhub.start("hub")
    after = await arbhub.until(lambda s: s.epoch > before.epoch and s.approved > 0 and s.fills > 0, "fills")
    assert after.epoch == before.epoch + 1
    assert len(after.books) == len(before.books)


async def test_evaluate_judges_without_a_trace(arbhub: RunningArbhub) -> None:
    """A tick judged alone is answered from the current books, and changes neither them nor the ledger."""
    await arbhub.until(lambda s: all(b.usable for b in s.books) and s.executor_up, "usable books")
    request = hub_pb2.EvaluateRequest(
        venue="EX1", symbol="BTC/USDT", bid_price=[1.0], bid_size=[1.0], ask_price=[2.0], ask_size=[1.0]
    )
    async with grpc.aio.insecure_channel(arbhub.settings.hub.listen) as wire:
        stub = hub_pb2_grpc.HubStub(wire)
        reply = await stub.Evaluate(request, timeout=5)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Evaluate(hub_pb2.EvaluateRequest(venue="EX9", symbol="BTC/USDT"), timeout=5)
    assert (reply.approved, reply.reason, reply.buy_venue) == (False, "GROSS_EDGE_TOO_HIGH", "EX1")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "venue" in str(refused.value.details())
    status = await arbhub.until(lambda _: True, "any state")
    assert all(b.bid > 100 for b in status.books)


async def test_a_silent_venue_takes_no_part_until_it_speaks_again(arbhub: RunningArbhub) -> None:
    """A venue whose stream falls silent is no leg of any decision; when it speaks again it is."""
    await arbhub.until(lambda s: all(b.usable for b in s.books) and s.executor_up, "usable books")
    await arbhub.fault("EX1", "silence")
    silent = await arbhub.until(lambda s: not any(b.usable for b in s.books if b.venue == "EX1"), "EX1 unusable")
    seen = 0
    async for status in states(arbhub.settings.hub.listen, PATIENCE_S):
        assert not any("EX1" in (e.buy_venue, e.sell_venue) for e in status.edges if status.ticks > silent.ticks + 6)
        seen = status.ticks - silent.ticks
        if seen > ENOUGH:
            break
    assert seen > ENOUGH
    await arbhub.fault("EX1", "resume")
    await arbhub.until(
        lambda s: any("EX1" in (e.buy_venue, e.sell_venue) for e in s.edges), "an edge with EX1 as a leg"
    )
