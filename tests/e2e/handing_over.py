"""Hub, engines and executor as processes that take turns, under ticks whose every answer is known."""

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import known_market
import tomli_w
from patient_ticks import PatientTicks
from trade_ledger import TradeLedger

from arbhub.processes import Child, Household, Service, free_ports
from arbhub.settings.engines import EnginesSettings

NAMES = tuple(EnginesSettings.model_fields)
ENGINES = tuple(f"engine {name}" for name in NAMES)
READY_S, PATIENCE_S = 60.0, 30.0


class HandingOver:
    """`ports`: the hub and the engines at ports of this machine, not at unix sockets."""

    def __init__(self, folder: Path, *, ports: bool) -> None:
        self.folder = folder
        numbers = free_ports(len(ENGINES) + 4)
        parts = (*ENGINES, "executor", "hub")
        sockets = [f"unix:{folder / part.replace(' ', '-')}.sock" for part in parts]
        at = [f"127.0.0.1:{number}" for number in numbers[2:]] if ports else sockets
        self.listen = dict(zip(parts, at, strict=True))
        self.household, self.ledger = Household(folder), TradeLedger(folder / "ledger.db")
        self._database = folder / "ledger.db"
        self.config = folder / "handover.toml"
        self.config.write_text(tomli_w.dumps(self._settings(numbers[0], numbers[1])))
        self._generation = dict.fromkeys(parts, 0)
        self.ticks = PatientTicks(self.listen["hub"])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["HandingOver"]:
        """Everything up, and ticks flowing, for as long as the block runs."""
        try:
            for part in self.listen:
                await self.start(part)
            await self.household.ready(READY_S)
            async with self.ticks.flowing():
                await self.trades(time.monotonic_ns())
                yield self
        finally:
            await self.household.end()

    async def start(self, part: str) -> Child:
        """Start one, or one more, of a part."""
        self._generation[part] += 1
        words = (*part.split(), "--config", str(self.config), "--turn", str(self.folder / f"{part}.turn"))
        await self.household.start([Service(self._name(part), words, self.listen[part])])
        return self.household.children[-1]

    async def stand_ready(self, part: str) -> None:
        """Start one more of a part, and wait until it waits."""
        await self.start(part)
        await self.until(lambda: "waiting for its turn" in self.log(part), f"{part} waits for its turn")

    async def end(self, part: str, number: signal.Signals) -> int:
        """Have the oldest of a part end by a signal, and wait until it has; its exit code."""
        names = [f"{part} {n}" for n in range(1, self._generation[part] + 1)]
        child = next(c for c in self.household.children if c.service.name in names)
        child.process.send_signal(number)
        code = await asyncio.wait_for(child.process.wait(), PATIENCE_S)
        self.household.children.remove(child)
        return code

    async def trades(self, since_ns: int, after_epoch: int = 0) -> None:
        """Return when ticks of since then are approved, in a later epoch than one, and filled."""
        ticks = self.ticks
        await self.until(lambda: ticks.approved_since(since_ns, after_epoch).any(), "an approval")
        epoch = int(ticks.epoch[ticks.approved_since(since_ns, after_epoch)].max())
        before = self.ledger.fills(epoch)
        await self.until(lambda: self.ledger.fills(epoch) > before, "fills in the ledger")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when a condition holds; fails where it does not come to that."""
        await self.ticks.until(condition, what, PATIENCE_S)

    def log(self, part: str) -> str:
        """All that the newest of a part has said."""
        return (self.folder / f"{self._name(part)}.log").read_text(errors="replace")

    def count(self, query: str) -> int:
        """What a query of the ledger counts."""
        with contextlib.closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as ledger:
            return int(ledger.execute(query).fetchone()[0])

    def _name(self, part: str) -> str:
        return f"{part} {self._generation[part]}"

    def _settings(self, http: int, admin: int) -> dict[str, Any]:
        known = known_market.settings()
        engines = {name: known["engines"].get(name, {}) | {"place": self.listen[f"engine {name}"]} for name in NAMES}
        return {
            "hub": {
                "listen": self.listen["hub"],
                "http_listen": f"127.0.0.1:{http}",
                "admin_listen": f"127.0.0.1:{admin}",
                "state_dir": str(self.folder / "state"),
                "deadline_ms": 50.0,
                "min_net_edge_bps": known_market.MIN_NET_EDGE_BPS,
            },
            "engines": engines,
            "risk": known["risk"],
            "executor": {"listen": self.listen["executor"], "ledger_url": f"sqlite:///{self._database}"},
        }
