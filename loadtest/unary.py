"""Ticks as `Hub.Evaluate` calls, one each, started at their time whatever is unanswered.

`Evaluate` updates no book, so a stream beside the calls keeps the books: without it no tick would find a counterpart,
and what is measured would be how fast a hub says so.

A call ends by its answer or by its deadline, and is never cancelled: grpc.aio would leak it (grpc issue 43360).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import grpc
from google.protobuf.message import DecodeError

from arbhub.columns import Ints
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import ServiceError, channel
from arbhub.v1 import hub_pb2
from loadtest.driver import Clock
from loadtest.outcome import LOST, SHED, Outcome
from loadtest.schedule import Market, Schedule
from loadtest.stream import CONNECT_S, HubStream

METHOD = "/arbhub.v1.Hub/Evaluate"
CALL_S = 1.0
MAX_CALLS = 4096  # in flight; a tick beyond them is shed here
REFRESH_S = 2.0  # well within the age at which a hub's books are usable, 10 s where nothing else is set

Evaluate = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


class UnaryWay:
    """All of a schedule as calls, but for the opening, which goes over the stream again and again."""

    def __init__(
        self,
        target: str,
        market: Market,
        schedule: Schedule,
        outcome: Outcome,
        credentials: Credentials = INSECURE,
    ) -> None:
        self._credentials = credentials
        self._target, self._ticks, self._opening = target, schedule.ticks, schedule.timed
        self._outcome = outcome
        self._clock = Clock()
        reference = market.reference()
        self._venues, self._symbols = reference.venues, reference.symbols
        opening = schedule.ticks.slice(0, schedule.timed)
        self._stream = HubStream(target, market, opening, _Unread(), credentials=credentials)
        self._evaluate: Evaluate
        self._calls: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connected twice, for the calls and for the books, the hub having the opening's books."""
        async with self._stream.open(), channel(self._target, self._credentials) as calls:
            await self._stream.books(self._opening)
            self._evaluate = calls.unary_unary(METHOD)
            await self._first_call(self._evaluate)
            refresh = asyncio.create_task(self._refresh())
            try:
                yield
            finally:
                refresh.cancel()
                await asyncio.gather(refresh, return_exceptions=True)
                await self.rest()

    def start(self, clock: Clock, _: Callable[[], None]) -> None:
        """Ticks' times are by this clock."""
        self._clock = clock

    async def free(self) -> None:
        """Always: no call waits for another."""

    def send(self, first: int, stop: int) -> None:
        """A task a call: it begins with the loop's next turn, and its lateness is taken then."""
        for row in range(first, stop):
            if len(self._calls) >= MAX_CALLS:
                self._outcome.handed_over(row, row + 1, self._clock.now_ns())
                self._outcome.gone(row, SHED)
                continue
            call = asyncio.create_task(self._ask(row))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def rest(self) -> None:
        """Every call ends by its deadline, so this does too."""
        if self._calls:
            await asyncio.wait(self._calls)

    async def _ask(self, row: int) -> None:
        request = self._request(row)
        self._outcome.handed_over(row, row + 1, self._clock.now_ns())
        try:
            answer = await self._evaluate(request, timeout=CALL_S)
            self._answered(row, hub_pb2.EvaluateReply.FromString(answer))
        except grpc.aio.AioRpcError as error:
            self._failed(row, error.code())
        except DecodeError:
            self._outcome.gone(row, LOST)

    def _answered(self, row: int, reply: hub_pb2.EvaluateReply) -> None:
        self._outcome.decided(row, reply.reason, reply.held_ns, self._clock.now_ns())

    def _failed(self, row: int, code: grpc.StatusCode) -> None:
        # The hub notes the end of a call's time too, and its word, CANCELLED, may be here before our own clock is.
        if code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
            self._outcome.expired(row, self._clock.now_ns())
        else:
            self._outcome.gone(row, SHED if code is grpc.StatusCode.RESOURCE_EXHAUSTED else LOST)

    def _request(self, row: int) -> bytes:
        t = self._ticks
        return hub_pb2.EvaluateRequest(
            venue=self._venues[t.venue[row]],
            symbol=self._symbols[t.instrument[row]],
            ts_ns=int(t.ts_ns[row]) + self._clock.wall_ns,
            bid_price=t.bids.price[row].tolist(),
            bid_size=t.bids.size[row].tolist(),
            ask_price=t.asks.price[row].tolist(),
            ask_size=t.asks.size[row].tolist(),
        ).SerializeToString()

    async def _first_call(self, evaluate: Evaluate) -> None:
        """Connects the channel, so that no measured call has to."""
        try:
            await evaluate(self._request(0), timeout=CONNECT_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise ServiceError(f"the hub at {self._target} does not evaluate: {error.details()}") from None

    async def _refresh(self) -> None:
        """Keeps the books young. One that is lost is told by what the calls then answer."""
        while True:
            await asyncio.sleep(REFRESH_S)
            with contextlib.suppress(ServiceError):
                await self._stream.books(self._opening)


class _Unread:
    """The books' own decisions are nobody's figures."""

    def answered(self, rows: Ints, batch: hub_pb2.DecisionBatch) -> None:
        """Not read."""

    def gone(self, rows: Ints, fate: int) -> None:
        """Not counted."""
