"""A span's wire form, opentelemetry.proto.trace.v1.Span, byte by byte: by protobuf it takes twice as long.

What a span says is mostly what others said before it: the same names, reasons and venues. An attribute with a text or a
small number is made once and remembered, so what is left is little more than joining bytes. Pure.
"""

from functools import lru_cache
from struct import Struct

from arbhub.spans import Span
from arbhub.traceids import span_id
from arbhub.wire import head, submessage, varint

# Fields of trace.proto and common.proto, by number.
NAME, KIND, ATTRIBUTES, STATUS, FLAGS = 5, 6, 9, 15, 16
KEY, VALUE = 1, 2
TEXT, TRUTH, WHOLE, DOUBLE = 1, 2, 3, 4
MESSAGE, CODE = 2, 3
SPANS = 2  # of ScopeSpans
TRACE_ID, SPAN_ID, PARENT = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
TIMES = Struct("<BqBq")  # tag and value of fields 7 and 8, fixed64
START_TAG, END_TAG = 7 << 3 | 1, 8 << 3 | 1
REAL = Struct("<d")
ERROR = 2  # Status.STATUS_CODE_ERROR
SAMPLED = varint(FLAGS << 3 | 5) + b"\x01\x00\x00\x00"  # the W3C trace flag
INT64 = (1 << 64) - 1
SMALL = 4096  # numbers below it come again and again


def encode_span(span: Span) -> bytes:
    """As a field of its scope. None and NaN among the attributes are left out."""
    trace = span.trace_id
    parts = [TRACE_ID, trace, SPAN_ID, span_id(trace, span.role), _named(span.name, span.kind)]
    if span.parent:
        parts += (PARENT, span_id(trace, span.parent))
    start_ns = max(0, span.start_ns)
    parts.append(TIMES.pack(START_TAG, start_ns, END_TAG, max(start_ns, span.end_ns)))
    for key, value in span.attributes.items():
        if isinstance(value, float):
            if value == value:  # noqa: PLR0124  # no NaN
                parts += (_before_double(key), REAL.pack(value))
        elif isinstance(value, str) or (value is not None and -1 < value < SMALL):
            parts.append(_remembered(key, value))
        elif value is not None:
            parts.append(_attribute(key, _whole(value)))
    if span.error:
        parts.append(_failed(span.error))
    body = b"".join(parts)
    return head(SPANS, len(body)) + body


@lru_cache(maxsize=256)
def _named(name: str, kind: int) -> bytes:
    return submessage(NAME, name.encode()) + varint(KIND << 3) + varint(kind) + SAMPLED


@lru_cache(maxsize=4096, typed=True)  # as 1 is no True on the wire
def _remembered(key: str, value: str | int) -> bytes:
    if isinstance(value, str):
        return _attribute(key, submessage(TEXT, value.encode()))
    return _attribute(key, varint(TRUTH << 3) + varint(value) if isinstance(value, bool) else _whole(value))


def _whole(value: int) -> bytes:
    return varint(WHOLE << 3) + varint(value & INT64)


@lru_cache(maxsize=256)
def _before_double(key: str) -> bytes:
    """All of an attribute but its eight bytes of value."""
    return _attribute(key, varint(DOUBLE << 3 | 1) + bytes(REAL.size))[: -REAL.size]


def _attribute(key: str, value: bytes) -> bytes:
    return submessage(ATTRIBUTES, submessage(KEY, key.encode()), submessage(VALUE, value))


@lru_cache(maxsize=256)
def _failed(error: str) -> bytes:
    return submessage(STATUS, submessage(MESSAGE, error.encode()), varint(CODE << 3), varint(ERROR))
