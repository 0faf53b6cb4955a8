"""A hub with all that metrics are about: Redis, an engine over the wire, an executor with results, delayed ticks.

And what is asked of such a hub in PromQL: which samples with which labels an expression needs.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import promql_parser
from hub_probes import FakeEngine, ScriptedExecutor, cheap, client_of, dear, hub_of, settings, status_of, ticks_of
from prometheus_client.parser import text_string_to_metric_families
from redis_server import redis_server

from arbhub.control import encode_report
from arbhub.processes import free_ports
from arbhub.settings.redis import RedisSettings
from arbhub.state import ACTIVE, DENIED, LedgerValues, Pnl, Report
from arbhub.v1 import hub_pb2
from arbhub.wire import encode_ticks

REPOSITORY = Path(__file__).resolve().parents[2]
PROMETHEUS_OWN = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "instance"}}
SCRAPED = {"job", "instance"}  # labels that every sample gets when it is scraped
EARNED = LedgerValues(
    positions={("A", "BTC/USD"): (0.5, 100.0)}, pnl={"USD": Pnl(0, 1.0, 3.0, 4.0)}, trading_state=ACTIVE
)

Samples = dict[str, set[str]]
"""Label names by the name of a sample."""


async def full_exposition(directory: Path) -> str:
    """What a hub like that tells after it has approved something and was denied it."""
    (port,) = free_ports(1)
    executor, fee = ScriptedExecutor(EARNED), FakeEngine("fee")
    async with (
        redis_server(directory) as redis,
        executor.served() as trades,
        fee.served() as place,
        _hub(redis.url, trades, place, port) as address,
        client_of(address) as feed,
        aiohttp.ClientSession() as web,
    ):
        await status_of(address, lambda s: s.executor_up and all(e.up for e in s.engines), "everybody")
        await feed.call.write(_delayed(feed))
        await feed.decided()
        await feed.ask_until("")
        await executor.say(report=encode_report(Report(DENIED, 1, 0, 0, "BTC/USD", "MAX_EXPOSURE")))
        await status_of(address, lambda s: s.denied, "the denial")
        async with web.get(f"http://127.0.0.1:{port}/metrics") as answer:
            return await answer.text()


@contextlib.asynccontextmanager
async def _hub(redis: str, executor: str, fee: str, http: int) -> AsyncIterator[str]:
    made = settings(executor, {"fee": {"place": fee}}, http_listen=f"127.0.0.1:{http}")
    async with hub_of(made.model_copy(update={"redis": RedisSettings(url=redis)})) as address:
        yield address


def _delayed(feed: Any) -> hub_pb2.StreamRequest:
    """Ticks for which the venues state a time, 5 ms before ours."""
    ticks = ticks_of(feed.universe, [cheap(), dear()])
    feed.batches += 1
    request = hub_pb2.StreamRequest(batch=hub_pb2.TickBatch(batch_id=feed.batches))
    delayed = replace(ticks, ts_event_ns=ticks.ts_ns - 5_000_000)
    request.batch.ticks.MergeFromString(encode_ticks(delayed))
    return request


def samples_of(text: str) -> Samples:
    """Every sample that a text exposes, or would as soon as there is one."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for name in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",)):
            if not family.samples:
                found[family.name + name] = {"*"}
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def unknown_in(expression: str, samples: Samples) -> list[str]:
    """What an expression asks for and no hub has; ValueError where it is no PromQL."""
    known = {name: labels | SCRAPED for name, labels in samples.items()} | PROMETHEUS_OWN
    missing = []
    for name, labels in _selectors(expression):
        if name not in known:
            missing.append(name)
        elif "*" not in known[name]:
            missing += [f"{name}{{{label}}}" for label in sorted(labels - known[name])]
    return missing


def _selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Every sample's name in it, with the labels that it is picked by."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    for selector in found:
        yield selector.name or "", {matcher.name for matcher in selector.matchers.matchers}
