"""Watching a hub: its states as they come, and that it is gone, in whatever way."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from faulty_wire import FaultyWire

from arbhub.processes import free_ports
from arbhub.service import serving
from arbhub.v1 import hub_pb2
from arbhub.watching import Gone, watched


class StatedHub:
    """Says a state, then another, and so on: their epochs count them. `last` is the one after which it says no more."""

    def __init__(self, last: int | None = None) -> None:
        self.said, self._last = 0, last

    async def _watch(self, request: bytes, _: Any) -> AsyncIterator[hub_pb2.Status]:
        assert hub_pb2.WatchRequest.FromString(request).interval_ms == 50
        while self._last is None or self.said < self._last:
            self.said += 1
            yield hub_pb2.Status(epoch=self.said)

    def _register(self, server: grpc.aio.Server) -> None:
        handler: Any = grpc.unary_stream_rpc_method_handler(
            self._watch, response_serializer=hub_pb2.Status.SerializeToString
        )
        methods = {"Watch": handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("arbhub.v1.Hub", methods),))

    @contextlib.asynccontextmanager
    async def served(self, port: int = 0) -> AsyncIterator[str]:
        """Its address."""
        async with serving(f"127.0.0.1:{port}", self._register, []) as got:
            yield f"127.0.0.1:{got}"


@pytest.fixture
def address() -> str:
    """Where nobody listens yet."""
    return f"127.0.0.1:{free_ports(1)[0]}"


async def first_gone(states: AsyncIterator[hub_pb2.Status | Gone]) -> Gone:
    """The first time that there is none."""
    async for seen in states:
        if isinstance(seen, Gone):
            return seen
    raise AssertionError("it ended by itself")


async def first_state(states: AsyncIterator[hub_pb2.Status | Gone]) -> hub_pb2.Status:
    """The first state."""
    async for seen in states:
        if isinstance(seen, hub_pb2.Status):
            return seen
    raise AssertionError("it ended by itself")


async def test_a_hub_is_found_when_it_comes_and_again_when_it_comes_back(address: str) -> None:
    """In between it is gone, with a reason."""
    async with contextlib.aclosing(watched(address, 0.05)) as states:
        assert (await first_gone(states)).why
        for _ in range(2):
            async with StatedHub().served(int(address.rpartition(":")[2])):
                first = await first_state(states)
                assert (await first_state(states)).epoch == first.epoch + 1
            assert (await first_gone(states)).why


async def test_a_hub_that_ends_its_stream_is_shutting_down() -> None:
    """Every state before that is seen."""
    async with StatedHub(last=3).served() as address, contextlib.aclosing(watched(address, 0.05)) as states:
        seen = [await anext(states) for _ in range(4)]
    assert [one.epoch for one in seen if isinstance(one, hub_pb2.Status)] == [1, 2, 3]
    assert seen[-1] == Gone("it is shutting down")


async def test_a_hub_that_says_nothing_is_gone_until_it_does() -> None:
    """Its connection stands, as that of a stopped process does."""
    async with StatedHub().served() as address:
        wire = FaultyWire(address)
        async with wire.listening(), contextlib.aclosing(watched(wire.address, 0.05, silence_s=0.2)) as states:
            await first_state(states)
            wire.hold()
            assert (await first_gone(states)).why == "it has said nothing for 0.25 s"
            wire.mend()
            await first_state(states)
