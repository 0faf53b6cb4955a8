"""What the hub tells Prometheus: read with Prometheus' own parser, and judged by its own checker."""

import gc
import time
from collections import deque
from pathlib import Path
from typing import Any

import psutil
import pytest
from http_probes import HttpClient, http_hub, trading_hub
from hub_probes import (
    SYMBOL,
    ScriptedExecutor,
    SilentEngine,
    Tick,
    cheap,
    client_of,
    dear,
    hub_of,
    settings,
    status_of,
)
from prometheus_client.parser import text_string_to_metric_families
from promtool import promtool

from arbhub.control import encode_report
from arbhub.processes import free_ports
from arbhub.state import ACTIVE, DAY_NS, EXECUTED, LedgerValues, Pnl, Report
from hub import submissions
from hub.histograms import LATENCY_S, Followed, Histogram
from hub.metrics.process import memory_limit
from hub.rowfold import decide

Labels = tuple[tuple[str, str], ...]


async def scraped(hub: HttpClient) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and labels; each stands there once."""
    answer = await hub.get("/metrics")
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    families = list(text_string_to_metric_families(answer.content))
    samples = [(s.name, tuple(sorted(s.labels.items())), s.value) for family in families for s in family.samples]
    found = {(name, labels): value for name, labels, value in samples}
    assert len(found) == len(samples)
    assert all(family.documentation for family in families)
    return found


async def test_decisions_are_counted_by_reason() -> None:
    """As many ticks as decisions, as many batches as rounds, and the state that they were made in."""
    async with trading_hub() as hub:
        async with client_of(hub.grpc) as feed:
            await feed.ask(cheap(), dear(), dear())
            await feed.ask(dear())
        watched = await status_of(hub.grpc, lambda s: s.ticks, "ticks")
        found = await scraped(hub)
        assert found["arbhub_ticks_total", ()] == watched.ticks
        decided = {dict(labels)["reason"]: n for (name, labels), n in found.items() if name == "arbhub_decisions_total"}
        assert decided == {"approved": watched.approved, **watched.rejected}
        assert found["arbhub_batch_ticks_sum", ()] == watched.ticks
        assert found["arbhub_batch_ticks_count", ()] == found["arbhub_round_duration_seconds_count", ()]
        assert found["arbhub_batch_ticks_bucket", (("le", "3"),)] == found["arbhub_batch_ticks_count", ()]
        assert found["arbhub_config_info", (("version", settings().version()),)] == 1
        assert (found["arbhub_epoch", ()], found["arbhub_executor_up", ()]) == (1, 1)
        assert found["arbhub_sound_books", (("venue", "A"),)] == 1
        assert found["arbhub_trading_state", (("state", "active"),)] == 1
        assert found["arbhub_engine_mode", (("engine", "fee"), ("mode", "active"))] == 1
        assert ("arbhub_quote_age_seconds", (("venue", "B"),)) in found


async def test_engines_are_counted_one_by_one() -> None:
    """Rate, errors and duration of each; one that is silent is seen to be."""
    silent = SilentEngine("spread")
    async with (
        ScriptedExecutor().served() as executor,
        silent.served() as place,
        http_hub(executor=executor, engines={"spread": {"place": place}}, deadline_ms=20.0) as hub,
        client_of(hub.grpc) as feed,
    ):
        await status_of(hub.grpc, lambda s: s.executor_up and all(e.up for e in s.engines), "everybody")
        await feed.ask(cheap(), dear(), dear())
        found = await scraped(hub)
        for name, of_fee, of_spread in (
            ("arbhub_engine_verdicts_total", 2, 0),
            ("arbhub_engine_timeouts_total", 0, 2),
            ("arbhub_engine_duration_seconds_count", 1, 0),
            ("arbhub_engine_up", 1, 1),
        ):
            assert (found[name, (("engine", "fee"),)], found[name, (("engine", "spread"),)]) == (of_fee, of_spread), (
                name
            )
        assert found["arbhub_decisions_total", (("reason", "ENGINE_TIMEOUT:spread"),)] == 2
        assert found["arbhub_link_window_batches", ()] == 1
        assert found["arbhub_link_up", (("peer", "executor"),)] == 1


async def test_edges_are_sorted() -> None:
    """An opportunity each, however it was decided; the sum of what was approved is there, that of all edges is not."""
    async with trading_hub() as hub:
        async with client_of(hub.grpc) as feed:
            await feed.ask(cheap(), dear())
        await status_of(hub.grpc, lambda s: s.approved, "an approval")
        await scraped(hub)
        found = await scraped(hub)  # what was sorted for one scrape is not sorted again for the next
        offered = found["arbhub_opportunities_total", ()]
        assert offered > 0
        assert found["arbhub_gross_edge_bps_bucket", (("le", "+Inf"),)] == offered
        assert found["arbhub_gross_edge_bps_bucket", (("le", "200"),)] == 0  # it is 300 bps
        assert ("arbhub_gross_edge_bps_sum", ()) not in found
        approved = found["arbhub_decisions_total", (("reason", "approved"),)]
        assert found["arbhub_approved_edge_bps_count", ()] == approved
        assert found["arbhub_approved_edge_bps_sum", ()] > 290 * approved


async def test_what_the_executor_owes_is_seen() -> None:
    """A decision is owed a report from its approval on; with the connection goes the debt."""
    executor, (port,) = ScriptedExecutor(), free_ports(1)
    async with http_hub(executor=f"127.0.0.1:{port}") as hub, client_of(hub.grpc) as feed:
        async with executor.served(port):
            await status_of(hub.grpc, lambda s: s.executor_up, "the executor")
            await feed.ask(cheap(), dear(), dear())
            found = await scraped(hub)
            assert found["arbhub_unreported_decisions", ()] == 2
            assert found["arbhub_unreported_age_seconds", ()] > 0
            for sequence in (1, 2):
                await executor.say(report=encode_report(Report(EXECUTED, 1, sequence, 0, SYMBOL)))
            while (await scraped(hub))["arbhub_unreported_decisions", ()]:
                pass
            assert (await scraped(hub))["arbhub_unreported_age_seconds", ()] == 0
            assert await feed.ask(dear()) == [""]
        await status_of(hub.grpc, lambda s: not s.executor_up, "the executor's end")
        assert (await scraped(hub))["arbhub_unreported_decisions", ()] == 0


async def test_results_are_shown_beside_their_limits() -> None:
    """As the ledger says; a day that is over is not today, and what is bought here and sold there adds up."""
    today = time.time_ns() // DAY_NS
    values = LedgerValues(
        positions={("A", SYMBOL): (2.0, 100.0), ("B", SYMBOL): (-1.5, 200.0)},
        pnl={"USD": Pnl(today + 1, -1.0, 5.0, 7.0), "BRL": Pnl(today - 1, 9.0, 9.0, 9.0)},
        trading_state=ACTIVE,
    )
    async with ScriptedExecutor(values).served() as place, http_hub(executor=place) as hub:
        await status_of(hub.grpc, lambda s: s.executor_up, "the executor")
        found = await scraped(hub)
        by_asset = {(name, dict(labels)["asset"]): v for (name, labels), v in found.items() if "asset" in dict(labels)}
        assert by_asset == {
            ("arbhub_realised_pnl", "USD"): 5,
            ("arbhub_realised_pnl", "BRL"): 9,
            ("arbhub_realised_pnl_today", "USD"): 0,
            ("arbhub_realised_pnl_today", "BRL"): 0,
            ("arbhub_daily_loss_limit_quote", "USD"): float("inf"),
            ("arbhub_daily_loss_limit_quote", "BRL"): float("inf"),
            ("arbhub_drawdown_quote", "USD"): 2,
            ("arbhub_drawdown_quote", "BRL"): 0,
            ("arbhub_exposure_quote", "USD"): 500,
        }
        assert found["arbhub_drawdown_limit_quote", ()] == float("inf")


async def test_venues_that_are_behind_or_ahead_are_seen() -> None:
    """Behind the youngest sound book of the same instrument, ahead of the hub's clock; an empty one is not behind."""
    tomorrow_ms = time.time_ns() / 1e6 + 86_400_000
    async with http_hub() as hub, client_of(hub.grpc) as feed:
        await feed.ask(cheap(1000), dear(3500))
        found = await scraped(hub)
        assert found["arbhub_quote_skew_seconds", (("venue", "A"),)] == 2.5
        assert found["arbhub_quote_skew_seconds", (("venue", "B"),)] == 0
        assert found["arbhub_clock_ahead_seconds", (("venue", "B"),)] == 0
        await feed.ask(Tick(tomorrow_ms, "B", [], []))
        found = await scraped(hub)
        assert found["arbhub_quote_skew_seconds", (("venue", "A"),)] == 0
        assert ("arbhub_quote_skew_seconds", (("venue", "B"),)) not in found
        assert found["arbhub_clock_ahead_seconds", (("venue", "B"),)] > 3600
        assert found["arbhub_quote_age_seconds", (("venue", "B"),)] == 0


