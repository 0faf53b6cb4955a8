"""Halting, reducing and resuming: at once, whoever is down, over restarts, and for rounds under way."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from admin_probes import ACTIVE, HALTED, REDUCING, AdministeredHub, administered, refused
from hub_probes import (
    SYMBOL,
    FakeEngine,
    ScriptedExecutor,
    SlowEngine,
    approval,
    cheap,
    dear,
    market,
    within,
)
from hypothesis import given
from hypothesis import strategies as st

from arbhub import state
from arbhub.rows import Decision, decision_columns, decision_rows
from arbhub.state import LedgerValues, Snapshot
from hub.reasons import ReasonTable
from hub.trading import Trading

APPROVED, NONE = "", "NO_COUNTERPART"
STOPPED, ONLY_REDUCING = "TRADING_HALTED", "REDUCING_ONLY"


class HesitantExecutor(ScriptedExecutor):
    """Takes no trading state down until it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = asyncio.Event()

    async def trade(self, state: Any) -> None:
        self.changed()
        asyncio.get_running_loop().create_task(self._later(state))

    async def _later(self, state: Any) -> None:
        await self.allowed.wait()
        await super().trade(state)


async def test_after_a_halt_nothing_is_approved_until_a_resume(tmp_path: Path) -> None:
    """The hub, the ledger and the engines that keep the state know it; with a resume all is as before."""
    stateful, executor = FakeEngine("spread", wants_state=True), ScriptedExecutor()
    stateful.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    async with administered(tmp_path, stateful, executor=executor) as hub:
        assert (await hub.client.ask(cheap(), dear()))[-1] == APPROVED
        reply = await hub.trade(HALTED, "a bad day")
        assert (reply.state, reply.ledger_told) == (HALTED, True)
        for number in range(5):
            assert (await hub.client.ask(dear(2 + number)))[-1] == STOPPED
        now = await hub.inspect()
        assert (now.trading_state, now.commanded, now.ledger, now.why) == (HALTED, HALTED, HALTED, "a bad day")
        await stateful.until(
            lambda: stateful.told[-1].WhichOneof("frame") == "batch" and _told_states(stateful)[-1] == HALTED,
            "the halt",
        )
        assert (await hub.trade(ACTIVE)).state == ACTIVE
        assert (await hub.client.ask(dear(9)))[-1] == APPROVED


def _told_states(engine: FakeEngine) -> list[int]:
    return [r.snapshot.values.trading_state for r in engine.told if r.WhichOneof("frame") == "snapshot"]


async def test_a_round_under_way_is_not_approved_after_a_halt(tmp_path: Path) -> None:
    """Asked before it, answered after it: what would have been approved is halted."""
    slow = SlowEngine("spread")
    slow.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    async with administered(tmp_path, slow) as hub:
        await hub.client.send(cheap(), dear())
        await slow.until(lambda: "batch" in slow.kinds(), "the question")
        await hub.trade(HALTED)
        slow.allowed.release()
        assert [d.reason for d in (await hub.client.decided())[1]] == [NONE, STOPPED]


async def test_a_halt_needs_neither_engines_nor_executor_and_outlives_the_hub(tmp_path: Path) -> None:
    """Said while all are down, it holds in a hub started again, and the executor that comes then is told."""
    executor, hub = ScriptedExecutor(), AdministeredHub(tmp_path)
    async with executor.served() as place:
        pass
    hub.place(place, spread="127.0.0.1:1", liquidity="127.0.0.1:1")
    async with hub.serve(up=False):
        reply = await hub.trade(HALTED, "night")
        assert (reply.state, reply.ledger_told) == (HALTED, False)
    hub.file.unlink()
    hub.place(place, spread="in-process", liquidity="in-process")
    async with executor.served(int(place.rpartition(":")[2])), hub.serve():
        await hub.until(lambda s: s.ledger == HALTED, "the ledger's word")
        assert (await hub.client.ask(cheap(), dear()))[-1] == STOPPED
        assert (await hub.inspect()).why == "night"
        assert (await hub.trade(ACTIVE)).state == ACTIVE
    async with executor.served(int(place.rpartition(":")[2])), hub.serve():
        await hub.client.ask_until(APPROVED)


async def test_a_resume_counts_once_the_ledger_agrees(tmp_path: Path) -> None:
    """A ledger that was halted stays so until it has taken the resume down; in the meantime nothing is approved."""
    executor = HesitantExecutor()
    executor.values = LedgerValues(trading_state=state.HALTED)
    async with administered(tmp_path, executor=executor) as hub:
        reply = await hub.trade(ACTIVE)
        assert (reply.state, reply.ledger_told) == (HALTED, False)
        assert (await hub.client.ask(cheap(), dear()))[-1] == STOPPED
        executor.allowed.set()
        await hub.until(lambda s: s.trading_state == ACTIVE, "the resume")
        await hub.client.ask_until(APPROVED)


async def test_a_confirmed_resume_is_not_said_again(tmp_path: Path) -> None:
    """A ledger that another hub has halted since stays halted when this one starts again with its old resume."""
    executor, hub = ScriptedExecutor(), AdministeredHub(tmp_path)
    async with executor.served() as place:
        hub.place(place)
        async with hub.serve():
            assert (await hub.trade(ACTIVE)).ledger_told
        assert json.loads((tmp_path / "state" / "trading.json").read_text())["pending"] is False
        executor.values = LedgerValues(trading_state=state.HALTED)
        async with hub.serve():
            assert (await hub.client.ask(cheap(), dear()))[-1] == STOPPED
            assert (await hub.inspect()).trading_state == HALTED


