"""A configuration reloaded while a hub runs: in force everywhere or nowhere, and no tick judged by two of them."""

import asyncio
import contextlib
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from admin_probes import (
    UNUSABLE,
    AdministeredHub,
    RefusingEngine,
    RefusingExecutor,
    WordlessEngine,
    administered,
    refused,
)
from hub_probes import FakeEngine, Noticing, ScriptedExecutor, SlowEngine, approval, cheap, dear, within

from arbhub.processes import free_ports
from arbhub.service import channel
from arbhub.settings.load import load
from arbhub.v1 import admin_pb2, hub_pb2, hub_pb2_grpc
from engines.server import run as run_engine

APPROVED, TOO_LOW = "", "NET_EDGE_TOO_LOW"
STRICT = ("hub.min_net_edge_bps", 1000.0)
RELOADS, UNDER_WAY = 50, 2

# What a version decides shows which it was: the fee engine's part, the liquidity engine's, and the hub's own.
ODD = (("engines.fee.taker_bps", {"A": 1.0, "B": 1.0}), ("engines.liquidity.max_notional", 100.0))
EVEN = (("engines.fee.taker_bps", {"A": 2.0, "B": 2.0}), ("engines.liquidity.max_notional", 200.0), STRICT)


@contextlib.asynccontextmanager
async def engines_at(hub: AdministeredHub, *hosts: tuple[str, ...]) -> Any:
    """Real engines behind sockets, those of a tuple at one place."""
    shutdown = asyncio.Event()
    for names, port in zip(hosts, free_ports(len(hosts)), strict=True):
        hub.place(**dict.fromkeys(names, f"127.0.0.1:{port}"))
    settings = load_text(hub)
    served = []
    for names in hosts:
        ready = asyncio.Event()
        served.append(asyncio.create_task(run_engine(settings, names, shutdown, partial(_set, ready))))
        await within(ready.wait(), "an engine")
    try:
        yield
    finally:
        shutdown.set()
        await within(asyncio.gather(*served), "the engines' end")


def _set(ready: asyncio.Event, _: int) -> None:
    ready.set()


def load_text(hub: AdministeredHub) -> Any:
    """The hub's settings as its file will say them."""
    hub.file.write_text(hub.text(*ODD))
    return load(hub.file, (), {})


class LoadedHub(Noticing):
    """A hub that is fed without a pause, and its decision batches, each checked to be of one version throughout."""

    def __init__(self, hub: AdministeredHub) -> None:
        super().__init__()
        self.sequences: list[int] = []
        self.versions: list[str] = []
        self._hub, self._over, self._window = hub, False, asyncio.Semaphore(UNDER_WAY)

    async def feed(self) -> None:
        """Send batches of many sizes, a few under way, until it is over; then all are answered."""
        number = 0
        while not self._over:
            await self._window.acquire()
            await self._hub.client.send(*(make(number + i) for i in range(number % 7) for make in (cheap, dear)))
            number += 8
        await self.until(lambda: len(self.versions) == self._hub.client.batches, "the last decisions")

    async def read(self) -> None:
        """Take decisions, for as long as they come."""
        while True:
            self._take((await self._hub.client.decided())[0])
            self._window.release()
            self.changed()

    async def reloaded(self) -> list[str]:
        """Reload again and again, with decisions in between; the versions that were in force."""
        committed = [(await self._hub.inspect()).version]
        for number in range(RELOADS):
            reply = await self._hub.reload(*(EVEN, ODD)[number % 2])
            assert (reply.committed, list(reply.absent)) == (True, [])
            committed.append(reply.version)
            enough = len(self.versions) + UNDER_WAY + 1
            await self.until(partial(self._seen, enough), "decisions")
        self._over = True
        return committed

    def _seen(self, batches: int) -> bool:
        return len(self.versions) >= batches

    def _take(self, batch: hub_pb2.DecisionBatch) -> None:
        d, odd = batch.decisions, int(batch.config_version.partition("-")[0]) % 2 == 1
        self.sequences += d.sequence
        self.versions.append(batch.config_version)
        asked = np.isfinite(np.array(d.net_edge_bps))
        assert np.array(d.fee_bps)[asked] == pytest.approx(2.03 if odd else 4.06)
        assert np.array(d.quantity)[asked] == pytest.approx(1.0 if odd else 2.0)
        reasons = {["", *batch.reasons][code] for code in np.array(d.reason)[asked].tolist()}
        assert reasons <= {APPROVED if odd else TOO_LOW}


