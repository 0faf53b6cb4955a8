"""An engine in several processes: who of them is asked, what becomes of a case whose replica is lost, who is found."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from admin_probes import AdministeredHub, RefusingEngine, refused
from hub_probes import FakeEngine, Noticing, ScriptedExecutor, SilentEngine, SlowEngine, cheap, dear, within
from replica_probes import DyingEngine, approving, asked, executor_up, replicated, spread_figures

from arbhub.processes import free_ports
from hub import replicas

APPROVED, TIMEOUT, NONE = "", "ENGINE_TIMEOUT:spread", "NO_COUNTERPART"


def decisions(executor: ScriptedExecutor) -> list[int]:
    """What it was given to trade, by sequence, in the order in which it was."""
    return [sequence for kind, sequence in executor.events() if kind == "decision"]


def has_committed(fake: FakeEngine) -> bool:
    """Whether it was told to."""
    return "commit" in fake.kinds()


async def test_equals_are_asked_in_turn(tmp_path: Path) -> None:
    """Case after case, three replicas get a third each."""
    fakes = [approving(FakeEngine("spread")) for _ in range(3)]
    async with replicated(tmp_path, *fakes) as (hub, _):
        for number in range(9):
            assert await hub.client.ask(cheap(number), dear(number)) in ([NONE, APPROVED], [APPROVED, APPROVED])
    assert [asked(fake) for fake in fakes] == [3, 3, 3]


async def test_who_has_the_least_unanswered_is_asked(tmp_path: Path) -> None:
    """While one works on a case, the other gets all that comes."""
    slow, quick = SlowEngine("spread"), FakeEngine("spread")
    async with replicated(tmp_path, approving(slow), approving(quick)) as (hub, _):
        await hub.client.send(cheap(), dear())
        await hub.client.send(cheap(1), dear(1))
        await slow.until(lambda: asked(slow) == 1, "its case")
        await hub.client.decided()
        for _ in range(7):
            await hub.client.ask(dear(2))
        assert (asked(slow), asked(quick)) == (1, 8)
        slow.allowed.release()


async def test_the_executor_gets_decisions_in_order(tmp_path: Path) -> None:
    """A round that ends before an earlier one is answered at once, and traded behind it."""
    slow, quick, executor = SlowEngine("spread"), FakeEngine("spread"), ScriptedExecutor()
    async with replicated(tmp_path, approving(slow), approving(quick), executor=executor) as (hub, _):
        await hub.client.ask(cheap())
        sent = 0
        while not asked(slow):
            await hub.client.send(dear(sent))
            sent += 1
        await hub.client.send(dear(sent))
        for _ in range(sent):
            _, decided = await hub.client.decided()
        assert decided[-1].approved
        held = [sequence for kind, sequence in executor.events() if kind == "decision"]
        slow.allowed.release()
        await hub.client.decided()
        await executor.until(lambda: len(decisions(executor)) == sent + 1, "every decision")
    assert len(held) < sent
    assert decisions(executor) == list(range(1, sent + 2))


async def test_a_case_lost_with_its_stream_is_asked_of_another(tmp_path: Path) -> None:
    """One replica breaks off whatever it is asked: every decision is made all the same, by the other's verdicts."""
    dying, well = DyingEngine("spread"), FakeEngine("spread")
    async with replicated(tmp_path, approving(dying), approving(well)) as (hub, _):
        for number in range(30):
            assert (await hub.client.ask(cheap(number), dear(number)))[-1] == APPROVED
        state = await hub.inspect()
    assert asked(dying) > 0
    assert asked(well) == 30
    assert (state.engines[0].timeouts, state.engines[0].breaker) == (0, "closed")


async def test_a_case_is_asked_again_once(tmp_path: Path) -> None:
    """What two replicas did not survive no third is asked: that is decided at once, though the deadline is far."""
    fakes = [DyingEngine("spread") for _ in range(3)]
    async with replicated(tmp_path, *fakes) as (hub, _):
        assert await hub.client.ask(cheap(), dear()) == [NONE, TIMEOUT]
    assert sum(asked(fake) for fake in fakes) == 2


