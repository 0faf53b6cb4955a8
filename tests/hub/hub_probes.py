"""What the hub's tests share: a hub on a free port, a client's end of a stream, and engines and executors that fail.

Every wait is for a condition, and fails after PATIENCE_S; nothing sleeps and no time is asserted.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import grpc
import numpy as np

from arbhub.columns import APPROVE, Decisions, Side, Ticks, Verdicts
from arbhub.control import encode_reference, encode_snapshot
from arbhub.engine import Engine
from arbhub.reference import Listing, ReferenceData, Universe
from arbhub.service import channel, serving
from arbhub.settings.schema import Settings
from arbhub.state import ACTIVE, LedgerValues, Snapshot
from arbhub.v1 import engine_pb2, executor_pb2, hub_pb2, hub_pb2_grpc, ledger_pb2
from arbhub.wire import decode_decisions, encode_ticks, encode_verdicts
from engines.table import ENGINES
from hub.http.app import Backing
from hub.server import run

T = TypeVar("T")
PATIENCE_S = 20.0
LONG_MS = 60_000.0  # a deadline that no test waits for
SYMBOL = "BTC/USD"
Levels = Sequence[tuple[float, float]]


async def within(work: Awaitable[T], what: str = "it") -> T:
    """Its result; fails where none comes."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await work
    except TimeoutError:
        raise AssertionError(f"{what} never came") from None


class Noticing:
    """Something whose changes can be waited for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], object], what: str = "it") -> None:
        """Return as soon as the condition holds."""

        async def wait() -> None:
            while not condition():
                self._changed.clear()
                await self._changed.wait()

        await within(wait(), what)


class Tick(NamedTuple):
    """A tick by name; times in ms."""

    ms: float
    venue: str
    bids: Levels
    asks: Levels
    symbol: str = SYMBOL


def cheap(ms: float = 0, symbol: str = SYMBOL) -> Tick:
    """A sells at 100."""
    return Tick(ms, "A", [(99.0, 5.0)], [(100.0, 5.0)], symbol)


def dear(ms: float = 1, symbol: str = SYMBOL) -> Tick:
    """B buys at 103: with the cheap book an edge of 300 bps."""
    return Tick(ms, "B", [(103.0, 5.0)], [(104.0, 5.0)], symbol)


def market(venues: Sequence[str] = ("A", "B"), symbols: Sequence[str] = (SYMBOL, "ETH/USD")) -> Universe:
    """Every venue lists every symbol at a fee of 1 bp."""
    universe = Universe()
    listings = tuple(Listing(venue, symbol, taker_bps=1.0) for venue in venues for symbol in symbols)
    universe.merge(ReferenceData(tuple(venues), tuple(symbols), listings))
    return universe


def ticks_of(universe: Universe, rows: Sequence[Tick]) -> Ticks:
    """As columns."""
    return Ticks(
        np.array([round(row.ms * 1e6) for row in rows], np.int64),
        np.array([universe.symbol_ids[row.symbol] for row in rows], np.int64),
        np.array([universe.venue_ids[row.venue] for row in rows], np.int64),
        Side.from_levels([row.bids for row in rows]),
        Side.from_levels([row.asks for row in rows]),
        np.zeros(len(rows), np.int64),
    )


def settings(
    executor: str = "127.0.0.1:1",
    engines: dict[str, Any] | None = None,
    traces: dict[str, Any] | None = None,
    **hub: Any,
) -> Settings:
    """A hub on any free port; engines in-process where nothing else is said."""
    given = {"deadline_ms": LONG_MS, "listen": "127.0.0.1:0", "http_listen": "", **hub}
    sections = {"hub": given, "executor": {"listen": executor}, "engines": engines or {}, "traces": traces or {}}
    return Settings.model_validate(sections)


@contextlib.asynccontextmanager
async def hub_of(made: Settings, backing: Backing | None = None, **engines: Engine) -> AsyncIterator[str]:
    """A served hub's address; real engines in its process but for those given."""
    shutdown, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    inside = {name: engine() for name, engine in ENGINES.items()} | engines
    served = asyncio.create_task(run(made, inside, shutdown, port.set_result, backing=backing))
    await asyncio.wait([served, port], return_when=asyncio.FIRST_COMPLETED)
    if served.done():
        await served
    try:
        yield f"127.0.0.1:{port.result()}"
    finally:
        shutdown.set()
        await within(served, "the hub's end")