async def test_fifty_reloads_under_load(tmp_path: Path) -> None:
    """Every tick one decision, each by one committed version alone: engines here, hosted and alone, and the hub."""
    hub, executor = AdministeredHub(tmp_path), ScriptedExecutor()
    hub.content["hub"]["rehearsal_ticks"] = 50  # they are tried each time, and slowly
    async with executor.served() as place, engines_at(hub, ("fee", "spread"), ("liquidity",)):
        hub.place(place)
        hub.file.write_text(hub.text(*ODD))
        async with hub.serve():
            loaded = LoadedHub(hub)
            reading = asyncio.create_task(loaded.read())
            async with asyncio.TaskGroup() as group:
                reading.add_done_callback(lambda done: done.cancelled() or group.create_task(_raise(done)))
                group.create_task(loaded.feed())
                reloading = group.create_task(loaded.reloaded())
            reading.cancel()
            committed, state = reloading.result(), await hub.inspect()
    assert sorted(loaded.sequences) == list(range(len(loaded.sequences)))
    assert set(loaded.versions) == set(committed)
    assert [int(version.partition("-")[0]) for version in committed] == list(range(1, RELOADS + 2))
    assert {e.version for e in state.engines} == {committed[-1]}


async def _raise(failed: "asyncio.Task[None]") -> None:
    failed.result()


async def test_a_round_under_way_keeps_the_version_it_was_opened_with(tmp_path: Path) -> None:
    """Asked before a commit and answered after it: the old terms and the old version; the next round has the new."""
    slow = SlowEngine("spread")
    slow.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    async with administered(tmp_path, slow) as hub:
        slow.allowed.release()
        await hub.client.ask(cheap(), dear())
        before = (await hub.inspect()).version
        # The rehearsal asks the fake on streams of its own: two are answered, the live one is not.
        asked = slow.kinds().count("batch")
        await hub.client.send(dear(2))
        await slow.until(lambda: slow.kinds().count("batch") == asked + 1, "the question")
        mode = await hub.switch("liquidity", "off")
        assert mode.committed
        slow.allowed.release()
        batch, decided = await hub.client.decided()
        assert (batch.config_version, decided[-1].reason) == (before, APPROVED)
        slow.allowed.release()
        await hub.client.send(dear(3))
        batch, decided = await hub.client.decided()
        assert (batch.config_version, decided[-1].reason) == (mode.version, "QUANTITY_TOO_SMALL")


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ((("hub.min_net_egde_bps", 1.0),), UNUSABLE, "min_net_edge_bps"),
        ((("engines.fee.budget_ms", 1e6),), UNUSABLE, "engines.fee.budget_ms: is 1e+06, but"),
        ((("engines.risk.mode", "off"),), UNUSABLE, "engines.risk.mode"),
        ((("hub.listen", "127.0.0.1:1"), STRICT), None, "hub.listen: cannot change"),
        ((("engines.fee.place", "127.0.0.1:9"),), None, "engines.fee.place: cannot change"),
        ((("executor.ledger_url", "sqlite:///secret.db"),), None, "executor.ledger_url: cannot change"),
        ((("feed.pace", 2.0),), None, "feed.pace: cannot change"),
    ],
)
async def test_a_wrong_configuration_changes_nothing(tmp_path: Path, changes: Any, code: Any, said: str) -> None:
    """The answer names what is wrong, and no value; the old one goes on serving."""
    async with administered(tmp_path) as hub:
        before = (await hub.inspect()).version
        text = await refused(hub.reload(*changes), code) if code else await refused(hub.reload(*changes))
        assert said in text
        assert "secret" not in text
        assert await hub.client.ask(cheap(), dear()) == ["NO_COUNTERPART", APPROVED]
        assert hub.client.columns
        assert (await hub.inspect()).version == before
        assert len((await hub.stub.History(admin_pb2.HistoryRequest())).versions) == 1


