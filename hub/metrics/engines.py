"""The engines one by one, and the links to whoever is asked or told over the wire."""

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from arbhub.link import Link
from hub.hub import Hub
from hub.metrics.families import counters, gauge, gauges, histograms
from hub.pulse import Pulse
from hub.replicas import hosts_of


def engines(hub: Hub, pulse: Pulse) -> Iterator[Metric]:
    """Rate, errors and duration of each."""
    tallies = {seat.name: seat.tally for seat in hub.seats}
    yield gauges("engine_up", "Whether the engine can be asked.", "engine", {s.name: s.up for s in hub.seats})
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
        (
            "engine_unasked",
            "Of the timeouts, opportunities it was spared, its breaker being open.",
            {e: t.unasked for e, t in tallies.items()},
        ),
        ("engine_breaker_openings", "How often its breaker opened.", {s.name: s.breaker.opened for s in hub.seats}),
    ):
        yield counters(name, what, "engine", counts)
    durations = {name: followed.histogram for name, followed in pulse.engines.items()}
    yield histograms("engine_duration_seconds", "From the asking to the answer, of a batch.", "engine", durations)
    stray = {arrival.value: count for arrival, count in hub.statistics.stray.items()}
    yield counters("stray_verdicts", "Verdicts that counted for nothing, by why.", "arrival", stray)


def replicas(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """Of each engine outside this process."""
    found = {name: [*hosts_of([place])] for place in hub.places for name in place.names}
    up = {name: sum(host.link.up for host in hosts) for name, hosts in found.items()}
    known = {name: len(hosts) for name, hosts in found.items()}
    yield gauges("engine_replicas", "Processes that the engine is known to run in; 0: in the hub's.", "engine", known)
    yield gauges("engine_replicas_up", "Those of them that can be asked.", "engine", up)


def links(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """What waits for whom."""
    found: list[Link[Any]] = [hub.trades.link]
    found += [host.link for host in hosts_of(hub.places)]
    now_ns = time.monotonic_ns()
    for name, what, values in (
        ("link_up", "Whether the peer has introduced itself over a stream that stands.", {k.name: k.up for k in found}),
        ("link_queue_rows", "Rows that wait to be sent.", {k.name: k.queue.rows for k in found}),
        ("link_unanswered_batches", "Batches under way.", {k.name: k.unanswered for k in found}),
        (
            "link_oldest_batch_seconds",
            "Since the oldest batch under way was sent.",
            {k.name: k.oldest_ns(now_ns) / 1e9 for k in found},
        ),
    ):
        yield gauges(name, what, "peer", values)
    shed = {k.name: k.queue.shed_rows for k in found}
    yield counters("link_shed_rows", "Rows given up as the queue to the peer was full.", "peer", shed)
    yield gauge("link_window_batches", "Batches that may be under way on a link.", hub.settings.hub.window)