class Decided(NamedTuple):
    """A decision, as far as tests ask."""

    sequence: int
    approved: bool
    reason: str


class FeedClient:
    """A client's end of one stream to the hub."""

    def __init__(self, wire: grpc.aio.Channel, universe: Universe | None = None) -> None:
        self.universe = universe or market()
        self.call: Any = hub_pb2_grpc.HubStub(wire).Stream()
        self.batches = 0
        self.columns: list[Decisions] = []

    async def refer(self) -> hub_pb2.Names:
        """Reference data, and the names that answer."""
        await self.call.write(hub_pb2.StreamRequest(reference=encode_reference(self.universe)))
        names: hub_pb2.Names = (await within(self.call.read(), "names")).names
        return names

    def batch(self, ticks: Sequence[Tick]) -> hub_pb2.StreamRequest:
        """A batch, with the next id."""
        self.batches += 1
        request = hub_pb2.StreamRequest(batch=hub_pb2.TickBatch(batch_id=self.batches))
        request.batch.ticks.MergeFromString(encode_ticks(ticks_of(self.universe, ticks)))
        return request

    async def send(self, *ticks: Tick) -> None:
        """A batch, without waiting for its decisions."""
        await self.call.write(self.batch(ticks))

    async def decided(self) -> tuple[hub_pb2.DecisionBatch, list[Decided]]:
        """The next decision batch; names frames are passed over."""
        while (reply := await within(self.call.read(), "decisions")).WhichOneof("frame") == "names":
            pass
        d = decode_decisions(reply.batch.decisions, reply.batch.reasons)
        self.columns.append(d)
        rows = zip(d.sequence.tolist(), d.approved.tolist(), d.reason.tolist(), strict=True)
        return reply.batch, [Decided(sequence, approved, d.reasons[reason]) for sequence, approved, reason in rows]

    async def ask(self, *ticks: Tick) -> list[str]:
        """A batch; the reasons of its decisions, empty where approved."""
        await self.send(*ticks)
        return [decided.reason for decided in (await self.decided())[1]]

    async def decided_epoch(self) -> int:
        """The epoch of an empty batch's decisions."""
        await self.send()
        return (await self.decided())[0].epoch

    async def ask_until(self, wanted: str) -> None:
        """Send the edge again and again until it is decided as wanted."""

        async def again() -> None:
            while (await self.ask(cheap(), dear()))[-1] != wanted:
                pass

        await within(again(), f"the decision {wanted!r}")


@contextlib.asynccontextmanager
async def client_of(address: str, universe: Universe | None = None) -> AsyncIterator[FeedClient]:
    """A client whose reference data the hub has."""
    async with channel(address) as wire:
        client = FeedClient(wire, universe)
        await client.refer()
        yield client
        client.call.cancel()


async def status_of(address: str, condition: Callable[[hub_pb2.Status], object], what: str) -> hub_pb2.Status:
    """The first state of the hub that meets a condition."""

    async def watch() -> hub_pb2.Status:
        async with channel(address) as wire:
            async for status in hub_pb2_grpc.HubStub(wire).Watch(hub_pb2.WatchRequest(interval_ms=50)):
                if condition(status):
                    return status
        raise AssertionError("the hub ended")

    return await within(watch(), what)