async def test_reducing_approves_only_what_takes_positions_back(tmp_path: Path) -> None:
    """Short where it buys and long where it sells, up to that; with no position nothing."""
    executor = ScriptedExecutor()
    positions = {("A", SYMBOL): (-2.0, 100.0), ("B", SYMBOL): (1.5, 103.0)}
    executor.values = LedgerValues(positions=positions, trading_state=state.ACTIVE)
    async with administered(tmp_path, executor=executor) as hub:
        assert (await hub.client.ask(cheap(), dear()))[-1] == APPROVED
        assert hub.client.columns[-1].quantity[-1] == 5.0
        assert (await hub.trade(REDUCING)).state == REDUCING
        assert (await hub.client.ask(dear(2)))[-1] == APPROVED
        assert hub.client.columns[-1].quantity[-1] == 1.5
        assert (await hub.client.ask(cheap(3, "ETH/USD"), dear(4, "ETH/USD")))[-1] == ONLY_REDUCING


async def test_a_halt_that_cannot_be_written_down_is_in_force_and_says_so(tmp_path: Path) -> None:
    """Nothing is approved, and whoever asked knows that a restart would forget it."""
    async with administered(tmp_path) as hub:
        (tmp_path / "state" / "trading.new").mkdir()
        assert "in force, but" in await refused(hub.trade(HALTED))
        assert (await hub.client.ask(cheap(), dear()))[-1] == STOPPED
        await refused(hub.trade(ACTIVE))
        assert (await hub.client.ask(dear(2)))[-1] == STOPPED


async def test_a_halt_does_not_wait_for_a_reload(tmp_path: Path) -> None:
    """While a reload waits for somebody's answer, a halt is in force already."""

    class Pausing(FakeEngine):
        async def consider(self, offer: object, context: object) -> None:
            self.asked = True
            self.changed()

        asked = False

    fake = Pausing("spread")
    fake.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    async with administered(tmp_path, fake) as hub:
        assert (await hub.client.ask(cheap(), dear()))[-1] == APPROVED
        reload = asyncio.create_task(hub.reload(("hub.min_net_edge_bps", 1.0)))
        await fake.until(lambda: fake.asked, "the offer")
        halt = asyncio.create_task(hub.trade(HALTED))
        state = await hub.until(lambda s: s.trading_state == HALTED, "the halt")
        assert state.version.startswith("1-")
        assert (await hub.client.ask(dear(2)))[-1] == STOPPED
        await refused(reload)
        assert (await within(halt)).ledger_told


QUANTITIES = st.sampled_from((0.5, 1.0, 2.0, float("nan"), float("inf")))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.permutations((0, 1)), QUANTITIES), max_size=6),
    st.sampled_from((state.HALTED, state.REDUCING)),
    st.dictionaries(st.sampled_from("AB"), st.sampled_from((-1.0, 0.0, 1.0)), max_size=2),
)
def test_rows_and_columns_withhold_alike(
    rows: list[tuple[bool, int, list[int], float]], what: int, positions: dict[str, float]
) -> None:
    """What is withheld of a few is withheld of columns; nothing is ever approved that was not, nor grows a position."""
    universe, reasons = market(), ReasonTable()
    trading = Trading(reasons)
    trading.command(what, "")
    ledger = Snapshot(1, True, LedgerValues(positions={(v, SYMBOL): (q, 100.0) for v, q in positions.items()}))
    decided = [
        Decision(n, n, instrument, ok, 0 if ok else 6, buy, sell, 1.0, 1.0, 1.0, 1.0, quantity, 1.0, 1.0, n, 1.0, 1.0)
        for n, (ok, instrument, (buy, sell), quantity) in enumerate(rows)
    ]
    few = trading.withheld(decided, ledger, universe)
    many = trading.withheld(decision_columns(decided, reasons.names), ledger, universe)
    assert isinstance(few, list)
    assert not isinstance(many, list)
    assert [(d.approved, d.reason) for d in few] == [(d.approved, d.reason) for d in decision_rows(many)]
    for before, after in zip(decided, few, strict=True):
        bought = positions.get(universe.venues[after.buy_venue], 0.0)
        fits = what == state.REDUCING and not after.instrument and after.quantity <= -bought
        assert after.approved == (before.approved and after.approved)
        assert fits or not after.approved
        assert np.isfinite(after.quantity) or not after.approved


@pytest.mark.parametrize(
    ("commanded", "pending", "ledger", "holds", "untold"),
    [
        (0, False, state.ACTIVE, state.ACTIVE, False),
        (0, False, state.HALTED, state.HALTED, False),
        (state.HALTED, False, state.ACTIVE, state.HALTED, True),
        (state.HALTED, True, state.HALTED, state.HALTED, False),
        (state.ACTIVE, True, state.HALTED, state.HALTED, True),
        (state.ACTIVE, True, state.ACTIVE, state.ACTIVE, False),
        (state.ACTIVE, False, state.HALTED, state.HALTED, False),
        (state.REDUCING, True, state.HALTED, state.HALTED, True),
    ],
)
def test_the_stricter_word_holds(commanded: int, pending: bool, ledger: int, holds: int, untold: bool) -> None:
    """The operator's and the ledger's; the ledger is told what it does not know or has forgotten."""
    trading = Trading(ReasonTable())
    if commanded:
        trading.command(commanded, "", pending=pending)
    trading.ledger_said(ledger)
    assert (trading.state, trading.untold, trading.restricted) == (holds, untold, holds > state.ACTIVE)
