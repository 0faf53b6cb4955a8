"""Engine processes with replicas, killed and started again under load."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
from admin_probes import AdministeredHub
from hub_probes import FeedClient, Noticing, ScriptedExecutor, cheap, dear

from arbhub.processes import Child, Household, Service, free_ports

READY_S = 45.0
UNDER_WAY, SOME = 4, 60  # batches
APPROVED = ""


class Load(Noticing):
    """A client that sends without a pause, some batches under way, and what was decided."""

    def __init__(self, client: FeedClient) -> None:
        super().__init__()
        self.reasons: Counter[str] = Counter()
        self.sequences: list[int] = []
        self.approved: list[int] = []
        self.batches = 0
        self._client, self._over, self._window = client, False, asyncio.Semaphore(UNDER_WAY)

    async def feed(self) -> None:
        """Until it is over."""
        number = 0
        while not self._over:
            await self._window.acquire()
            await self._client.send(*(make(number + i) for i in range(1 + number % 7) for make in (cheap, dear)))
            number += 1

    async def read(self) -> None:
        """Until everything sent has been decided, and it is over."""
        while not self._over or self.batches < self._client.batches:
            _, decided = await self._client.decided()
            d = self._client.columns.pop()
            for figures in (d.gross_edge_bps, d.fee_bps, d.slippage_bps, d.net_edge_bps, d.quantity):
                assert np.isfinite(figures[d.approved]).all()  # each from the verdict of another engine
            self.sequences += [one.sequence for one in decided]
            self.approved += [one.sequence for one in decided if one.approved]
            self.reasons.update(one.reason for one in decided)
            self.batches += 1
            self._window.release()
            self.changed()

    async def more(self) -> None:
        """Return when so many more batches have been decided."""
        enough = self.batches + SOME
        await self.until(lambda: self.batches >= enough, "decisions")

    def end(self) -> None:
        """No more is sent."""
        self._over = True


class Replicas:
    """Processes of the spread engine, at the addresses of a list."""

    def __init__(self, folder: Path, count: int) -> None:
        self.places = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self._config = folder / "engines.toml"
        self._config.write_text("")
        self.household = Household(folder)

    async def start(self, place: str) -> None:
        """One of them, until it answers."""
        words = ("engine", "spread", "--config", str(self._config), "--set", f"engines.spread.place={place}")
        await self.household.start([Service(f"spread {place}", words, place)])
        await self.household.ready(READY_S)

    async def kill(self, place: str) -> None:
        """SIGKILL one."""
        child: Child = next(child for child in self.household.children if child.service.address == place)
        child.process.kill()
        await child.process.wait()
        self.household.children.remove(child)


@contextlib.asynccontextmanager
async def loaded(
    folder: Path, replicas: Replicas, executor: ScriptedExecutor
) -> AsyncIterator[tuple[AdministeredHub, Load]]:
    """A hub with an executor under load; leaving the block waits for the last decision."""
    hub = AdministeredHub(folder)
    hub.content["engines"]["spread"] = {"place": replicas.places}
    async with executor.served() as place:
        hub.place(place)
        async with hub.serve():
            load = Load(hub.client)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.feed())
                group.create_task(load.read())
                try:
                    yield hub, load
                finally:
                    load.end()


async def test_replicas_are_killed_one_after_the_other(tmp_path: Path) -> None:
    """No tick goes unanswered and none loses its verdict; who is left takes over, and who comes back is used."""
    replicas, executor = Replicas(tmp_path, 2), ScriptedExecutor()
    first, second = replicas.places
    try:
        for place in replicas.places:
            await replicas.start(place)
        async with loaded(tmp_path, replicas, executor) as (hub, load):
            for gone in (first, second):
                await hub.until(lambda s: s.engines[0].replicas_up == 2, "both")
                await load.more()
                await replicas.kill(gone)
                await load.more()
                await hub.until(lambda s: s.engines[0].replicas_up == 1, "one")
                await load.more()
                await replicas.start(gone)
            state = await hub.inspect()
    finally:
        await replicas.household.end()
    assert sorted(load.sequences) == list(range(len(load.sequences)))
    traded = [sequence for kind, sequence in executor.events() if kind == "decision"]
    assert traded == sorted(load.approved)
    assert set(load.reasons) == {APPROVED, "NO_COUNTERPART"}
    assert load.reasons["NO_COUNTERPART"] == 1
    assert (state.engines[0].timeouts, state.engines[0].breaker) == (0, "closed")
