"""What the hub tells Prometheus: read with Prometheus' own parser, and judged by its own checker."""

import asyncio
import gc
import os
import shutil
from collections import deque

import pytest
from http_probes import HttpClient, http_hub, trading_hub
from hub_probes import ScriptedExecutor, SilentEngine, cheap, client_of, dear, hub_of, settings, status_of, within
from prometheus_client.parser import text_string_to_metric_families

from hub.pulse import LATENCY_S, Followed, Histogram

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


async def test_the_checker_of_prometheus_finds_nothing_amiss() -> None:
    """Names, types, units and help are as Prometheus wants them."""
    if not shutil.which("promtool"):
        assert "CI" not in os.environ, "CI must have Prometheus' promtool"
        pytest.skip("promtool is not installed")
    async with trading_hub() as hub:
        text = (await hub.get("/metrics")).content
        check = await asyncio.create_subprocess_exec(
            "promtool", "check", "metrics", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await within(check.communicate(text.encode()), "promtool")
        assert (check.returncode, said) == (0, b"")


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
    followed = Followed(latest, lambda: given, 1.0)
    for new in ((), (1.0, 2.0), (), (3.0,), (4.0, 5.0, 6.0, 7.0, 8.0)):
        latest.extend(new)
        given += len(new)
        followed.follow()
    assert followed.histogram.sum == 1 + 2 + 3 + 5 + 6 + 7 + 8
    assert followed.histogram.counts.sum() == 7
    assert len(followed.histogram.counts) == len(LATENCY_S) + 1
