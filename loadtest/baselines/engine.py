"""One engine behind unary calls, in a process of its own: the real engine, and nothing of the hub's protocol.

`Start` takes the configuration, which begins a new market, and says who answers here;
`Reference` takes the market; `Judge` takes a batch of one opportunity. A unary call needs no batch id to find its
way back, so the answer is the columns alone.
"""

import asyncio
from typing import Any

import grpc

from arbhub.control import decode_reference
from arbhub.engine import Engine, EngineConfiguration
from arbhub.reference import Universe
from arbhub.service import serving, settle_memory
from arbhub.v1 import engine_pb2, market_pb2
from arbhub.wire import decode_opportunities, encode_verdicts
from engines.table import ENGINES

SERVICE = "arbhub.loadtest.Engine"
START, REFERENCE, JUDGE = (f"/{SERVICE}/{method}" for method in ("Start", "Reference", "Judge"))

Context = grpc.aio.ServicerContext[Any, Any]


class UnaryEngine:
    """The three calls. The market is the latest that was started: there is one hub."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._engine: Engine = ENGINES[name]()
        self._universe = Universe()

    async def start(self, request: engine_pb2.Configuration, _: Context) -> engine_pb2.EngineHello:
        """A new engine with these settings, which knows no market yet."""
        self._engine, self._universe = ENGINES[self._name](), Universe()
        self._engine.configure(EngineConfiguration.model_validate_json(request.settings_json))
        e = self._engine
        return engine_pb2.EngineHello(
            name=e.name, reasons=e.reasons, wants_depth=e.wants_depth, wants_state=e.wants_state
        )

    async def reference(self, request: market_pb2.ReferenceData, _: Context) -> bytes:
        """The market, whose positions are the ids of what is asked next."""
        self._universe.merge(decode_reference(request))
        self._engine.reference(self._universe)
        return b""

    async def judge(self, batch: engine_pb2.OpportunityBatch, _: Context) -> bytes:
        """The verdict, as VerdictColumns."""
        return encode_verdicts(self._engine.judge(decode_opportunities(batch.opportunities, batch.depth)))

    def register(self, server: grpc.aio.Server) -> None:
        """Answer calls of `server`."""
        unary = grpc.unary_unary_rpc_method_handler
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Start": unary(self.start, engine_pb2.Configuration.FromString, engine_pb2.EngineHello.SerializeToString),
            "Reference": unary(self.reference, market_pb2.ReferenceData.FromString),
            "Judge": unary(self.judge, engine_pb2.OpportunityBatch.FromString),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))


async def run(name: str, listen: str, shutdown: asyncio.Event) -> None:
    """Serve the engine at HOST:PORT until `shutdown`; ServiceError where the address cannot be had."""
    async with serving(listen, UnaryEngine(name).register, [SERVICE]):
        settle_memory()
        await shutdown.wait()