class ServedFake(Noticing, ABC):
    """A fake on a port of its own. Subclasses say what it does with a stream."""

    service = method = ""

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0

    @abstractmethod
    async def converse(self, context: Any) -> None:
        """Serve one stream until it ends."""

    async def _stream(self, _: Any, context: Any) -> None:
        self.connections += 1
        self.changed()
        await self.converse(context)

    def _register(self, server: grpc.aio.Server) -> None:
        handler: Any = grpc.stream_stream_rpc_method_handler(self._stream)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(self.service, {self.method: handler}),))

    @contextlib.asynccontextmanager
    async def served(self, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[str]:
        """Its address."""
        async with serving(f"{host}:{port}", self._register, []) as got:
            yield f"{host}:{got}"


def approval(rows: int, bps: float = 0.0) -> Verdicts:
    """An approval of every row."""
    return Verdicts(np.full(rows, APPROVE), np.zeros(rows, np.int64), np.full(rows, bps), np.full(rows, np.inf))


class EngineStream(ServedFake):
    """The engines' side of a stream: says its hellos, and remembers what it was told, by kind, in order."""

    service, method = "arbhub.v1.Engine", "Evaluate"

    def __init__(self) -> None:
        super().__init__()
        self.told: list[engine_pb2.EngineRequest] = []

    def kinds(self) -> list[str]:
        """The kinds of what it was told."""
        return [request.WhichOneof("frame") or "" for request in self.told]

    @abstractmethod
    def hellos(self) -> list[bytes]:
        """Who is there."""

    @abstractmethod
    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        """Answer one batch."""

    async def converse(self, context: Any) -> None:
        for hello in self.hellos():
            await context.write(hello)
        while (frame := await context.read()) is not grpc.aio.EOF:
            request = engine_pb2.EngineRequest.FromString(frame)
            self.told.append(request)
            self.changed()
            if request.WhichOneof("frame") == "batch":
                await self.answer(request.batch, context)
            elif request.WhichOneof("frame") == "offer":
                await self.consider(request.offer, context)

    async def consider(self, offer: engine_pb2.Offer, context: Any) -> None:
        """Accept a configuration."""
        reply = engine_pb2.OfferReply(version=offer.version, accepted=True)
        await context.write(engine_pb2.EngineReply(offer_reply=reply).SerializeToString())


class FakeEngine(EngineStream):
    """Approves everything."""

    def __init__(
        self, name: str, *, wants_state: bool = False, wants_depth: bool = False, reads: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.name, self.wants_state, self.wants_depth, self.reads = name, wants_state, wants_depth, reads

    def hello(self) -> bytes:
        hello = engine_pb2.EngineHello(
            name=self.name,
            reasons=["NO"],
            wants_state=self.wants_state,
            wants_depth=self.wants_depth,
            reads=self.reads,
        )
        return engine_pb2.EngineReply(hello=hello).SerializeToString()

    def verdicts(self, rows: int) -> Verdicts:
        """What it says of a batch."""
        return approval(rows)

    def reply(self, batch_id: int, verdicts: Verdicts) -> bytes:
        reply = engine_pb2.EngineReply(batch=engine_pb2.VerdictBatch(batch_id=batch_id))
        reply.batch.verdicts.add().MergeFromString(encode_verdicts(verdicts))
        return reply.SerializeToString()

    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        """Answer one batch."""
        await context.write(self.reply(batch.batch_id, self.verdicts(len(batch.opportunities.sequence))))

    def hellos(self) -> list[bytes]:
        return [self.hello()]


class SilentEngine(FakeEngine):
    """Accepts everything and never answers."""

    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        pass


class SlowEngine(FakeEngine):
    """Answers when it is allowed to, batch by batch."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.allowed = asyncio.Semaphore(0)

    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        await self.allowed.acquire()
        await super().answer(batch, context)


class BrokenEngine(FakeEngine):
    """Answers what it is told to answer, which makes no sense."""

    def __init__(self, name: str, answers: Callable[["BrokenEngine", int, int], list[bytes]]) -> None:
        super().__init__(name)
        self.answers = answers

    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        for frame in self.answers(self, batch.batch_id, len(batch.opportunities.sequence)):
            await context.write(frame)


class FakeHost(EngineStream):
    """Fake engines on one stream: each has its own hello and part of every answer."""

    def __init__(self, *engines: FakeEngine) -> None:
        super().__init__()
        self.engines = engines
        self.hosted = [engine.name for engine in engines]

    def hello(self, engine: FakeEngine) -> bytes:
        """An engine's own, which names the others."""
        reply = engine_pb2.EngineReply.FromString(engine.hello())
        reply.hello.hosted.extend(self.hosted)
        return reply.SerializeToString()

    def reply(self, batch: engine_pb2.OpportunityBatch) -> bytes:
        """Every engine's verdicts on a batch."""
        reply = engine_pb2.EngineReply(batch=engine_pb2.VerdictBatch(batch_id=batch.batch_id))
        for engine in self.engines:
            answer = engine.verdicts(len(batch.opportunities.sequence))
            reply.batch.verdicts.add().MergeFromString(encode_verdicts(answer))
        return reply.SerializeToString()

    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        """Answer one batch."""
        await context.write(self.reply(batch))

    def hellos(self) -> list[bytes]:
        return [self.hello(engine) for engine in self.engines]


class SlowHost(FakeHost):
    """Answers when it is allowed to, batch by batch."""

    def __init__(self, *engines: FakeEngine) -> None:
        super().__init__(*engines)
        self.allowed = asyncio.Semaphore(0)

    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        await self.allowed.acquire()
        await super().answer(batch, context)


class ScriptedExecutor(ServedFake):
    """Gives each connection the next epoch and acknowledges batches; says what it is told to say."""

    service, method = "arbhub.v1.Executor", "Execute"

    def __init__(self, values: LedgerValues | None = None, equity: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.values, self.equity = values or LedgerValues(trading_state=ACTIVE), equity or {}
        self.epoch = 0
        self.told: list[list[executor_pb2.ExecuteRequest]] = []
        self._context: Any = None
        self._writing = asyncio.Lock()

    async def say(self, **frame: Any) -> None:
        """Send a reply on the latest connection."""
        async with self._writing:
            await self._context.write(executor_pb2.ExecuteReply(**frame).SerializeToString())

    def slices(self, connection: int = -1) -> list[executor_pb2.ExecuteSlice]:
        """All slices of a connection, in order."""
        told = self.told[connection] if self.told else []
        return [part for request in told for part in request.batch.slices]

    def events(self, connection: int = -1) -> list[tuple[str, int]]:
        """Ticks and decisions of a connection in the order in which they came, by sequence."""
        found = []
        for part in self.slices(connection):
            found += [("tick", sequence) for sequence in part.tick_sequence]
            found += [("decision", sequence) for sequence in part.decisions.sequence]
        return found

    async def converse(self, context: Any) -> None:
        told: list[executor_pb2.ExecuteRequest] = []
        self.told.append(told)
        self._context = context
        while (frame := await context.read()) is not grpc.aio.EOF:
            request = executor_pb2.ExecuteRequest.FromString(frame)
            told.append(request)
            kind = request.WhichOneof("frame")
            if kind == "reference" and not any(r.WhichOneof("frame") == "reference" for r in told[:-1]):
                self.epoch += 1
                await self.say(snapshot=encode_snapshot(Snapshot(self.epoch, True, self.values, self.equity)))
            elif kind == "batch":
                await self.say(ack=executor_pb2.ExecuteAck(batch_id=request.batch.batch_id))
            elif kind == "offer":
                await self.say(offer_reply=self.considered(request.offer))
            elif kind == "trading":
                await self.trade(request.trading.state)
            self.changed()

    def considered(self, offer: engine_pb2.Offer) -> engine_pb2.OfferReply:
        """Accept a configuration."""
        return engine_pb2.OfferReply(version=offer.version, accepted=True)

    async def trade(self, state: "ledger_pb2.TradingState.ValueType") -> None:
        """Take a trading state down, and say so."""
        self.values = self.values.merged(LedgerValues(trading_state=state))
        await self.say(trading=executor_pb2.TradingChanged(state=state))