async def test_without_replicas_silence_is_decided_at_once(tmp_path: Path) -> None:
    """With none up, though the deadline is far; as soon as one is back it is asked."""
    fakes = [DyingEngine("spread"), DyingEngine("spread")]
    async with replicated(tmp_path, *map(approving, fakes)) as (hub, _):
        for number in range(5):
            assert (await hub.client.ask(cheap(number), dear(number)))[-1] == TIMEOUT
        for fake in fakes:
            fake.dies = False
        await hub.client.ask_until(APPROVED)


@pytest.mark.parametrize("rule", ["in a row", "in a window"])
async def test_a_silent_replica_does_not_open_the_breaker(tmp_path: Path, rule: str) -> None:
    """It is up and answers nothing: rounds go to the other, by whose answers the engine is well."""
    rules = {
        "in a row": {"failures": 3, "failing_ms": 0.0, "failure_ratio": float("inf")},
        "in a window": {"failures": float("inf"), "failure_ratio": 0.5, "window_ms": 100.0},
    }
    silent, well = SilentEngine("spread"), FakeEngine("spread")
    hub: dict[str, Any] = {"deadline_ms": 20.0, "breaker": rules[rule]}
    async with replicated(tmp_path, approving(silent), approving(well), **hub) as (made, _):
        reasons = [(await made.client.ask(cheap(number), dear(number)))[-1] for number in range(200)]
        state, figures = await made.inspect(), await spread_figures(made)
    assert asked(silent) > 0
    assert reasons.count(APPROVED) > 150
    assert state.engines[0].breaker == "closed"
    assert figures["arbhub_engine_breaker_openings_total"] == 0  # the state may have come back; this may not


async def test_a_reload_is_offered_to_each(tmp_path: Path) -> None:
    """One refuses: it is named with its address, and the other forgets the offer."""
    willing, unwilling = FakeEngine("spread"), RefusingEngine("spread")
    async with replicated(tmp_path, willing, unwilling) as (hub, places):
        said = await refused(hub.reload(("hub.min_net_edge_bps", 1000.0)))
        assert said == f"engine spread at {places[1]}: it does not suit me"
        await willing.until(lambda: "withdraw" in willing.kinds(), "the end of the offer")
        assert (await hub.client.ask(cheap(), dear()))[-1] != APPROVED


async def test_each_takes_a_reload_that_all_accept(tmp_path: Path) -> None:
    """Every replica is told the commit, and is asked from then on by those terms."""
    fakes = [approving(FakeEngine("spread")) for _ in range(2)]
    async with replicated(tmp_path, *fakes) as (hub, _):
        assert (await hub.client.ask(cheap(), dear()))[-1] == APPROVED
        reply = await hub.reload(("hub.min_net_edge_bps", 1000.0))
        assert (reply.committed, list(reply.absent)) == (True, [])
        for fake in fakes:
            await fake.until(partial(has_committed, fake), "the commit")
        for number in range(4):
            assert (await hub.client.ask(cheap(number), dear(number)))[-1] == "NET_EDGE_TOO_LOW"


async def test_who_wants_the_state_has_no_replicas(tmp_path: Path) -> None:
    """Two could have different ones: such an engine is turned away, and the log says why."""
    fakes = [FakeEngine("spread", wants_state=True), FakeEngine("spread")]
    with structlog.testing.capture_logs() as logs:
        async with replicated(tmp_path, *map(approving, fakes), up=False) as (hub, places):
            await hub.until(lambda s: s.engines[0].replicas_up == 1, "the one")
            for number in range(3):
                assert (await hub.client.ask(cheap(number), dear(number)))[-1] == APPROVED
            assert (await hub.inspect()).engines[0].replicas == 2
    wanted = f"spread at {places[0]} wants the ledger's state, and may have no replicas"
    assert wanted in [line.get("reason") for line in logs]
    assert asked(fakes[0]) == 0


# Host names that stand for several machines