@pytest.mark.parametrize(
    ("fakes", "executor", "said"),
    [
        ((RefusingEngine("spread"),), ScriptedExecutor(), "engine spread: it does not suit me"),
        ((WordlessEngine("spread"),), ScriptedExecutor(), "engine spread: did not answer within 1 s"),
        ((), RefusingExecutor(), "executor: the ledger says no"),
    ],
)
async def test_who_refuses_is_named_and_nothing_changes(tmp_path: Path, fakes: Any, executor: Any, said: str) -> None:
    """One that says no, or nothing, is enough; those who said yes are told that it never comes into force."""
    other = FakeEngine("fee")
    async with administered(tmp_path, other, *fakes, executor=executor) as hub:
        before = (await hub.inspect()).version
        assert await refused(hub.reload(STRICT)) == said
        await other.until(lambda: "withdraw" in other.kinds(), "the withdrawal")
        assert "commit" not in other.kinds()
        assert (await hub.inspect()).version == before


async def test_an_engine_in_the_hub_refuses(tmp_path: Path) -> None:
    """What an engine of the hub's own process cannot run with is refused in its name; the live one feels nothing."""
    from engines.fee import Fee

    class PickyFee(Fee):
        def configure(self, configuration: Any) -> None:
            if configuration.engines.fee.taker_bps.get("A") == 13.0:
                raise ValueError("not thirteen")
            super().configure(configuration)

    hub = AdministeredHub(tmp_path, fee=PickyFee())
    async with ScriptedExecutor().served() as place:
        hub.place(place)
        async with hub.serve():
            text = await refused(hub.reload(("engines.fee.taker_bps", {"A": 13.0, "B": 1.0})))
            assert text == "engine fee: not thirteen"
            await hub.client.ask_until(APPROVED)


async def test_an_engine_that_is_down_gets_the_committed_version_when_it_connects(tmp_path: Path) -> None:
    """It does not block the reload, which names it; its next stream begins with what is in force."""
    fake, hub = FakeEngine("spread"), AdministeredHub(tmp_path)
    (port,) = free_ports(1)
    hub.place(spread=f"127.0.0.1:{port}")
    async with hub.serve(up=False):
        reply = await hub.reload(STRICT)
        assert (reply.committed, list(reply.absent)) == (True, ["engine spread", "executor"])
        async with fake.served(port):
            await fake.until(lambda: fake.told, "the greeting")
            assert fake.told[0].configuration.version == reply.version
            state = await hub.until(lambda s: s.engines[0].up, "the engine")
            assert state.engines[0].version == reply.version


async def test_a_dry_run_shows_the_difference_and_changes_nothing(tmp_path: Path) -> None:
    """The latest ticks judged by both, with examples; nobody commits, no statistics move, and no version is used up."""
    async with administered(tmp_path) as hub:
        await hub.client.ask(cheap(), dear(), dear(2), cheap(3, "ETH/USD"))
        await hub.client.send(*(dear(4 + n) for n in range(200)))  # as columns
        await hub.client.decided()
        before = await hub.until(lambda s: s.ticks == 204, "the count")
        reply = await hub.reload(STRICT, dry_run=True)
        assert (reply.committed, reply.version, list(reply.changed)) == (False, before.version, [STRICT[0]])
        r = reply.rehearsal
        assert (r.ticks, r.changed) == (204, 202)
        assert dict(r.before) == {"NO_COUNTERPART": 2, "approved": 202}
        assert dict(r.after) == {"NO_COUNTERPART": 2, TOO_LOW: 202}
        assert [(c.before, c.after, c.ticks) for c in r.changes] == [("approved", TOO_LOW, 202)]
        assert (r.examples[-1].ts_ns, r.examples[-1].buy_venue, r.examples[-1].sell_venue) == (203_000_000, "A", "B")
        after = await hub.inspect()
        assert (after.version, after.ticks, after.engines) == (before.version, before.ticks, before.engines)
        assert (await hub.reload(STRICT)).version.startswith("2-")


