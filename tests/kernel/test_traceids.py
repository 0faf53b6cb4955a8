"""Ids and sampling of traces: what feed, hub and executor have to agree on without a word."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from arbhub.traceids import SampledAhead, Sampling, always_kept, span_id, trace_id

epochs = st.integers(0, 1 << 40)
sequences = st.integers(0, (1 << 62) - 1)
rates = st.one_of(st.sampled_from([0.0, 1.0, 0.01]), st.floats(0, 1))


@given(epochs, sequences, rates)
def test_sampling_is_that_of_opentelemetry(epoch: int, sequence: int, rate: float) -> None:
    """A tick is sampled where OpenTelemetry's own sampler would sample its trace id."""
    number = int.from_bytes(trace_id("", epoch, sequence), "big")
    theirs = TraceIdRatioBased(rate).should_sample(None, number, "").decision is Decision.RECORD_AND_SAMPLE
    assert (Sampling(rate).rows(epoch, np.array([sequence])) == [0]) is theirs


@given(epochs, sequences, st.text(max_size=8), st.text(max_size=8))
def test_ids_are_valid_and_their_own(epoch: int, sequence: int, one: str, other: str) -> None:
    """No id is all zero; another tick, epoch, deployment or role has another."""
    trace = trace_id(one, epoch, sequence)
    assert len(trace) == 16
    assert any(trace)
    assert trace[8:] != trace_id(one, epoch, sequence + 1)[8:]
    assert trace != trace_id(one, epoch + 1, sequence)
    assert len(span_id(trace, one)) == 8
    assert any(span_id(trace, one))
    if one != other:
        assert trace != trace_id(other, epoch, sequence)
        assert span_id(trace, one) != span_id(trace, other)


def test_ids_stay_what_they_are() -> None:
    """Services of different versions meet in one trace: the ids of a tick are a contract."""
    trace = trace_id("", 3, 1042)
    assert (trace.hex(), span_id(trace, "round").hex()) == ("e70492191e4350218f8f36cb373cca46", "30cfbd1173337336")


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 6000), st.integers(0, 1)), max_size=20), rates)
def test_looking_ahead_finds_the_same(asked: list[tuple[int, int, int]], rate: float) -> None:
    """Whatever is asked in whatever order, a look ahead finds what a look at each sequence finds."""
    ahead = SampledAhead(Sampling(rate))
    for first, count, epoch in asked:
        plain = Sampling(rate).rows(epoch, np.arange(first, first + count))
        assert ahead.rows(epoch, first, count) == plain


def test_the_rate_is_kept_to() -> None:
    """Of a hundred thousand ticks in a row about one in a hundred is sampled."""
    assert 900 < len(Sampling(0.01).rows(1, np.arange(100_000))) < 1100


def test_approvals_and_timeouts_are_always_kept() -> None:
    """By the reason of the decision, which everybody learns."""
    assert always_kept("")
    assert always_kept("ENGINE_TIMEOUT:fee")
    assert not always_kept("NET_EDGE_TOO_LOW")
