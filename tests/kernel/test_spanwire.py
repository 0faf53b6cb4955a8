"""Spans byte by byte, against protobuf's own reading of them."""

import math

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Status

from arbhub.spans import CLIENT, INTERNAL, SERVER, Span
from arbhub.spanwire import encode_span
from arbhub.traceids import span_id, trace_id

values = st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(), st.text(max_size=300))
spans = st.builds(
    Span,
    trace_id=st.integers(0, 1 << 40).map(lambda sequence: trace_id("", 1, sequence)),
    role=st.text(max_size=20),
    parent=st.text(max_size=20),
    name=st.text(max_size=200),
    kind=st.sampled_from([INTERNAL, SERVER, CLIENT]),
    start_ns=st.integers(-10, (1 << 63) - 1),
    end_ns=st.integers(-10, (1 << 63) - 1),
    attributes=st.dictionaries(st.text(max_size=150), values, max_size=5),
    error=st.text(max_size=200),
)


@given(st.lists(spans, max_size=3))
def test_protobuf_reads_what_was_written(given_spans: list[Span]) -> None:
    """Every field and attribute, in order; what says nothing is not there."""
    read = ScopeSpans.FromString(b"".join(map(encode_span, given_spans))).spans
    assert len(read) == len(given_spans)
    for span, got in zip(given_spans, read, strict=True):
        assert (got.trace_id, got.span_id) == (span.trace_id, span_id(span.trace_id, span.role))
        assert got.parent_span_id == (span_id(span.trace_id, span.parent) if span.parent else b"")
        assert (got.name, got.kind, got.flags) == (span.name, span.kind, 1)
        assert got.start_time_unix_nano == max(0, span.start_ns)
        assert got.end_time_unix_nano == max(0, span.start_ns, span.end_ns)
        failed = Status.STATUS_CODE_ERROR if span.error else Status.STATUS_CODE_UNSET
        assert (got.status.code, got.status.message) == (failed, span.error)
        said = [(k, v) for k, v in span.attributes.items() if v is not None and not _is_nan(v)]
        assert [a.key for a in got.attributes] == [k for k, _ in said]
        for attribute, (_, value) in zip(got.attributes, said, strict=True):
            kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
            assert attribute.value.WhichOneof("value") == kind
            assert getattr(attribute.value, kind) == value


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
