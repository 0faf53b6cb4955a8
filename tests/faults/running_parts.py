"""The parts of arbhub as processes, each reached over a wire that can be made faulty, under load all the while.

    known ticks ~~▶ hub ~~▶ engine spread, fee, liquidity, risk          ~~ a wire of `faulty_wire`
    feed        ~~▶     ~~▶ executor (whose disk can be full)
                        ~~▶ redis

The suite is their supervisor: it starts again what it has killed, and nothing else.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import known_market
import psutil
import tomli_w
from core_waits import CoreWaits
from faulty_wire import FaultyWire
from known_ticks import LONGEST_S, KnownTicks
from redis_server import RedisServer
from trade_ledger import TradeLedger

from arbhub.processes import Child, Household, Service
from arbhub.settings.engines import EnginesSettings
from arbhub.v1 import hub_pb2, hub_pb2_grpc

DEADLINE_MS = 25.0
STALE_MS = 1000.0
READY_S = 60.0
NAMES = tuple(EnginesSettings.model_fields)
ENGINES = tuple(f"engine {name}" for name in NAMES)
FEED_VENUES, FEED_SYMBOL = ("F1", "F2"), "FED/USD"
FEED_EVERY_S = 0.05
OPERATED = "arbhub:venue:OPERATED"  # a key of the second level of reference data


class RunningParts:
    """`wires` by who is behind them: an engine, the executor, or for "client" and "feed" the hub."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.full_disk = folder, folder / "disk-is-full"
        names = (*ENGINES, "executor", "hub", "feed")
        # Sockets of their own: a port that is let go for a moment, as at a restart, somebody else may take.
        self._listen = {name: f"unix:{folder / name.replace(' ', '-')}.sock" for name in names}
        behind = {name: name for name in (*ENGINES, "executor")} | {"client": "hub", "feed": "hub"}
        self.wires = {name: FaultyWire(self._listen[part]) for name, part in behind.items()}
        self.redis = RedisServer(folder)
        self.wires["redis"] = FaultyWire(f"127.0.0.1:{self.redis.port}")
        self._pushes = self._words = 0
        self.heard: dict[str, Callable[[hub_pb2.Status, float], bool]] = {
            "feed": _feed_is_heard,
            "redis": self._redis_is_heard,
        }
        self.household = Household(folder)
        self.ledger = TradeLedger(folder / "ledger.db")
        self.core_waits = CoreWaits(lambda: self._child("hub").process.pid)
        self.ticks: KnownTicks

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything up, and ticks flowing, for as long as the block runs."""
        async with contextlib.AsyncExitStack() as stack:
            for wire in self.wires.values():
                await stack.enter_async_context(wire.listening())
            (self.folder / "faults.toml").write_text(tomli_w.dumps(self._settings()))
            (self.folder / "feed.jsonl").write_text(_capture())
            stack.push_async_callback(self.redis.kill)
            await self.redis.start()
            stack.push_async_callback(self.household.end)
            for name in self._listen:
                await self.start(name)
            await self.household.ready(READY_S)
            self.ticks = KnownTicks(self.wires["client"].address)
            await stack.enter_async_context(self.ticks.flowing())
            await stack.enter_async_context(self.core_waits.sampled())
            yield

    async def start(self, name: str) -> None:
        """Start a part, without waiting for it; redis is there at once, and empty."""
        if name == "redis":
            await self.redis.start()
            return
        words = (*name.split(), "--config", str(self.folder / "faults.toml"), *self._detours(name))
        service = Service(name, words, self._listen[name])
        if name != "executor":
            await self.household.start([service])
            return
        program = Path(__file__).with_name("crowded_disk_executor.py")
        with (self.folder / "executor.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, program, self.full_disk, *service.words, stdout=log, stderr=log, start_new_session=True
            )
        self.household.children.append(Child(service, process))

    async def kill(self, name: str) -> None:
        """SIGKILL a part, and wait until it is gone."""
        if name == "redis":
            await self.redis.kill()
            return
        child = self._child(name)
        child.process.kill()
        await child.process.wait()
        self.household.children.remove(child)

    async def stop(self, name: str) -> None:
        """SIGSTOP a part, and wait until it stands still."""
        if name == "redis":
            self.redis.halt()
            return
        process = psutil.Process(self._child(name).process.pid)
        process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(1.0):
            while process.status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110  # the kernel tells nobody else
                await asyncio.sleep(0.001)

    def proceed(self, name: str) -> None:
        """SIGCONT."""
        if name == "redis":
            self.redis.go_on()
            return
        self._child(name).process.send_signal(signal.SIGCONT)

    def pids(self) -> dict[str, int]:
        """Who is alive."""
        return {child.service.name: child.process.pid for child in self.household.children if child.alive}

    def log(self, name: str) -> str:
        """All that a part has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    async def is_lacking(self, part: str) -> bool:
        """Whether the hub knows now that it does not hear from a part."""
        async for status in self._states():
            return not self.heard[part](status, 0.0)
        raise AssertionError("the hub does not say how it is")

    async def is_heard(self, part: str, since_ns: int) -> None:
        """Return when the hub has from a part what that sent since then (monotonic ns)."""
        async for status in self._states():
            if self.heard[part](status, (time.monotonic_ns() - since_ns) / 1e9):
                return

    async def say_something(self) -> None:
        """Have an operator say something of a venue nobody trades on, directly to redis."""
        async for status in self._states():
            self._pushes = status.reference_store.pushes
            break
        self._words += 1
        state = ("open", "halted")[self._words % 2]
        await self.redis.do("SET", OPERATED, json.dumps({"venue": "OPERATED", "state": state}))
        await self.redis.do("PUBLISH", "arbhub:changed", OPERATED)

    def _redis_is_heard(self, status: hub_pb2.Status, within_s: float) -> bool:
        """Whether the hub is up to date by its own word, having read everything since or been told of a change."""
        store = status.reference_store
        read = time.time() - store.loaded_unix_s < within_s
        return store.up and (not within_s or read or store.pushes > self._pushes)

    async def _states(self) -> AsyncIterator[hub_pb2.Status]:
        async with grpc.aio.insecure_channel(self._listen["hub"]) as wire:
            async for status in hub_pb2_grpc.HubStub(wire).Watch(hub_pb2.WatchRequest(interval_ms=50)):
                yield status

    def _child(self, name: str) -> Child:
        return next(child for child in self.household.children if child.service.name == name)

    def _detours(self, name: str) -> list[str]:
        """Who calls another is told the wire's address for it."""
        detours: dict[str, str] = {}
        if name == "hub":
            detours = {f"engines.{engine}.place": self.wires[f"engine {engine}"].address for engine in NAMES}
            detours["executor.listen"] = self.wires["executor"].address
            detours["redis.url"] = f"redis://{self.wires['redis'].address}"
        elif name == "feed":
            detours = {"hub.listen": self.wires["feed"].address}
        return [word for key, address in detours.items() for word in ("--set", f"{key}={address}")]

    def _settings(self) -> dict[str, Any]:
        known = known_market.settings()
        engines = {name: known["engines"].get(name, {}) | {"place": self._listen[f"engine {name}"]} for name in NAMES}
        return {
            "hub": {
                "listen": self._listen["hub"],
                "http_listen": "",
                "deadline_ms": DEADLINE_MS,
                "max_quote_age_ms": STALE_MS,
                "min_net_edge_bps": known_market.MIN_NET_EDGE_BPS,
            },
            "engines": engines,
            "risk": known["risk"],
            "executor": {
                "listen": self._listen["executor"],
                "ledger_url": f"sqlite:///{self.folder / 'ledger.db'}",
            },
            "feed": {
                "listen": self._listen["feed"],
                "source": "replay",
                "captures": [str(self.folder / "feed.jsonl")],
            },
        }


def _feed_is_heard(status: hub_pb2.Status, within_s: float) -> bool:
    books = [book for book in status.books if book.symbol == FEED_SYMBOL]
    bound_ms = within_s * 1e3 or STALE_MS
    return len(books) == len(FEED_VENUES) and all(book.usable and book.age_ms < bound_ms for book in books)


def _capture() -> str:
    """Books without an edge, the feed's venues in turn, for longer than any run."""
    step_ns = int(FEED_EVERY_S * 1e9)
    book = {"symbol": FEED_SYMBOL, "bids": [[99, 1]], "asks": [[101, 1]]}
    lines = [{"ts_ns": n * step_ns, "venue": FEED_VENUES[n % 2], **book} for n in range(int(LONGEST_S / FEED_EVERY_S))]
    return "".join(json.dumps(line) + "\n" for line in lines)
