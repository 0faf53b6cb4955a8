"""What is known of the market, and how old that is: books by venue, the feed's delay, clocks, reference data."""

import time
from collections.abc import Iterator

import numpy as np
from prometheus_client.core import Metric

from hub.hub import Hub
from hub.metrics.families import counter, counters, gauge, gauges, histograms
from hub.pulse import Pulse
from hub.store import NO_TICK, Store


def books(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """By venue: its youngest book's age, how far its oldest is behind others, and how many make sense."""
    store, now_ns = hub.books.store, time.time_ns()
    yield gauge("quote_age_limit_seconds", "The age from which on a book is not used.", hub.books.max_age_ns / 1e9)
    if not store.ts.size:
        return
    latest = zip(store.columns, store.ts.max(axis=0).tolist(), strict=True)
    ages = {venue: (now_ns - ts_ns) / 1e9 for venue, ts_ns in latest if ts_ns != NO_TICK}
    usable = dict(zip(store.columns, store.usable.sum(axis=0).tolist(), strict=True))
    yield gauges(
        "quote_age_seconds",
        "Since the venue's latest tick, of whatever instrument.",
        "venue",
        {venue: max(0.0, age) for venue, age in ages.items()},
    )
    yield gauges(
        "clock_ahead_seconds",
        "How far the venue's latest tick is ahead of the hub's clock.",
        "venue",
        {venue: max(0.0, -age) for venue, age in ages.items()},
    )
    yield gauges(
        "quote_skew_seconds",
        "The most that a sound book of the venue is behind the youngest of the same instrument.",
        "venue",
        _skews(store),
    )
    yield gauges("sound_books", "Instruments whose last book made sense.", "venue", usable)


def _skews(store: Store) -> dict[str, float]:
    """Of the venues with a sound book."""
    youngest = np.where(store.usable, store.ts, NO_TICK).max(axis=1, keepdims=True)
    behind = np.where(store.usable, youngest - store.ts, -1).max(axis=0).tolist()
    return {venue: ns / 1e9 for venue, ns in zip(store.columns, behind, strict=True) if ns >= 0}


def feed(_: Hub, pulse: Pulse) -> Iterator[Metric]:
    """Of ticks for which the venue states a time."""
    m = pulse.market
    name, what = "feed_delay_seconds", "From the venue's own time of a tick to its receipt by the feed."
    yield histograms(name, what, "venue", m.delays)
    name, what = "feed_ahead_ticks", "Ticks whose time at the venue is later than their receipt: a clock is wrong."
    yield counters(name, what, "venue", m.ahead)


def second_level(hub: Hub, _: Pulse) -> Iterator[Metric]:
    """Redis, where there is one."""
    store = hub.reference_store
    if store is None:
        return
    yield gauge("reference_store_up", "Whether the second level of reference data is there.", store.up)
    yield counter("reference_store_outages", "How often it was lost.", store.outages)
    yield counter("reference_store_pushes", "Changes that it has pushed.", store.pushes)
    yield gauge("reference_store_entries", "Entries read from it.", store.entries)
    yield gauge("reference_store_refused_entries", "Entries that cannot be used.", store.refused)
    if store.loaded_at is not None:
        name = "reference_store_load_timestamp_seconds"
        yield gauge(name, "When all of it was read last, since 1970.", store.loaded_at)