async def test_a_dry_run_of_the_books_age(tmp_path: Path) -> None:
    """Where books themselves would differ, both are judged on books rebuilt from the ticks, and the answer says so."""
    async with administered(tmp_path) as hub:
        await hub.client.ask(cheap(), dear(5000))
        reply = await hub.reload(("hub.max_quote_age_ms", 1000.0), dry_run=True)
        assert dict(reply.rehearsal.after) == {"NO_COUNTERPART": 2}
        assert dict(reply.rehearsal.before) == {"NO_COUNTERPART": 1, "approved": 1}
        assert "books were rebuilt" in reply.rehearsal.note


async def test_rollback_is_a_new_version_of_an_old_content(tmp_path: Path) -> None:
    """Its number rises, its hash is the old one, and it decides as the old one did."""
    async with administered(tmp_path) as hub:
        first = (await hub.inspect()).version
        assert (await hub.reload(STRICT)).version.startswith("2-")
        assert (await hub.client.ask(cheap(), dear()))[-1] == TOO_LOW
        back = await hub.stub.Rollback(admin_pb2.RollbackRequest(number=1))
        assert back.version == f"3-{first.partition('-')[2]}"
        assert (await hub.client.ask(dear(2)))[-1] == APPROVED
        history = (await hub.stub.History(admin_pb2.HistoryRequest())).versions
        assert [(v.number, v.why) for v in history] == [(1, "start"), (2, "reload"), (3, f"rollback to {first}")]
        text = await refused(hub.stub.Rollback(admin_pb2.RollbackRequest(number=9)), UNUSABLE)
        assert "no version 9" in text


async def test_an_expected_version_guards_against_two_operators(tmp_path: Path) -> None:
    """Who expects another version than is in force is refused; a reload of what is in force changes nothing."""
    async with administered(tmp_path) as hub:
        version = (await hub.inspect()).version
        assert version in await refused(hub.reload(STRICT, expected_version="7-abc"))
        assert (await hub.reload(STRICT, expected_version=version)).committed
        same = await hub.reload(STRICT)
        assert (same.committed, same.offered) == (False, "")


async def test_a_hangup_reloads_the_file(tmp_path: Path) -> None:
    """SIGHUP takes the file as it is now; one that cannot be used leaves the old one serving."""
    async with administered(tmp_path) as hub:
        hub.file.write_text(hub.text(STRICT))
        os.kill(os.getpid(), signal.SIGHUP)
        state = await hub.until(lambda s: s.version.startswith("2-"), "the second version")
        hub.file.write_text("[hub]\nnothing = 1\n")
        os.kill(os.getpid(), signal.SIGHUP)
        text = await refused(hub.stub.Reload(admin_pb2.ReloadRequest(file=True)), UNUSABLE)
        assert "hub.nothing: unknown key" in text
        assert (await hub.inspect()).version == state.version
        history = (await hub.stub.History(admin_pb2.HistoryRequest())).versions
        assert [v.who for v in history] == ["", "SIGHUP"]


async def test_a_restarted_hub_goes_on_with_what_was_committed(tmp_path: Path) -> None:
    """With the file unchanged, the last committed version; with another file, that, under a higher number."""
    hub = AdministeredHub(tmp_path)
    async with hub.serve(up=False):
        committed = (await hub.reload(STRICT)).version
    async with hub.serve(up=False):
        assert (await hub.inspect()).version == committed
        async with channel(hub.listen) as wire:
            asked = hub_pb2.EvaluateRequest(venue="A", symbol="BTC/USD")
            assert (await hub_pb2_grpc.HubStub(wire).Evaluate(asked, timeout=5)).config_version == committed
    hub.file.write_text(hub.text(("hub.min_net_edge_bps", 7.0)))
    async with hub.serve(up=False):
        assert (await hub.inspect()).version.startswith("3-")


async def test_a_state_folder_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    """What could not be remembered does not come into force."""
    async with administered(tmp_path) as hub:
        before = (await hub.inspect()).version
        (tmp_path / "state" / "history.new").mkdir()
        assert "cannot be written" in await refused(hub.reload(STRICT))
        assert (await hub.inspect()).version == before
