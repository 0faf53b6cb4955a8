"""The hub's metrics for Prometheus, read off its plain counters when somebody asks. Nothing is counted for them.

`FAMILIES` has a function a topic: whatever else the hub comes to count is shown by adding a function that yields
metrics from it. `exposition` writes them a family at a time and lets the loop go on in between, so that a scrape holds
up no tick for longer than one family takes.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from prometheus_client import PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from arbhub.link import Link
from arbhub.state import TRADING_STATES
from hub.hub import Hub
from hub.pulse import Histogram, Pulse
from hub.remote import RemoteHost
from hub.store import NO_TICK

Families = Callable[[Hub, Pulse], Iterable[Metric]]


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


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"arbhub_{name}", what, value=value)


def _gauges(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    return _by_label(GaugeMetricFamily(f"arbhub_{name}", what, labels=[label]), values)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"arbhub_{name}", what, value=value)


def _counters(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    return _by_label(CounterMetricFamily(f"arbhub_{name}", what, labels=[label]), values)


def _by_label(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histograms(name: str, what: str, label: str, values: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(f"arbhub_{name}", what, labels=[label])
    for key, histogram in values.items():
        family.add_metric([key], histogram.buckets(), histogram.sum)
    return family


def _histogram(name: str, what: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(f"arbhub_{name}", what, histogram.buckets(), histogram.sum)


def _state(hub: Hub, pulse: Pulse) -> Iterator[Metric]:
    yield InfoMetricFamily("arbhub_config", "The configuration that decisions are made by.", {"version": hub.version})
    yield _gauge("start_time_seconds", "When this hub began, since 1970.", pulse.began_s)
    yield _gauge("epoch", "The executor's epoch; 0: none yet.", hub.epoch)
    yield _gauge("executor_up", "Whether the executor is there: without it nothing is approved.", hub.trades.up)
    now = hub.view.trading.in_force(hub.settings.risk)
    states = {name: state == now for name, state in TRADING_STATES.items()}
    yield _gauges("trading_state", "1 for the state in force; none: nobody has said it yet.", "state", states)


def _decisions(hub: Hub, pulse: Pulse) -> Iterator[Metric]:
    s = hub.statistics
    outcomes = {"approved": s.approved, **s.rejected}
    yield _counter("ticks", "Ticks decided, one decision each.", s.ticks)
    yield _counters("decisions", "Decisions by reason; SHED: given up in a full queue.", "reason", outcomes)
    yield _counters("denied_decisions", "Approved, but stopped at the executor's gate.", "reason", s.denied)
    yield _counter("fills", "Fills that the executor has reported.", s.fills)
    yield _histogram("round_duration_seconds", "From a batch's receipt to its decisions.", pulse.rounds.histogram)
    yield _batches(s.ticks, s.sizes)


def _batches(ticks: int, sizes: Sequence[int]) -> Metric:
    """The bounds are those that bit lengths make: 0, 1, 3, 7 and so on."""
    counts = np.cumsum(sizes).tolist()
    buckets = [(str((1 << bits) - 1), count) for bits, count in enumerate(counts)]
    return HistogramMetricFamily(
        "arbhub_batch_ticks", "Ticks decided together.", [*buckets, ("+Inf", counts[-1])], sum_value=ticks
    )


def _engines(hub: Hub, pulse: Pulse) -> Iterator[Metric]:
    tallies = {seat.name: seat.tally for seat in hub.seats}
    yield _gauges("engine_up", "Whether the engine can be asked.", "engine", {s.name: s.up for s in hub.seats})
    modes = GaugeMetricFamily("arbhub_engine_mode", "1 for the mode in force.", labels=["engine", "mode"])
    for engine, section in hub.settings.engines.table().items():
        modes.add_metric([engine, section.mode], 1)
    yield modes
    breakers = GaugeMetricFamily("arbhub_engine_breaker", "1 for the breaker's state.", labels=["engine", "state"])
    for seat in hub.seats:
        breakers.add_metric([seat.name, seat.breaker.state.value], 1)
    yield breakers
    for name, what, counts in (
        ("engine_verdicts", "Opportunities judged.", {e: t.judged for e, t in tallies.items()}),
        ("engine_rejected", "Opportunities rejected.", {e: t.rejected for e, t in tallies.items()}),
        ("engine_timeouts", "Opportunities left unanswered in time.", {e: t.timeouts for e, t in tallies.items()}),
        (
            "engine_skipped",
            "Opportunities it did not judge, their time being up.",
            {e: t.skipped for e, t in tallies.items()},
        ),
        ("engine_breaker_openings", "How often its breaker opened.", {s.name: s.breaker.opened for s in hub.seats}),
    ):
        yield _counters(name, what, "engine", counts)
    histograms = {name: followed.histogram for name, followed in pulse.engines.items()}
    yield _histograms("engine_duration_seconds", "From the asking to the answer, of a batch.", "engine", histograms)
    stray = {arrival.value: count for arrival, count in hub.statistics.stray.items()}
    yield _counters("stray_verdicts", "Verdicts that counted for nothing, by why.", "arrival", stray)


def _late(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """What the deadline costs: what would have been with the verdicts that came too late."""
    late = hub.statistics.late
    yield _counters("late_verdicts", "Verdicts that came after their round was decided.", "engine", late.verdicts)
    yield _counter("late_approvals", "Ticks that would have been approved with them.", late.would_approve)
    yield _counter("late_rejections", "Ticks that would not have been approved with them.", late.would_reject)
    yield _gauge("late_forgone_edge_bps", "The net edges of those approvals, added up.", late.forgone_bps)
    yield _gauges("late_forgone_quote", "What those edges were worth, added up.", "asset", late.forgone_quote)


def _links(hub: Hub, _: Pulse) -> Iterator[Metric]:
    links: list[Link[Any]] = [hub.trades.link]
    links += [place.link for place in hub.places if isinstance(place, RemoteHost)]
    for name, what, values in (
        ("link_up", "Whether the peer has introduced itself over a stream that stands.", {k.name: k.up for k in links}),
        ("link_queue_rows", "Rows that wait to be sent.", {k.name: k.queue.rows for k in links}),
        ("link_unanswered_batches", "Batches under way.", {k.name: k.unanswered for k in links}),
    ):
        yield _gauges(name, what, "peer", values)
    yield _gauge("link_window_batches", "Batches that may be under way on a link.", hub.settings.hub.window)


def _books(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """By venue: how many instruments ever had a book there, how many have a sound one, and the youngest's age."""
    store, now_ns = hub.books.store, time.time_ns()
    if not store.ts.size:
        return
    latest = store.ts.max(axis=0)
    ages = {
        venue: max(0, now_ns - ts_ns) / 1e9
        for venue, ts_ns in zip(store.columns, latest.tolist(), strict=True)
        if ts_ns != NO_TICK
    }
    usable = dict(zip(store.columns, store.usable.sum(axis=0).tolist(), strict=True))
    yield _gauges("quote_age_seconds", "Since the venue's latest tick, of whatever instrument.", "venue", ages)
    yield _gauges("sound_books", "Instruments whose last book made sense.", "venue", usable)


