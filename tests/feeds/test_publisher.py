"""The publisher over a real socket, against a hub that keeps what it hears and answers when it is allowed to."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from arbhub.link import LinkOptions
from arbhub.reference import Listing, ReferenceData
from arbhub.service import ServiceError, channel, serving
from arbhub.settings.schema import Settings
from arbhub.v1 import hub_pb2
from feeds.market import BookUpdate
from feeds.publisher import Publisher
from feeds.server import run

PATIENCE_S = 20.0
Row = tuple[int, str, str, int]
DATA = ReferenceData(("A", "B"), ("BTC/USD", "ETH/USD"), (Listing("A", "BTC/USD", lot_size=0.1),))


class ListeningHub:
    """Answers reference data with names; batches too, unless it is `lazy`."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.lazy = False
        self.connections = 0
        self.frames: list[str] = []
        self.batches: list[list[Row]] = []
        self.names: list[tuple[list[str], list[str]]] = []
        self._owed: list[int] = []
        self._context: Any = None

    async def stream(self, _: Any, context: Any) -> None:
        self.connections += 1
        self._context, self._owed = context, []
        while (request := await context.read()) is not grpc.aio.EOF:
            kind = request.WhichOneof("frame")
            self.frames.append(kind)
            if kind == "reference":
                self.names.append((list(request.reference.venues), list(request.reference.symbols)))
                await context.write(hub_pb2.StreamReply(names=hub_pb2.Names()))
            else:
                self._owed.append(request.batch.batch_id)
                self._keep(request.batch.ticks)
                if not self.lazy:
                    await self.answer()
            self.changed.set()

    async def answer(self) -> None:
        """Answer what is owed."""
        while self._owed:
            await self._context.write(hub_pb2.StreamReply(batch=hub_pb2.DecisionBatch(batch_id=self._owed.pop(0))))

    def _keep(self, ticks: Any) -> None:
        venues, symbols = self.names[-1]
        columns = zip(ticks.ts_ns, ticks.venue, ticks.instrument, ticks.bid_levels, strict=True)
        self.batches.append([(ts, venues[venue], symbols[symbol], levels) for ts, venue, symbol, levels in columns])

    def rows(self) -> list[Row]:
        return list(itertools.chain(*self.batches))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @contextlib.asynccontextmanager
    async def served(self, port: int = 0) -> AsyncIterator[str]:
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self.stream, hub_pb2.StreamRequest.FromString, hub_pb2.StreamReply.SerializeToString
        )
        handlers = grpc.method_handlers_generic_handler("arbhub.v1.Hub", {"Stream": handler})
        register = lambda server: server.add_generic_rpc_handlers((handlers,))  # noqa: E731
        async with serving(f"127.0.0.1:{port}", register, []) as got:
            yield f"127.0.0.1:{got}"


