"""The hub's metrics for Prometheus, read off its plain counters when somebody asks. Nothing is counted for them.

`FAMILIES` has a function a topic: whatever else the hub comes to count is shown by adding a function that yields
metrics from it. `exposition` writes them a family at a time and lets the loop go on in between, so that a scrape holds
up no tick for longer than one family takes.
"""

import asyncio
from collections.abc import Iterator

from prometheus_client import PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from hub.hub import Hub
from hub.metrics import decisions, engines, market, process, results
from hub.metrics.families import Families
from hub.pulse import Pulse

FAMILIES: tuple[Families, ...] = (
    decisions.state,
    decisions.rounds,
    decisions.edges,
    engines.engines,
    engines.replicas,
    decisions.late,
    engines.links,
    market.books,
    market.feed,
    market.second_level,
    results.results,
    results.limits,
    results.ledger_lag,
    process.loop,
    process.memory,
    process.traces,
)


class HubCollector(Collector):
    """Everything a hub can be asked, and its process."""

    def __init__(self, hub: Hub, pulse: Pulse) -> None:
        self._hub, self._pulse = hub, pulse
        self._process = (ProcessCollector(registry=None), PlatformCollector(registry=None))

    def collect(self) -> Iterator[Metric]:
        """Family by family, each as of when it is reached."""
        self._pulse.follow()
        for families in FAMILIES:
            yield from families(self._hub, self._pulse)
        for collector in self._process:
            yield from collector.collect()


class _Once(Collector):
    """One family as a collector, which is what the writer takes."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


async def exposition(collector: Collector) -> bytes:
    """The text format, version 0.0.4."""
    text = []
    for family in collector.collect():
        text.append(generate_latest(_Once(family)))
        await asyncio.sleep(0)
    return b"".join(text)
