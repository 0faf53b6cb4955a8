"""A hub's state as it says it itself, again and again, across its restarts: for whoever shows it or tells of it.

Only `Hub.Watch` is called: one stream a watcher, a state an interval, made between two rounds. A hub that is there and
says nothing, because it is stopped or cut off, counts as gone too.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import grpc

from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import channel
from arbhub.v1 import hub_pb2, hub_pb2_grpc

RETRY_S = 0.25
SILENCE_S = 3.0
"""Beyond the interval: a hub under load is late now and then, one that is stopped says nothing at all."""


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no hub to be seen now."""

    why: str


async def watched(
    address: str, interval_s: float, credentials: Credentials = INSECURE, silence_s: float = SILENCE_S
) -> AsyncGenerator[hub_pb2.Status | Gone]:
    """A hub's states, and a `Gone` a few times a second for as long as there are none. It does not end by itself."""
    request = hub_pb2.WatchRequest(interval_ms=max(1, round(interval_s * 1000)))
    async with channel(address, credentials) as wire:
        while True:
            call: Any = hub_pb2_grpc.HubStub(wire).Watch(request)
            try:
                while isinstance(seen := await _next(call, interval_s + silence_s), hub_pb2.Status):
                    yield seen
                yield seen
            finally:
                call.cancel()
            await asyncio.sleep(RETRY_S)


async def _next(call: Any, patience_s: float) -> hub_pb2.Status | Gone:
    """The call's next state, or why there is none. The read is not given up: what is cancelled is the stream."""
    read = asyncio.ensure_future(_read(call))
    done, _ = await asyncio.wait([read], timeout=patience_s)
    return read.result() if done else Gone(f"it has said nothing for {patience_s:g} s")


async def _read(call: Any) -> hub_pb2.Status | Gone:
    try:
        seen = await call.read()
    except grpc.aio.AioRpcError as error:
        return Gone(error.details() or error.code().name)
    except asyncio.CancelledError:  # the stream was, by us
        return Gone("no longer asked")
    return seen if isinstance(seen, hub_pb2.Status) else Gone("it is shutting down")