async def test_rounds_that_fail_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug while deciding is an error of the round."""
    fails = [True]

    def failing_once(*given: Any) -> Any:
        if fails and given[3]:  # with what engines have said
            fails.pop()
            raise ZeroDivisionError("a bug")
        return decide(*given)

    monkeypatch.setattr(submissions, "decide", failing_once)
    async with http_hub() as hub, client_of(hub.grpc) as feed:
        await feed.ask(cheap(), dear())
        assert (await scraped(hub))["arbhub_failed_rounds_total", ()] == 1


async def test_the_checker_of_prometheus_finds_nothing_amiss() -> None:
    """Names, types, units and help are as Prometheus wants them."""
    async with trading_hub() as hub:
        text = (await hub.get("/metrics")).content
    assert promtool("check", "metrics", given=text) == (0, "")


async def test_the_loop_and_the_collector_are_watched() -> None:
    """Both histograms fill, and nobody watches once the hub has ended."""
    before = list(gc.callbacks)
    async with http_hub() as hub:
        gc.collect()
        found = await scraped(hub)
        assert found["arbhub_gc_pause_seconds_count", ()] > 0
        while not (await scraped(hub))["arbhub_loop_lag_seconds_count", ()]:
            pass
    assert gc.callbacks == before


async def test_without_an_address_there_is_no_port() -> None:
    """And nothing is watched for nobody."""
    before = list(gc.callbacks)
    async with hub_of(settings(http_listen="")):
        assert gc.callbacks == before


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "4096\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            4096,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "8192\n"}, 8192),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/x\n0::/\n",
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "12288\n",
            },
            12288,
        ),
        ({"proc/self/cgroup": "4:memory:/of/the/host\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n"}, 4096),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, None),
        ({}, None),
    ],
    ids=[
        "parent",
        "container",
        "version 1",
        "version 1 in a container",
        "no limit",
        "version 1, no limit",
        "no groups",
    ],
)
def test_the_least_limit_of_memory_counts(files: dict[str, str], limit: int | None, tmp_path: Path) -> None:
    """That of the process's group or of one above it, in either version of control groups; or the machine's memory."""
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert memory_limit(tmp_path) == (limit or psutil.virtual_memory().total)


def test_a_histogram_counts_up_to_each_bound() -> None:
    """A value that is a bound counts as up to it; the last bucket has all."""
    histogram = Histogram((1.0, 2.0))
    histogram.add([0.5, 1.0, 1.5, 3.0])
    histogram.add([2000.0], 1e-3)
    assert histogram.buckets() == [("1", 2), ("2", 4), ("+Inf", 5)]
    assert histogram.sum == 8.0


def test_a_queue_is_followed_however_it_moves() -> None:
    """Each value counts once, whether many or none came between two looks; what fell out unseen is not made up."""
    latest: deque[float] = deque(maxlen=4)
    given = 0
    followed = Followed(latest, lambda: given, 1.0, lambda: 6.0)
    for new in ((), (1.0, 2.0), (), (3.0,), (4.0, 5.0, 6.0, 7.0, 8.0)):
        latest.extend(new)
        given += len(new)
        followed.follow()
    assert followed.histogram.sum == 1 + 2 + 3 + 5 + 6 + 7 + 8
    assert followed.histogram.counts.sum() == 7
    assert followed.beyond == 2  # 7 and 8
    assert len(followed.histogram.counts) == len(LATENCY_S) + 1