@contextlib.asynccontextmanager
async def publishing(address: str, max_feed_delay_ms: float = float("inf"), **options: Any) -> AsyncIterator[Publisher]:
    """A publisher whose link runs."""
    publisher = Publisher(address, max_feed_delay_ms, LinkOptions(**options))
    publisher.reference(DATA)
    task = asyncio.create_task(publisher.link.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def update(ts_ns: int, venue: str = "A", symbol: str = "BTC/USD", event_ns: int | None = None) -> BookUpdate:
    """A book with a level a side."""
    return BookUpdate(ts_ns, venue, symbol, ((100.0, 1.0),), ((101.0, 1.0),), event_ns)


async def test_books_published_before_the_hub_is_there_reach_it() -> None:
    """The last book of each venue and instrument, behind the reference data; then every update."""
    hub = ListeningHub()
    async with hub.served() as at, publishing(at) as publisher:
        for tick in (update(1), update(2, "B"), update(3)):
            publisher.publish(tick)
        await hub.until(lambda: len(hub.rows()) == 2)
        publisher.publish(update(4, "B", "ETH/USD"))
        await hub.until(lambda: len(hub.rows()) == 3)
    assert hub.frames[0] == "reference"
    assert hub.names == [(["A", "B"], ["BTC/USD", "ETH/USD"])]
    assert sorted(hub.rows()) == [(2, "B", "BTC/USD", 1), (3, "A", "BTC/USD", 1), (4, "B", "ETH/USD", 1)]


async def test_a_restarted_hub_gets_full_books_again() -> None:
    """Reference data first, then the last book of each, silent ones as empty, although nothing has moved."""
    hub = ListeningHub()
    async with contextlib.AsyncExitStack() as stack:
        life = contextlib.AsyncExitStack()
        at = await life.enter_async_context(hub.served())
        publisher = await stack.enter_async_context(publishing(at))
        await hub.until(lambda: hub.names)
        for tick in (update(1), update(2), BookUpdate(3, "B", "BTC/USD", (), ())):
            publisher.publish(tick)
        await hub.until(lambda: (3, "B", "BTC/USD", 0) in hub.rows())
        await life.aclose()
        publisher.publish(update(4, symbol="ETH/USD"))
        hub.batches.clear()
        hub.frames.clear()
        await stack.enter_async_context(hub.served(int(at.rpartition(":")[2])))
        await hub.until(lambda: len(hub.rows()) == 3)
    assert hub.frames[0] == "reference"
    assert hub.rows() == [(2, "A", "BTC/USD", 1), (3, "B", "BTC/USD", 0), (4, "A", "ETH/USD", 1)]


async def test_while_the_window_is_closed_updates_collect() -> None:
    """They go out together, in order, when the hub answers; of too many the superseded ones are shed first."""
    hub = ListeningHub()
    async with hub.served() as at, publishing(at, max_queue_rows=4, stall_s=PATIENCE_S) as publisher:
        await hub.until(lambda: hub.names)
        hub.lazy = True
        publisher.publish(update(0))
        await hub.until(lambda: hub.batches)
        publisher.publish(update(1, "B"))
        for ts_ns in range(2, 8):
            publisher.publish(update(ts_ns))
        publisher.publish(update(8, "B", "ETH/USD"))
        shed = publisher.shed
        await hub.answer()
        await hub.until(lambda: len(hub.batches) == 2)
    assert len(hub.batches[1]) + shed == 8
    assert len(hub.batches[1]) <= 4
    assert {(1, "B", "BTC/USD", 1), (7, "A", "BTC/USD", 1), (8, "B", "ETH/USD", 1)} <= set(hub.batches[1])
    assert hub.batches[1] == sorted(hub.batches[1])


@pytest.mark.parametrize(("delay_ns", "levels"), [(50_000_000, 1), (50_000_001, 0), (-1, 1), (None, 1)])
async def test_a_book_that_its_venue_sent_long_ago_goes_out_empty(delay_ns: int | None, levels: int) -> None:
    """Older than `max_feed_delay_ms` by the venue's clock: no prices, and none at the next connection either."""
    hub = ListeningHub()
    async with hub.served() as at, publishing(at, 50.0) as publisher:
        await hub.until(lambda: hub.names)
        publisher.publish(update(10**9, event_ns=None if delay_ns is None else 10**9 - delay_ns))
        await hub.until(lambda: hub.batches)
    assert hub.rows() == [(10**9, "A", "BTC/USD", levels)]


async def test_names_that_come_with_an_update_are_stated_before_it() -> None:
    """A venue nobody has stated yet: reference data with its id, then its tick."""
    hub = ListeningHub()
    async with hub.served() as at, publishing(at) as publisher:
        await hub.until(lambda: hub.names)
        publisher.publish(update(1))
        publisher.publish(update(2, "C", "LTC/USD"))
        await hub.until(lambda: len(hub.rows()) == 2)
    assert hub.names[-1] == (["A", "B", "C"], ["BTC/USD", "ETH/USD", "LTC/USD"])
    assert hub.frames[-2:] == ["reference", "batch"]
    assert hub.rows()[-1] == (2, "C", "LTC/USD", 1)


def _replaying(tmp_path: Any, **feed: Any) -> Settings:
    capture = tmp_path / "one.jsonl"
    capture.write_text('{"ts_ns": 1, "venue": "A", "symbol": "BTC/USD", "bids": [[99, 1]], "asks": [[100, 1]]}\n')
    given = {"source": "replay", "captures": [capture], "listen": "127.0.0.1:0", **feed}
    return Settings.model_validate({"feed": given, "hub": {"listen": "127.0.0.1:1"}})


async def test_the_feed_answers_for_its_health_and_ends_when_asked(tmp_path: Any) -> None:
    """Without a hub it serves and waits; health, reflection, and NOT_SERVING at its end."""
    shutdown, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    served = asyncio.create_task(run(_replaying(tmp_path), shutdown, port.set_result))
    async with channel(f"127.0.0.1:{await asyncio.wait_for(port, PATIENCE_S)}") as wire:
        health: Any = health_pb2_grpc.HealthStub(wire).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
        ask: Any = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        async for answer in reflection_pb2_grpc.ServerReflectionStub(wire).ServerReflectionInfo(ask):
            assert "grpc.health.v1.Health" in {s.name for s in answer.list_services_response.service}
        shutdown.set()
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await asyncio.wait_for(served, PATIENCE_S)


async def test_a_port_in_use_is_said(tmp_path: Any) -> None:
    """The feed does not start on it."""
    async with serving("127.0.0.1:0", lambda _: None, []) as port:
        with pytest.raises(ServiceError, match="the port is in use"):
            await run(_replaying(tmp_path, listen=f"127.0.0.1:{port}"), asyncio.Event())
