"""A hub whose engines are fakes, and fakes whose streams fail in ways of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from hub_probes import FakeEngine, FeedClient, ScriptedExecutor, client_of, hub_of, settings, status_of

from arbhub.v1 import engine_pb2


@contextlib.asynccontextmanager
async def judged_by(*fakes: FakeEngine, budget_ms: float | None = None, **hub: Any) -> AsyncIterator[FeedClient]:
    """A client of a hub with an executor, whose engines are the fakes, each in its place, and real ones inside."""
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        places = {fake.name: {"place": await stack.enter_async_context(fake.served())} for fake in fakes}
        if budget_ms is not None:
            places[fakes[0].name]["budget_ms"] = budget_ms  # type: ignore[assignment]  # a place is text, this is not
        address = await stack.enter_async_context(hub_of(settings(executor, places, **hub)))
        await status_of(address, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        yield await stack.enter_async_context(client_of(address))


class ClosingEngine(FakeEngine):
    """Ends its stream, in order, instead of answering, for as long as it is told to."""

    closes = True

    async def converse(self, context: Any) -> None:
        for hello in self.hellos():
            await context.write(hello)
        while isinstance(frame := await context.read(), bytes):
            request = engine_pb2.EngineRequest.FromString(frame)
            self.told.append(request)
            self.changed()
            if request.WhichOneof("frame") == "batch":
                if self.closes:
                    return
                await self.answer(request.batch, context)


class DeafEngine(FakeEngine):
    """Accepts the stream, says hello, and never reads a frame, for as long as it is told to."""

    deaf = True

    async def converse(self, context: Any) -> None:
        if not self.deaf:
            await super().converse(context)
            return
        for hello in self.hellos():
            await context.write(hello)
        await asyncio.Event().wait()


class SkippingEngine(FakeEngine):
    """Says of every batch that it came to it too late, for as long as it is told to."""

    skips = True

    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        if not self.skips:
            await super().answer(batch, context)
            return
        skipped = engine_pb2.VerdictBatch(batch_id=batch.batch_id, skipped=True)
        await context.write(engine_pb2.EngineReply(batch=skipped).SerializeToString())
