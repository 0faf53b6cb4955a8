"""One trace a tick across processes: feed, hub and executor send their parts apart, and they fit."""

from pathlib import Path

import pytest
from otlp_collectors import Received, ReceivingCollector, parents
from running_arbhub import RunningArbhub

from arbhub.traceids import trace_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINES = [f"engine {name}" for name in ("fee", "liquidity", "risk", "spread")]
SERVICES = {"tick": "arbhub-feed", "round": "arbhub-hub", "leg buy": "arbhub-executor", "fill": "arbhub-executor"}


def is_traded(spans: list[Received]) -> bool:
    """Whether a trace has reached its fills, and all who make a part of it have sent theirs."""
    return {"tick", "round", "leg buy", "leg sell", "fill"} <= {span.name for span in spans}


async def test_a_trade_is_one_tree_from_the_venue_to_its_fills(tmp_path: Path) -> None:
    """At rate 0 whole traces of approved ticks: one root, the round below it, the rest below that, fills below legs."""
    collector = ReceivingCollector()
    async with collector.served() as address:
        traces = {"otlp_endpoint": address, "sample_rate": 0.0, "deployment": "here"}
        async with RunningArbhub(tmp_path, {"traces": traces}).running():
            await collector.until(lambda: any(map(is_traded, collector.traces().values())), "a trade's trace")
    trace, spans = next((trace, spans) for trace, spans in collector.traces().items() if is_traded(spans))
    tree = parents(spans)
    assert (tree[""], tree["tick"]) == (["tick"], ["round"])
    legs = sorted({name for name in tree["round"] if name.startswith("leg ")})
    assert [name for name in tree["round"] if not name.startswith("leg ")] == [*ENGINES, "fold"]
    assert {name for children in (tree.get(leg, []) for leg in legs) for name in children} == {"fill"}
    assert tree.keys() <= {"", "tick", "round", *legs}
    first = {span.name: span for span in spans}
    assert {name: first[name].service for name in SERVICES} == SERVICES
    told = first["round"].said
    assert trace == trace_id("here", int(told["epoch"]), int(told["sequence"]))
    assert first["leg buy"].said["client_order_id"] == f"e{told['epoch']}-s{told['sequence']}-buy-0"
    assert (first["leg buy"].said["venue"], first["leg sell"].said["venue"]) == (told["buy_venue"], told["sell_venue"])
    assert first["tick"].span.start_time_unix_nano <= first["round"].span.start_time_unix_nano
    assert first["round"].span.end_time_unix_nano <= first["tick"].span.end_time_unix_nano
    assert all(span.said["approved"] for span in collector.named("tick") if not span.failed)


async def test_a_collector_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    """Every tick traced and nobody to take it: ticks are decided and filled, and every service ends in order."""
    traces = {"otlp_endpoint": "127.0.0.1:1", "sample_rate": 1.0}
    async with RunningArbhub(tmp_path, {"traces": traces}).running() as arbhub:
        await arbhub.until(lambda s: s.fills >= 2 and s.ticks > 20, "fills")
        children = list(arbhub.household.children)
    assert {child.service.name: child.process.returncode for child in children} == dict.fromkeys(arbhub.services, 0)
