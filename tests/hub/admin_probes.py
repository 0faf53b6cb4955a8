"""What the tests of changing a hub share: a hub that is started from a file, with its admin port, and started again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tomli_w
from hub_probes import LONG_MS, FakeEngine, FeedClient, ScriptedExecutor, client_of, status_of, within

from arbhub.engine import Engine
from arbhub.processes import free_ports
from arbhub.service import channel
from arbhub.settings.load import load
from arbhub.settings.source import Source
from arbhub.v1 import admin_pb2, admin_pb2_grpc, engine_pb2
from arbhub.v1.ledger_pb2 import TradingState
from engines.table import ENGINES
from hub.server import run

HALTED, REDUCING, ACTIVE = (
    TradingState.TRADING_STATE_HALTED,
    TradingState.TRADING_STATE_REDUCING,
    TradingState.TRADING_STATE_ACTIVE,
)
REFUSED, UNUSABLE = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT


class AdministeredHub:
    """A hub whose file is in a folder. `serve` runs it: `client` feeds it, `stub` is its admin."""

    client: FeedClient
    stub: Any

    def __init__(self, folder: Path, **engines: Engine) -> None:
        self.file, self._engines = folder / "hub.toml", engines
        self.listen, self.admin, self.http = (f"127.0.0.1:{port}" for port in free_ports(3))
        hub = {
            "listen": self.listen,
            "admin_listen": self.admin,
            "http_listen": self.http,
            "state_dir": str(folder / "state"),
            "rehearsal_ticks": 500,
        }
        self.content: dict[str, Any] = {
            "hub": {"deadline_ms": LONG_MS, **hub},
            "engines": {"fee": {"taker_bps": {"A": 1.0, "B": 1.0}}},
            "executor": {"listen": "127.0.0.1:1"},
        }

    def place(self, executor: str = "", **engines: str) -> None:
        """Say where others are."""
        if executor:
            self.content["executor"]["listen"] = executor
        for name, place in engines.items():
            self.content["engines"].setdefault(name, {})["place"] = place

    def text(self, *changes: tuple[str, Any]) -> str:
        """The file's text with dotted keys set over it."""
        tree: dict[str, Any] = {k: {**v} for k, v in self.content.items()}
        for key, value in changes:
            *path, last = key.split(".")
            at = tree
            for step in path:
                at[step] = {**at.get(step, {})}
                at = at[step]
            at[last] = value
        return tomli_w.dumps(tree)

    @contextlib.asynccontextmanager
    async def serve(self, up: bool = True) -> AsyncIterator["AdministeredHub"]:
        """Run the hub for as long as the block; with `up`, wait until everybody is connected."""
        if not self.file.exists():
            self.file.write_text(tomli_w.dumps(self.content))
        settings, shutdown, ready = load(self.file, (), {}), asyncio.Event(), asyncio.Event()
        inside = {name: engine() for name, engine in ENGINES.items()} | self._engines
        served = asyncio.create_task(run(settings, inside, shutdown, lambda _: ready.set(), Source(self.file)))
        starting = asyncio.create_task(ready.wait())
        await asyncio.wait([served, starting], return_when=asyncio.FIRST_COMPLETED)
        if served.done():
            starting.cancel()
            await served
        try:
            async with channel(self.admin) as wire, client_of(self.listen) as client:
                self.stub, self.client = admin_pb2_grpc.AdminStub(wire), client
                if up:
                    executor = self.content["executor"]["listen"] != "127.0.0.1:1"
                    await status_of(
                        self.listen,
                        lambda s: s.executor_up == executor and all(e.up for e in s.engines),
                        "everyone",
                    )
                yield self
        finally:
            shutdown.set()
            await within(served, "the hub's end")

    async def reload(self, *changes: tuple[str, Any], **request: Any) -> admin_pb2.ReloadReply:
        """Reload the file's text with changes."""
        reply: admin_pb2.ReloadReply = await within(
            self.stub.Reload(admin_pb2.ReloadRequest(toml=self.text(*changes), **request)), "the reload"
        )
        return reply

    async def inspect(self) -> admin_pb2.InspectReply:
        """The hub as of now."""
        reply: admin_pb2.InspectReply = await within(self.stub.Inspect(admin_pb2.InspectRequest()), "the state")
        return reply

    async def until(self, condition: Any, what: str) -> admin_pb2.InspectReply:
        """The first state that meets a condition."""

        async def again() -> admin_pb2.InspectReply:
            while not condition(state := await self.inspect()):
                pass
            return state

        return await within(again(), what)

    async def trade(self, state: Any, why: str = "") -> admin_pb2.SetTradingStateReply:
        """Set the trading state."""
        request = admin_pb2.SetTradingStateRequest(state=state, why=why)
        reply: admin_pb2.SetTradingStateReply = await within(self.stub.SetTradingState(request), "the trading state")
        return reply

    async def switch(self, engine: str, mode: str) -> admin_pb2.ReloadReply:
        """Switch an engine's mode."""
        request = admin_pb2.SetEngineModeRequest(engine=engine, mode=mode)
        reply: admin_pb2.ReloadReply = await within(self.stub.SetEngineMode(request), "the mode")
        return reply


async def refused(call: Any, code: grpc.StatusCode = REFUSED) -> str:
    """The reasons of a call that is refused with this code."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() is code, error.value.details()
    return str(error.value.details())


@contextlib.asynccontextmanager
async def administered(
    folder: Path, *fakes: FakeEngine, executor: ScriptedExecutor | None = None
) -> AsyncIterator[AdministeredHub]:
    """A hub with an executor and its admin port; its engines are the fakes, each in its place, and real ones inside."""
    async with contextlib.AsyncExitStack() as stack:
        hub = AdministeredHub(folder)
        hub.place(await stack.enter_async_context((executor or ScriptedExecutor()).served()))
        for fake in fakes:
            hub.place(**{fake.name: await stack.enter_async_context(fake.served())})
        yield await stack.enter_async_context(hub.serve())


class RefusingEngine(FakeEngine):
    """Takes no configuration but its first."""

    async def consider(self, offer: engine_pb2.Offer, context: Any) -> None:
        reply = engine_pb2.OfferReply(version=offer.version, reason="it does not suit me")
        await context.write(engine_pb2.EngineReply(offer_reply=reply).SerializeToString())


class WordlessEngine(FakeEngine):
    """Judges, and says nothing to any offer."""

    async def consider(self, offer: engine_pb2.Offer, context: Any) -> None:
        pass


class RefusingExecutor(ScriptedExecutor):
    """Takes no configuration but its first."""

    def considered(self, offer: engine_pb2.Offer) -> engine_pb2.OfferReply:
        return engine_pb2.OfferReply(version=offer.version, reason="the ledger says no")
