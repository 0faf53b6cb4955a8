"""Verdicts that come after their round was decided: what would have been with them is counted, and nothing else."""

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hub_probes import (
    FakeEngine,
    ScriptedExecutor,
    SilentEngine,
    SlowEngine,
    approval,
    cheap,
    dear,
    market,
    settings,
    ticks_of,
    within,
)

from arbhub.columns import Opportunities, Verdicts
from arbhub.engine import Engine
from arbhub.rows import decision_rows
from arbhub.state import ACTIVE, HALTED
from engines.spread import Spread
from engines.table import ENGINES
from hub import late
from hub.hub import Hub
from hub.replies import Decided
from hub.rounds import Arrival

TIMEOUT = "ENGINE_TIMEOUT:spread"
NEVER = {"failures": float("inf"), "failure_ratio": float("inf")}


@contextlib.asynccontextmanager
async def judging(
    *fakes: FakeEngine, engines: dict[str, Engine] | None = None, lenient: bool = False, **rules: Any
) -> AsyncIterator[Hub]:
    """A hub that runs with an executor, the fakes in their places, real engines inside; no breaker opens."""
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        sections = {f.name: {"place": await stack.enter_async_context(f.served()), **rules} for f in fakes}
        if engines:
            sections |= {name: dict(rules) for name in engines}
        made = settings(executor, sections, breaker=NEVER, min_net_edge_bps=-1000.0 if lenient else 0.0)
        if lenient:  # as an engine that is not built in may be
            spread = made.engines.spread.model_copy(update={"on_timeout": "abstain"})
            made = made.model_copy(update={"engines": made.engines.model_copy(update={"spread": spread})})
        hub = Hub(made, {name: engine() for name, engine in ENGINES.items()} | (engines or {}))
        links = asyncio.create_task(hub.run())
        hub.merge(market().data())
        await until(lambda: hub.trades.up and all(seat.up for seat in hub.seats), "everyone")
        yield hub
        links.cancel()
        await asyncio.gather(links, return_exceptions=True)


async def until(condition: Callable[[], object], what: str) -> None:
    """Return when the condition holds; a hub tells nobody what it counts."""

    async def poll() -> None:
        while not condition():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.001)

    await within(poll(), what)


async def decided(hub: Hub, before: int = 0) -> list[tuple[str, float, float]]:
    """The edge, behind so many other ticks: reason, net edge and quantity of each tick."""
    answer: asyncio.Future[Decided] = asyncio.get_running_loop().create_future()
    hub.submit(ticks_of(hub.universe, [*[cheap()] * before, cheap(), dear()]), answer.set_result)
    rows = decision_rows(await within(answer, "the decisions"))
    return [(hub.reasons.names[row.reason], row.net_edge_bps, row.quantity) for row in rows]


def rejection(rows: int) -> Verdicts:
    """A reject of every row."""
    return replace(approval(rows), verdict=np.full(rows, 2), reason=np.ones(rows, np.int64))


@pytest.mark.parametrize("before", [0, 20], ids=["rows", "columns"])
async def test_what_the_deadline_cost_is_counted(before: int) -> None:
    """A late approval: the very edge and quantity that the same tick is decided with in time."""
    slow = SlowEngine("spread")
    slow.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    async with judging(slow, budget_ms=50.0) as hub:
        reason, _, _ = (await decided(hub, before))[-1]
        assert reason == TIMEOUT
        slow.allowed.release()
        await until(lambda: hub.statistics.late.rounds, "the comparison")
        cost = copy.deepcopy(hub.statistics.late)
        assert hub.statistics.stray[Arrival.LATE] == sum(cost.verdicts.values()) == 1
        for _ in range(1000):
            slow.allowed.release()
        while (timely := (await decided(hub, before))[-1])[0]:
            pass
    _, edge, quantity = timely
    assert edge == pytest.approx(300.0 - 1.0 - 1.03)
    assert (cost.would_approve, cost.would_reject, cost.forgone_bps) == (1, 0, edge)
    assert dict(cost.forgone_quote) == {"USD": pytest.approx(edge / 1e4 * quantity * 100.0)}


async def test_a_late_reject_cost_nothing() -> None:
    """It is counted as late, and nothing would have been approved."""
    slow = SlowEngine("spread")
    slow.verdicts = rejection  # type: ignore[method-assign]
    async with judging(slow, budget_ms=20.0) as hub:
        await decided(hub)
        slow.allowed.release()
        await until(lambda: hub.statistics.late.rounds, "the comparison")
        t = hub.statistics.late
        assert (t.verdicts, t.would_approve, t.would_reject, t.forgone_bps) == ({"spread": 1}, 0, 0, 0.0)


async def test_an_approval_without_a_lenient_engine_that_would_have_rejected() -> None:
    """Where silence is no veto, the late verdict may be the other way round."""
    slow = SlowEngine("spread")
    slow.verdicts = rejection  # type: ignore[method-assign]
    async with judging(slow, budget_ms=20.0, lenient=True) as hub:
        assert (await decided(hub))[-1][0] == ""
        slow.allowed.release()
        await until(lambda: hub.statistics.late.rounds, "the comparison")
        assert (hub.statistics.late.would_approve, hub.statistics.late.would_reject) == (0, 1)