class FakeNames(Noticing):
    """What a host name stands for, as a test says; None: nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] | None = []
        self.times = 0

    async def look_up(self, name: str, port: int) -> list[str]:
        """As `hub.replicas.looked_up`."""
        assert name == "engine-spread"
        self.times += 1
        self.changed()
        if self.addresses is None:
            raise OSError("nobody knows")
        return [f"{host}:{port}" for host in self.addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> FakeNames:
    """Looked up without a pause worth the name."""
    names = FakeNames()
    monkeypatch.setattr(replicas, "looked_up", names.look_up)
    monkeypatch.setattr(replicas, "LOOK_UP_S", 0.01)
    return names


@contextlib.asynccontextmanager
async def named(folder: Path, port: int, name: str = "engine-spread") -> AsyncIterator[AdministeredHub]:
    """A hub whose spread engine is at a host name."""
    async with ScriptedExecutor().served() as executor:
        hub = AdministeredHub(folder)
        hub.place(executor, spread=f"{name}:{port}")
        async with hub.serve(up=False):
            await executor_up(hub)
            yield hub


async def test_replicas_come_and_go_by_name(tmp_path: Path, names: FakeNames) -> None:
    """Who is named is asked from then on; who is not any more is kept while its stream stands, and then forgotten."""
    (port,) = free_ports(1)
    first, second = approving(FakeEngine("spread")), approving(FakeEngine("spread"))
    async with named(tmp_path, port) as hub, contextlib.AsyncExitStack() as stack:
        assert (await hub.client.ask(cheap(), dear()))[-1] == TIMEOUT
        assert list((await hub.reload(("hub.min_net_edge_bps", 1.0))).absent) == ["engine spread"]
        names.addresses = ["127.0.0.1"]
        async with first.served(port):
            await hub.client.ask_until(APPROVED)
            await stack.enter_async_context(second.served(port, "127.0.0.2"))
            names.addresses = ["127.0.0.1", "127.0.0.2"]
            await hub.until(lambda s: s.engines[0].replicas_up == 2, "the second")
            for number in range(4):
                assert (await hub.client.ask(cheap(number), dear(number)))[-1] == APPROVED
            assert asked(second) == 2
            names.addresses = ["127.0.0.2"]
            for _ in range(4):  # several times as long as the name was looked up in
                before = asked(first)
                await hub.client.ask_until(APPROVED)
                await hub.client.ask_until(APPROVED)
                assert asked(first) == before + 1
        await hub.until(lambda s: s.engines[0].replicas == 1, "the first forgotten")
        assert (await hub.client.ask(cheap(9), dear(9)))[-1] == APPROVED
        names.addresses = None
        assert (await hub.client.ask(cheap(9), dear(9)))[-1] == APPROVED
        await stack.aclose()
        await hub.until(lambda s: s.engines[0].replicas_up == 0, "the end of the second")
        later = names.times + 2
        await names.until(lambda: names.times > later, "the next times that it is looked up")
        links = [link.name for link in (await hub.inspect()).links]
    assert links == [f"spread at 127.0.0.2:{port}", "executor"]


@pytest.mark.parametrize(("name", "host"), [("localhost", "127.0.0.1"), ("127.0.0.3", "127.0.0.3"), ("::1", "[::1]")])
async def test_a_name_is_looked_up_once_a_machine(name: str, host: str) -> None:
    """Its addresses of IPv4, those of IPv6 where there are no others."""
    assert await within(replicas.looked_up(name, 7402)) == [f"{host}:7402"]


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b"])
async def test_a_name_that_nobody_knows_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The hub goes on, and goes on looking; the log has it once."""
    monkeypatch.setattr(replicas, "LOOK_UP_S", 0.01)
    with structlog.testing.capture_logs() as logs:
        async with named(tmp_path, 7402, name) as hub:
            for number in range(5):
                assert (await hub.client.ask(cheap(number), dear(number)))[-1] == TIMEOUT
    assert [line["name"] for line in logs if line["event"] == "replicas not found"] == [name]


async def test_replicas_are_counted(tmp_path: Path) -> None:
    """Up and known, for Prometheus and for people; what they did is the engine's, added up."""
    fakes = [approving(FakeEngine("spread")) for _ in range(2)]
    async with replicated(tmp_path, *fakes) as (hub, places):
        for number in range(4):
            await hub.client.ask(cheap(number), dear(number))
        state, figures = await hub.until(lambda s: s.engines[0].judged == 7, "all"), await spread_figures(hub)
    assert (figures["arbhub_engine_replicas"], figures["arbhub_engine_replicas_up"]) == (2, 2)
    assert (figures["arbhub_engine_verdicts_total"], figures["arbhub_engine_duration_seconds_count"]) == (7, 4)
    assert [(e.replicas_up, e.replicas) for e in state.engines] == [(2, 2), (0, 0), (0, 0), (0, 0)]
    assert state.engines[0].place == ", ".join(places)
    assert [(link.name, link.address) for link in state.links[:2]] == [(f"spread at {at}", at) for at in places]
