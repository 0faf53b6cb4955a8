"""Hubs that answer on a real socket as a test wants them to, and what it takes to drive one."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from arbhub.service import serving
from arbhub.v1 import decision_pb2, hub_pb2
from loadtest.driver import Way, drive
from loadtest.outcome import Outcome
from loadtest.schedule import Arrivals, Market, Schedule, schedule

MARKET = Market(instruments=3, venues=2)
OPENING = 6
HELD_NS = 7_000_000


class ApprovingHub:
    """Approves every tick, and says that it held it for HELD_NS. `sizes` are those of the batches."""

    def __init__(self) -> None:
        self.ticks: list[tuple[int, int]] = []
        self.sizes: list[int] = []
        self.asked: list[hub_pb2.EvaluateRequest] = []

    async def stream(self, _: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.WhichOneof("frame") == "reference":
                await context.write(hub_pb2.StreamReply(names=hub_pb2.Names()))
                continue
            self.sizes.append(len(request.batch.ticks.ts_ns))
            self.ticks += zip(request.batch.ticks.instrument, request.batch.ticks.venue, strict=True)
            for answer in self.answers(request.batch.batch_id, self.sizes[-1]):
                await context.write(hub_pb2.StreamReply(batch=answer))

    def answers(self, batch_id: int, count: int) -> list[hub_pb2.DecisionBatch]:
        """What a batch of so many ticks gets."""
        return [decided(batch_id, [0] * count)]

    async def evaluate(self, request: hub_pb2.EvaluateRequest, _: Any) -> hub_pb2.EvaluateReply:
        self.asked.append(request)
        return hub_pb2.EvaluateReply(approved=True, held_ns=HELD_NS)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Its address."""
        methods: dict[str, Any] = {
            "Stream": grpc.stream_stream_rpc_method_handler(
                self.stream, hub_pb2.StreamRequest.FromString, hub_pb2.StreamReply.SerializeToString
            ),
            "Evaluate": grpc.unary_unary_rpc_method_handler(
                self.evaluate, hub_pb2.EvaluateRequest.FromString, hub_pb2.EvaluateReply.SerializeToString
            ),
        }
        handler = grpc.method_handlers_generic_handler("arbhub.v1.Hub", methods)
        async with serving("127.0.0.1:0", lambda server: server.add_generic_rpc_handlers((handler,)), []) as port:
            yield f"127.0.0.1:{port}"


def decided(batch_id: int, reason: list[int], *names: str) -> hub_pb2.DecisionBatch:
    """An answer: a reason a tick, 0 for approved and k for the k-th name."""
    columns = decision_pb2.DecisionColumns(reason=reason, approved=[int(not code) for code in reason])
    return hub_pb2.DecisionBatch(batch_id=batch_id, reasons=names, decisions=columns, held_ns=HELD_NS)


class Bystanding:
    """Notes that the measured part began and ended."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def begin(self) -> None:
        self.heard.append("begin")

    def end(self) -> None:
        self.heard.append("end")


def short_schedule(warm_up_s: float = 0.0, seconds: float = 0.1) -> Schedule:
    """About a hundred ticks within a tenth of a second."""
    return schedule(Arrivals.POISSON, 1000, seconds, MARKET, 1, warm_up_s)


async def driven(way: Way, plan: Schedule, outcome: Outcome) -> None:
    """A whole run."""
    bystander = Bystanding()
    await drive(way, plan, outcome, bystander)
    assert bystander.heard == ["begin", "end"]
