"""The executor's configuration and trading state changed over a hub's stream: at its place, and over restarts."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from executor_probes import A, B, Decision, Tick
from test_executor_server import DENIED, EXECUTED, Hub, serving, settings

from arbhub.engine import EngineConfiguration
from arbhub.service import channel
from arbhub.settings.risk import RiskSettings
from arbhub.v1 import engine_pb2, executor_pb2
from arbhub.v1.ledger_pb2 import TradingState

HALTED, REDUCING, ACTIVE = (
    TradingState.TRADING_STATE_HALTED,
    TradingState.TRADING_STATE_REDUCING,
    TradingState.TRADING_STATE_ACTIVE,
)
Request = executor_pb2.ExecuteRequest
TINY = EngineConfiguration(risk=RiskSettings(max_notional_per_order=1.0)).model_dump_json().encode()


class ChangingHub(Hub):
    """A hub that changes things."""

    async def tell(self, **frame: Any) -> None:
        """A frame."""
        await self.call.write(Request(**frame))

    async def offer(self, version: str, content: bytes = TINY) -> engine_pb2.OfferReply:
        """The answer to an offer."""
        await self.tell(offer=engine_pb2.Offer(version=version, settings_json=content))
        reply: engine_pb2.OfferReply = (await self.call.read()).offer_reply
        return reply

    async def trade(self, state: Any) -> Any:
        """The answer to a trading state."""
        await self.tell(trading=executor_pb2.SetTrading(state=state))
        return (await self.call.read()).trading.state

    async def outcome(self, ms: float) -> tuple[int, str]:
        """What becomes of an arbitrage decided now, a minute later."""
        decision = Decision(self.sequence + 1, ms)
        reports = await self.send([A._replace(ms=ms), B._replace(ms=ms)], [decision])
        reports += await self.send([Tick(ms + 60_000, "A", [], [])])
        return reports[0].kind, reports[0].reason


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ChangingHub]:
    """Connected."""
    async with serving(settings(tmp_path / "ledger.db", latency_ms=60_000.0)) as at, channel(at) as wire:
        hub = ChangingHub(wire)
        await hub.begin()
        yield hub


async def test_the_gate_keeps_new_limits_from_their_commit_on(hub: ChangingHub) -> None:
    """What was only offered denies nothing."""
    assert (await hub.offer("2-x")).accepted
    assert await hub.outcome(0) == (EXECUTED, "")
    await hub.tell(commit=engine_pb2.Commit(version="2-x"))
    assert await hub.outcome(200_000) == (DENIED, "MAX_NOTIONAL_PER_ORDER")


async def test_an_offer_that_makes_no_sense_is_refused(hub: ChangingHub) -> None:
    """With the reason; nothing changes, and the stream stands."""
    reply = await hub.offer("2-x", b'{"risk": {"luck": 1}}')
    assert (reply.accepted, "luck" in reply.reason) == (False, True)
    assert await hub.outcome(0) == (EXECUTED, "")


@pytest.mark.parametrize("withdrawn", [False, True])
async def test_a_commit_of_what_is_not_on_offer_ends_the_stream(hub: ChangingHub, withdrawn: bool) -> None:
    """Never offered, or withdrawn: nobody knows what the hub believes to be in force."""
    if withdrawn:
        await hub.offer("2-x")
        await hub.tell(withdraw=engine_pb2.Withdraw(version="2-x"))
    await hub.tell(commit=engine_pb2.Commit(version="2-x"))
    assert await hub.call.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_connection_begins_with_the_hubs_limits(tmp_path: Path) -> None:
    """What was committed while the executor was down is in its greeting."""
    async with serving(settings(tmp_path / "ledger.db", latency_ms=60_000.0)) as at, channel(at) as wire:
        hub = ChangingHub(wire)
        await hub.tell(configuration=engine_pb2.Configuration(version="5-x", settings_json=TINY))
        await hub.refer()
        await hub.call.read()
        assert await hub.outcome(0) == (DENIED, "MAX_NOTIONAL_PER_ORDER")


async def test_a_halt_is_in_the_ledger_before_it_is_answered_and_outlives_the_executor(tmp_path: Path) -> None:
    """Everything is denied until a resume; another executor on the same ledger begins halted."""
    file = tmp_path / "ledger.db"
    async with serving(settings(file, latency_ms=60_000.0)) as at, channel(at) as wire:
        hub = ChangingHub(wire)
        await hub.begin()
        assert await hub.trade(HALTED) == HALTED
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as ledger:
            assert ledger.execute("SELECT state FROM trading").fetchall() == [(HALTED,)]
        assert await hub.outcome(0) == (DENIED, "TRADING_HALTED")
    async with serving(settings(file, latency_ms=60_000.0)) as at, channel(at) as wire:
        hub = ChangingHub(wire)
        assert (await hub.begin()).values.trading_state == HALTED
        assert await hub.outcome(200_000) == (DENIED, "TRADING_HALTED")
        assert await hub.trade(ACTIVE) == ACTIVE
        assert await hub.outcome(400_000) == (EXECUTED, "")
        assert await hub.trade(REDUCING) == REDUCING
        assert await hub.outcome(600_000) == (DENIED, "REDUCING_ONLY")


@pytest.mark.parametrize("state", [0, 4])
async def test_there_are_three_trading_states(hub: ChangingHub, state: int) -> None:
    """Any other ends the stream."""
    await hub.tell(trading=executor_pb2.SetTrading(state=state))  # type: ignore[arg-type]  # what it may not be
    assert await hub.call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_older_streams_word_counts_no_more(tmp_path: Path) -> None:
    """Only who holds the epoch halts."""
    made = settings(tmp_path / "ledger.db", latency_ms=60_000.0)
    async with serving(made) as at, channel(at) as one, channel(at) as other:
        old, new = ChangingHub(one), ChangingHub(other)
        await old.begin()
        await new.begin()
        await old.tell(trading=executor_pb2.SetTrading(state=HALTED))
        assert await old.send([]) == []  # its turn is over, and it was not answered
        assert await new.outcome(0) == (EXECUTED, "")