def _second_level(hub: Hub, _: Pulse) -> Iterator[Metric]:
    store = hub.reference_store
    if store is None:
        return
    yield _gauge("reference_store_up", "Whether the second level of reference data is there.", store.up)
    yield _counter("reference_store_outages", "How often it was lost.", store.outages)
    yield _counter("reference_store_pushes", "Changes that it has pushed.", store.pushes)
    yield _gauge("reference_store_entries", "Entries read from it.", store.entries)
    yield _gauge("reference_store_refused_entries", "Entries that cannot be used.", store.refused)
    if store.loaded_at is not None:
        name = "reference_store_load_timestamp_seconds"
        yield _gauge(name, "When all of it was read last, since 1970.", store.loaded_at)


def _results(hub: Hub, _: Pulse) -> Iterator[Metric]:
    ledger = hub.ledger()
    if ledger is not None:
        pnl = {asset: p.cumulative for asset, p in ledger.values.pnl.items()}
        yield _gauges("realised_pnl", "Realised in all, by quote asset.", "asset", pnl)


def _loop(_: Hub, pulse: Pulse) -> Iterator[Metric]:
    yield _histogram("loop_lag_seconds", "How late the event loop was, asked 20 times a second.", pulse.lag)
    yield _histogram("gc_pause_seconds", "How long garbage collections stopped the hub.", pulse.collections)


FAMILIES: tuple[Families, ...] = (
    _state,
    _decisions,
    _engines,
    _late,
    _links,
    _books,
    _second_level,
    _results,
    _loop,
)
