"""The vectorised book, every engine and the fold against the plain tick-by-tick model in tests/reference.

Decisions are compared by their `repr`: it tells every float from every other, and 0.0 from -0.0.
"""

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.model import Decision, ModelSettings, Tick, decide
from reference.pipeline import Pipeline, listings
from reference.streams import VENUES, dense_capture, nasty_settings, nasty_streams

from arbhub.reference import ReferenceData

STREAMS = st.one_of(
    nasty_streams(finite=False),
    nasty_streams(extremes=True),
    nasty_streams(backwards=True),
    nasty_streams(extremes=True, backwards=True),
)
CUTS = st.one_of(st.just([1]), st.just([7]), st.just([1000]), st.lists(st.integers(1, 9), min_size=1))


def known(ticks: Sequence[Tick], model_settings: ModelSettings) -> ReferenceData:
    """Reference data of a whole stream; ids in the order of first occurrence, which no name order is."""
    venues = dict.fromkeys(tick.venue for tick in ticks)
    symbols = dict.fromkeys(tick.symbol for tick in ticks)
    return ReferenceData(tuple(venues), tuple(symbols), listings(ticks, model_settings))


def batches(ticks: Sequence[Tick], sizes: Sequence[int]) -> Iterator[Sequence[Tick]]:
    """The ticks in batches of these sizes, over and over."""
    at = turn = 0
    while at < len(ticks):
        size = sizes[turn % len(sizes)]
        yield ticks[at : at + size]
        at, turn = at + size, turn + 1


def decided(ticks: Sequence[Tick], model_settings: ModelSettings, sizes: Sequence[int]) -> list[Decision]:
    """arbhub's decisions on a stream cut into batches."""
    pipeline = Pipeline(model_settings, known(ticks, model_settings))
    return [decision for batch in batches(ticks, sizes) for decision in pipeline.decide(batch)]


def expect_same(actual: Sequence[Decision], expected: Sequence[Decision]) -> None:
    """Assert that every field of every decision is the same to the bit."""
    for mine, models in zip(actual, expected, strict=True):
        assert {name: repr(mine[name]) for name in models} == {name: repr(v) for name, v in models.items()}
        assert mine.keys() == models.keys()


@settings(max_examples=250)
@given(STREAMS, nasty_settings(), CUTS)
def test_nasty_streams(ticks: list[Tick], model_settings: ModelSettings, sizes: list[int]) -> None:
    """Good, bad, broken and extreme books in any batches: every field as the model has it."""
    expect_same(decided(ticks, model_settings, sizes), decide(ticks, model_settings))


@pytest.mark.parametrize(("seed", "levels", "max_notional"), [(0, 6, 5_000.0), (1, 25, 40_000.0), (2, 25, 1e9)])
def test_dense_captures(seed: int, levels: int, max_notional: float) -> None:
    """Dense streams with many edges, shallow and deep, in batches of one size and of all sizes."""
    ticks = dense_capture(seed, 1500, levels=levels)
    fees = dict.fromkeys(("EX1", "EX2", "EX3"), 2.0)
    model_settings = ModelSettings(
        taker_bps=fees, min_edge_age_ms=0.5, max_notional=max_notional, min_net_edge_bps=-1e3
    )
    expected = decide(ticks, model_settings)
    chance = random.Random(seed)
    for sizes in ([1], [7], [1000], [chance.randint(1, 300) for _ in range(20)]):
        expect_same(decided(ticks, model_settings, sizes), expected)


@settings(max_examples=100)
@given(STREAMS, nasty_settings(), CUTS, st.sampled_from(VENUES))
def test_peek_leaves_no_trace(ticks: list[Tick], model_settings: ModelSettings, sizes: list[int], venue: str) -> None:
    """A peek is decided as the tick would be if it came, and what comes after it is decided as if it had not."""
    everything = [*ticks, *(tick._replace(venue=venue) for tick in ticks)]
    pipeline = Pipeline(model_settings, known(everything, model_settings))
    done: list[Decision] = []
    for batch in batches(ticks, sizes):
        pipeline.peek(batch[-1]._replace(venue=venue, bids=batch[0].asks))
        peeked = pipeline.peek(batch[0])
        applied = pipeline.decide(batch)
        expect_same([peeked | {"sequence": len(done)}], applied[:1])
        done += applied
    expect_same(done, decide(ticks, model_settings))


@settings(max_examples=100)
@given(STREAMS, nasty_settings(), CUTS)
def test_reference_data_may_grow_midway(ticks: list[Tick], model_settings: ModelSettings, sizes: list[int]) -> None:
    """Venues and instruments that become known just before they are needed, sorting in anywhere, change nothing."""
    pipeline = Pipeline(model_settings, ReferenceData())
    done: list[Decision] = []
    for batch in batches(ticks, sizes):
        pipeline.merge(known(batch, model_settings))
        done += pipeline.decide(batch)
    expect_same(done, decide(ticks, model_settings))
