"""The whole of arbhub as processes on free ports, as the demo runs it, for tests to watch, kill and start again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import tomli_w

from arbhub.cli.demo import on_free_ports
from arbhub.cli.up import services
from arbhub.processes import Household
from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import channel
from arbhub.settings.load import load
from arbhub.v1 import hub_pb2, hub_pb2_grpc

PATIENCE_S = 45.0


class RunningArbhub:
    """Sandbox, four engines, executor, hub and feed, each a process; `more` has sections beside the demo's."""

    def __init__(
        self,
        folder: Path,
        more: Mapping[str, Any] | None = None,
        change: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        """`change` may say otherwise what they say."""
        self.folder, self.config = folder, folder / "demo.toml"
        content = on_free_ports(folder) | dict(more or {})
        content["risk"]["cooldown_ms"] = 0.0
        change(content)
        self.config.write_text(tomli_w.dumps(content))
        self.settings = load(self.config, environ={})
        self.services = {s.name: s for s in services(self.settings, ("--config", str(self.config)), engines=True)}
        self.credentials = credentials_of(self.settings.tls, CLIENT)
        self.household = Household(folder, self.credentials)

    async def start(self, *names: str) -> None:
        """Start services, all where none is named, and wait until they answer."""
        await self.household.start([self.services[name] for name in names or self.services])
        await self.household.ready(PATIENCE_S)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["RunningArbhub"]:
        """All services, for as long as the block runs."""
        try:
            await self.start()
            yield self
        finally:
            await self.household.end()

    async def kill(self, name: str) -> None:
        """SIGKILL a service and forget it."""
        child = next(child for child in self.household.children if child.service.name == name)
        child.process.kill()
        await child.process.wait()
        self.household.children.remove(child)

    async def fault(self, venue: str, name: str) -> None:
        """Have the sandbox do something to a venue: silence, resume and others."""
        url = f"http://{self.settings.sandbox.listen}/{venue}/fault/{name}"
        async with aiohttp.ClientSession() as session, session.post(url) as answer:
            assert answer.status == 200, await answer.text()

    async def until(self, condition: Callable[[hub_pb2.Status], bool], what: str) -> hub_pb2.Status:
        """The first state of the hub that meets a condition; fails where none comes."""
        last: hub_pb2.Status | None = None
        async for status in states(self.settings.hub.listen, PATIENCE_S, self.credentials):
            last = status
            if condition(status):
                return status
        pytest.fail(f"the hub did not come to this: {what}; last seen: {last}")


async def states(address: str, patience_s: float, credentials: Credentials = INSECURE) -> AsyncIterator[hub_pb2.Status]:
    """A hub's state, ten times a second, across its restarts, for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while True:
                async with channel(address, credentials) as wire:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        async for status in hub_pb2_grpc.HubStub(wire).Watch(hub_pb2.WatchRequest(interval_ms=100)):
                            yield status
                await asyncio.sleep(0.1)
