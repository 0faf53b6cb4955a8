"""The two designs themselves: how the engines are asked about one tick, and what is left when the time is up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from arbhub.columns import Opportunities, Verdicts
from arbhub.service import channel
from arbhub.v1 import engine_pb2, opportunity_pb2
from arbhub.wire import decode_verdicts, encode_depth, encode_opportunities, submessage
from loadtest.baselines.engine import JUDGE, REFERENCE, START

OPPORTUNITIES = engine_pb2.OpportunityBatch.OPPORTUNITIES_FIELD_NUMBER
DEPTH = engine_pb2.OpportunityBatch.DEPTH_FIELD_NUMBER

Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """An OpportunityBatch of one tick, encoded once for all engines: without and with the legs' depth."""

    plain: bytes
    deep: bytes

    @classmethod
    def of(cls, o: Opportunities) -> "Question":
        """The question about one opportunity."""
        plain = submessage(OPPORTUNITIES, encode_opportunities(o))
        return cls(plain, plain + submessage(DEPTH, encode_depth(o.depth)) if o.depth else plain)


class RemoteEngine:
    """An engine process as its hub sees it. `hello` is what it said when the market began."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.hello = engine_pb2.EngineHello()
        channel_ = channel(address)
        self._start: Unary = channel_.unary_unary(START, None, engine_pb2.EngineHello.FromString)
        self._reference: Unary = channel_.unary_unary(REFERENCE)
        self._judge: Unary = channel_.unary_unary(JUDGE, None, opportunity_pb2.VerdictColumns.FromString)

    async def begin(self, configuration: bytes, reference: bytes) -> None:
        """A new market: an encoded Configuration and ReferenceData; AioRpcError where the engine is not there."""
        self.hello = await self._start(configuration)
        await self._reference(reference)

    async def judge(self, question: Question, timeout_s: float) -> Verdicts | None:
        """The verdict, None where there is none in time."""
        if timeout_s <= 0:
            return None
        request = question.deep if self.hello.wants_depth else question.plain
        try:
            return decode_verdicts(await self._judge(request, timeout=timeout_s))
        except grpc.aio.AioRpcError:
            return None


Answers = list[Verdicts | None]
Design = Callable[[Sequence[RemoteEngine], Question, float], Awaitable[Answers]]


async def serial(engines: Sequence[RemoteEngine], question: Question, deadline_s: float) -> Answers:
    """One engine after another; those whose turn comes after the deadline are not asked."""
    until = time.monotonic() + deadline_s
    return [await engine.judge(question, until - time.monotonic()) for engine in engines]


async def gather(engines: Sequence[RemoteEngine], question: Question, deadline_s: float) -> Answers:
    """All engines at once."""
    return list(await asyncio.gather(*(engine.judge(question, deadline_s) for engine in engines)))


DESIGNS: dict[str, Design] = {"serial": serial, "gather": gather}