def _seen(keep: Callable[..., None]) -> tuple[Callable[..., None], list[Any]]:
    seen: list[Any] = []

    def watched(*given: Any) -> None:
        seen.append(given)
        keep(*given)

    return watched, seen


async def test_of_two_that_are_missing_one_alone_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other never comes: when the round is given up, its veto stands."""
    monkeypatch.setattr(late, "KEPT_S", 0.2)
    slow = SlowEngine("spread")
    slow.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    async with judging(slow, SilentEngine("fee"), budget_ms=20.0) as hub:
        await decided(hub)
        slow.allowed.release()
        await until(lambda: hub.statistics.late.verdicts, "the verdict")
        assert hub.statistics.late.rounds == 0
        await until(lambda: hub.statistics.late.rounds, "the comparison")
        assert (hub.statistics.late.would_approve, len(hub.late)) == (0, 0)


async def test_what_never_comes_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many rounds at most are kept, and none for longer than its time; what is not late is not compared."""
    monkeypatch.setattr(late, "MAX_ROUNDS", 4)
    monkeypatch.setattr(late, "KEPT_S", 0.3)
    async with judging(SilentEngine("spread"), budget_ms=5.0) as hub:
        for _ in range(10):
            await decided(hub)
            assert len(hub.late) <= 4
        await until(lambda: not len(hub.late), "the end of their time")
        assert (hub.statistics.late.rounds, dict(hub.statistics.late.verdicts)) == (0, {})


async def test_large_rounds_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is bounded in ticks, too."""
    monkeypatch.setattr(late, "MAX_TICKS", 50)
    async with judging(SilentEngine("spread"), budget_ms=5.0) as hub:
        for _ in range(5):
            await decided(hub, before=18)
            assert len(hub.late) <= 2


class TardyEngine(Spread):
    """In the hub's process, and busy until its time is up."""

    def judge(self, opportunities: Opportunities) -> Verdicts:
        until_ns = time.monotonic_ns() + 5_000_000
        while time.monotonic_ns() < until_ns:
            pass
        return super().judge(opportunities)


async def test_an_engine_inside_may_be_late_too() -> None:
    """Its answer comes while the round is not over yet; it is counted once it is."""
    async with judging(engines={"spread": TardyEngine()}, budget_ms=1.0) as hub:
        assert (await decided(hub))[-1][0] == TIMEOUT
        await until(lambda: hub.statistics.late.rounds, "the comparison")
        assert hub.statistics.late.would_approve == 1


async def test_twice_late_counts_once() -> None:
    """And what is no answer to the round counts not at all."""
    slow, fee = SlowEngine("spread"), SilentEngine("fee")
    async with judging(slow, fee, budget_ms=20.0) as hub:
        hub.late.keep, kept = _seen(hub.late.keep)  # type: ignore[method-assign]
        await decided(hub)
        case, seat = kept[0][0].payload.case, hub.seats[0]
        hub.verdicts(seat, case, approval(2))
        hub.verdicts(seat, case, approval(1))
        hub.verdicts(seat, case, approval(1))
        hub.verdicts(hub.seats[2], case, approval(1))
        assert hub.statistics.late.verdicts == {"spread": 1}
        assert [hub.statistics.stray[a] for a in (Arrival.MALFORMED, Arrival.LATE, Arrival.DUPLICATE)] == [2, 1, 2]


async def test_single_evaluations_cost_nothing() -> None:
    """Nothing would have been traded on them."""
    async with judging(SilentEngine("spread"), budget_ms=5.0) as hub:
        await decided(hub)
        answer: asyncio.Future[Decided] = asyncio.get_running_loop().create_future()
        hub.late.keep, kept = _seen(hub.late.keep)  # type: ignore[method-assign]
        (tick,) = _rows(hub)
        hub.evaluate(tick, answer.set_result, None)
        (decision,) = decision_rows(await within(answer))
        assert (hub.reasons.names[decision.reason], kept) == (TIMEOUT, [])


async def test_while_trading_is_halted_nothing_is_forgone() -> None:
    """Whatever is late then would not have been traded on."""
    async with judging(SilentEngine("spread"), budget_ms=5.0) as hub:
        hub.view.trading.command(HALTED, "a test")
        assert (await decided(hub))[-1][0] == TIMEOUT
        assert len(hub.late) == 0
        hub.view.trading.command(ACTIVE, "a test")
        assert (await decided(hub))[-1][0] == TIMEOUT
        assert len(hub.late) == 1


def _rows(hub: Hub) -> list[Any]:
    from arbhub.rows import Tick

    return [Tick(2_000_000, 0, 1, (103.0,), (1.0,), (104.0,), (1.0,), 0)]
