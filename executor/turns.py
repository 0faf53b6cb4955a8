"""The desk and its ledger on a thread of their own, one turn at a time, for streams that come and go.

The newest stream holds the epoch; what an older one sends is refused. Replies are put into a stream's queue
in the order of the turns. A ledger that fails leaves the desk ahead of what is written: nobody holds it then,
until a new epoch has loaded the ledger again.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from arbhub.columns import Floats
from arbhub.control import BadReferenceError, encode_report, encode_snapshot
from arbhub.engine import EngineConfiguration
from arbhub.reference import ReferenceData, Universe, taker_table
from arbhub.settings.schema import Settings
from arbhub.state import Report, Snapshot
from arbhub.v1 import executor_pb2, ledger_pb2
from executor.desk import PaperDesk
from executor.journal import FencedError
from executor.ledger import LedgerUnavailableError, SqlLedger
from executor.opening import open_ledger
from executor.slices import decode_batch
from executor.tracing import TradeTraces

T = TypeVar("T")
GRACE_NS = 25_000_000  # a tick may be this late before its absence means that the feed is silent

SETTLED_POLL_S = 0.005

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Stream:
    """One hub connection: its ids, its epoch (0: none yet) and the replies on their way.

    `configuration` is the hub's, for as long as the stream holds the epoch; None: our own file's.
    """

    universe: Universe = field(default_factory=Universe)
    epoch: int = 0
    configuration: EngineConfiguration | None = None
    offered: tuple[str, EngineConfiguration] | None = None
    replies: asyncio.Queue[executor_pb2.ExecuteReply | None] = field(default_factory=asyncio.Queue)

    def report(self, reports: list[Report]) -> None:
        """Send reports, in order."""
        for report in reports:
            self.replies.put_nowait(executor_pb2.ExecuteReply(report=encode_report(report)))


class Turns:
    """Every turn runs on the one thread; `lock` holds a turn and the queueing of its replies together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "desk")
        self._lock = asyncio.Lock()
        self._ledger: SqlLedger | None = None
        self._holder: Stream | None = None
        self._moved = asyncio.Event()
        self._anchor = (0.0, 0)
        self.traces: TradeTraces | None = None

    async def begin(self) -> None:
        """Open the ledger; ServiceError where it cannot be used."""
        self._ledger = SqlLedger(await self._turn(lambda: open_ledger(self._settings.executor.ledger_url.reveal())))
        self._desk = PaperDesk(self._settings.executor, self._settings.risk, self._ledger)

    async def end(self) -> None:
        """Let the turn that runs end, and let go of the ledger."""
        async with self._lock:
            if self._ledger:
                await self._turn(self._ledger.close)
            self._thread.shutdown()

    async def reference(self, stream: Stream, data: ReferenceData) -> None:
        """Take reference data; the first of a stream takes a new epoch, which the reply states."""
        async with self._lock:
            snapshot = await self._guarded(lambda: self._take_reference(stream, data))
            if snapshot is not None:
                self._holder = stream
                log.info("epoch taken", epoch=snapshot.epoch)
                stream.replies.put_nowait(executor_pb2.ExecuteReply(snapshot=encode_snapshot(snapshot)))
                self._mark_time()

    async def batch(self, stream: Stream, batch: executor_pb2.ExecuteBatch) -> None:
        """Take a batch: its reports, then its acknowledgement."""
        async with self._lock:
            self._tell(stream, await self._guarded(lambda: self._take_batch(stream, batch)))
            ack = executor_pb2.ExecuteAck(batch_id=batch.batch_id)
            stream.replies.put_nowait(executor_pb2.ExecuteReply(ack=ack))
            if stream is self._holder:
                self._mark_time()

    async def commit(self, stream: Stream, version: str) -> bool:
        """Run with what was offered under this version; False where that is nothing."""
        async with self._lock:
            offered, stream.offered = stream.offered, None
            if offered is None or offered[0] != version:
                return False
            stream.configuration = offered[1]
            if stream is self._holder:
                await self._guarded(lambda: self._configure(stream))
            return True

    async def trading(self, stream: Stream, state: int) -> None:
        """Take a trading state down, and say so; an older epoch's counts no more, and gets no answer."""
        async with self._lock:
            if stream is not self._holder:
                return
            await self._guarded(lambda: self._desk.trading(state))
            changed = executor_pb2.TradingChanged(state=ledger_pb2.TradingState.ValueType(state))
            stream.replies.put_nowait(executor_pb2.ExecuteReply(trading=changed))
            log.info("trading state", state=ledger_pb2.TradingState.Name(changed.state), epoch=stream.epoch)

    async def complete_in_silence(self) -> None:
        """For as long as it is awaited: when no tick comes, let time pass for the orders that are due."""
        loop = asyncio.get_running_loop()
        while True:
            self._moved.clear()
            due = self._desk.next_due_ns if self._holder else None
            since, from_ns = self._anchor
            passed_ns = from_ns + int((loop.time() - since) * 1e9)
            if due is not None and passed_ns >= due + GRACE_NS:
                await self._advance(since, passed_ns)
                continue
            wait = None if due is None else (due + GRACE_NS - passed_ns) / 1e9 + 0.001
            try:
                async with asyncio.timeout(wait):
                    await self._moved.wait()
            except TimeoutError:
                continue

    async def settled(self) -> None:
        """Return when no order is under way, for as long as `complete_in_silence` is awaited. For the very end."""
        await self._turn(lambda: None)  # first let the turn end that a stream was cut off amid
        self._moved.set()  # and tell the silence, as that stream did not
        while self._holder is not None and self._desk.next_due_ns is not None:  # noqa: ASYNC110  # once in a life
            await asyncio.sleep(SETTLED_POLL_S)

    async def _advance(self, since: float, ts_ns: int) -> None:
        async with self._lock:
            if since != self._anchor[0] or self._holder is None:
                return  # a batch came first, and with it its own time
            try:
                holder = self._holder
                self._tell(holder, await self._guarded(lambda: self._desk.advance(ts_ns)))
            except (FencedError, LedgerUnavailableError) as error:
                log.error("the ledger did not take what was due", error=str(error))

    def _tell(self, stream: Stream, reports: list[Report]) -> None:
        stream.report(reports)
        if self.traces is not None:
            self.traces.reported(reports)

    def _mark_time(self) -> None:
        self._anchor = asyncio.get_running_loop().time(), self._desk.now_ns
        self._moved.set()

    def _take_reference(self, stream: Stream, data: ReferenceData) -> Snapshot | None:
        known = stream.universe
        for kind, names, earlier in (
            ("venues", data.venues, known.venues),
            ("symbols", data.symbols, known.symbols),
        ):
            if list(names[: len(earlier)]) != earlier or len(set(names)) != len(names):
                raise BadReferenceError(f"reference data: {kind} are not the earlier ones with new ones after them")
        known.merge(data)
        if not stream.epoch:
            self._desk.configure(self._configuration(stream).risk)
            snapshot = self._desk.open(known, self._taker_bps(stream))
            stream.epoch = snapshot.epoch
            return snapshot
        if stream.epoch == self._desk.epoch:
            self._desk.reference(self._taker_bps(stream))
        return None

    def _configure(self, stream: Stream) -> None:
        self._desk.configure(self._configuration(stream).risk)
        self._desk.reference(self._taker_bps(stream))

    def _configuration(self, stream: Stream) -> EngineConfiguration:
        own = self._settings
        return stream.configuration or EngineConfiguration(engines=own.engines, risk=own.risk)

    def _taker_bps(self, stream: Stream) -> Floats:
        fee = self._configuration(stream).engines.fee
        return taker_table(stream.universe, dict(fee.taker_bps), dict(fee.volume_30d))

    def _take_batch(self, stream: Stream, batch: executor_pb2.ExecuteBatch) -> list[Report]:
        slices, reports = decode_batch(batch, stream.universe), list[Report]()
        for part in slices:
            if self.traces is not None:
                self.traces.took(stream.epoch, part.decisions, stream.universe.venues)
            if stream is self._holder:
                reports += self._desk.step(part.tick_sequence, part.ticks, part.decisions)
            elif stream.epoch == self._desk.epoch:  # nobody came after it: the ledger failed in the silence
                raise LedgerUnavailableError(f"epoch {stream.epoch} was lost with it, connect again")
            else:
                names = stream.universe.venues, stream.universe.symbols
                reports += self._desk.refuse(part.decisions, stream.epoch, *names)
        return reports

    async def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return await self._turn(work)
        except (FencedError, LedgerUnavailableError):
            self._holder = None
            raise

    async def _turn(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
