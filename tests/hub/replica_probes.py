"""What the tests of replicas share: a hub one of whose engines runs in several processes."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from admin_probes import AdministeredHub
from hub_probes import FakeEngine, ScriptedExecutor, approval
from prometheus_client.parser import text_string_to_metric_families

from arbhub.v1 import engine_pb2


def approving(engine: FakeEngine) -> FakeEngine:
    """The same, with verdicts that make an edge."""
    engine.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    return engine


def asked(fake: FakeEngine) -> int:
    """How many batches a fake was asked about."""
    return fake.kinds().count("batch")


@contextlib.asynccontextmanager
async def replicated(
    folder: Path, *fakes: FakeEngine, up: bool = True, executor: ScriptedExecutor | None = None, **hub: Any
) -> AsyncIterator[tuple[AdministeredHub, list[str]]]:
    """A hub with an executor, all the fakes replicas of one engine, and the other engines inside; and their places."""
    async with contextlib.AsyncExitStack() as stack:
        made = AdministeredHub(folder)
        made.content["hub"] |= hub
        made.place(await stack.enter_async_context((executor or ScriptedExecutor()).served()))
        places = [await stack.enter_async_context(fake.served()) for fake in fakes]
        made.content["engines"].setdefault(fakes[0].name, {})["place"] = places
        await stack.enter_async_context(made.serve(up=False))
        await executor_up(made)
        if up:
            await all_up(made, fakes)
        yield made, places


async def all_up(hub: AdministeredHub, fakes: Sequence[FakeEngine]) -> None:
    """Return once every replica is up."""
    name = fakes[0].name
    await hub.until(lambda s: next(e for e in s.engines if e.name == name).replicas_up == len(fakes), "every replica")


class DyingEngine(FakeEngine):
    """Breaks its stream off instead of answering, as a process does that is killed, for as long as it is told to."""

    dies = True

    async def answer(self, batch: engine_pb2.OpportunityBatch, context: Any) -> None:
        if self.dies:
            raise SystemError("killed")
        await super().answer(batch, context)


async def spread_figures(hub: AdministeredHub) -> dict[str, float]:
    """What the hub tells Prometheus of the spread engine alone."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{hub.http}/metrics") as response:
        families = [*text_string_to_metric_families(await response.text())]
    return {s.name: s.value for family in families for s in family.samples if s.labels == {"engine": "spread"}}


async def executor_up(hub: AdministeredHub) -> None:
    """Return once decisions can be traded on."""
    await hub.until(lambda s: next(link for link in s.links if link.name == "executor").up, "the executor")
