"""Where the fields of an encoded message lie: enough to read columns in place, without a message object.

None from here means that a message is not plain, never that it is wrong: protobuf reads it then, and judges it.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int, int]
"""A field's number, where it begins and where it ends; of a varint field: its value and -1."""
_EMPTY = np.zeros(0)


def scan(buffer: bytes, start: int, stop: int) -> list[Span] | None:
    """The fields of an encoded message, None where one is neither a varint nor has a length, or it is cut off."""
    spans: list[Span] = []
    at = start
    try:
        while at < stop:
            tag = buffer[at]
            value = buffer[at + 1]
            at += 2
            if tag & 0x80:  # a field number above 15
                tag, value = tag & 0x7F | value << 7, buffer[at]
                at += 1
            if value & 0x80:
                value, at = _long(value, buffer, at)
            if tag & 7 == 2:
                spans.append((tag >> 3, at, at + value))
                at += value
            elif tag & 7 == 0:
                spans.append((tag >> 3, value, -1))
            else:
                return None
    except IndexError:
        return None
    return spans if at == stop else None


def _long(first: int, buffer: bytes, at: int) -> tuple[int, int]:
    value, shift = first & 0x7F, 7
    while shift < 64:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise IndexError


def batch_of(frame: bytes, number: int) -> tuple[int, list[Span]] | None:
    """The id and the other fields of the batch that is field `number` of a frame; None where it is none of these."""
    inner = _batch(frame, number)
    if not inner or any(span[2] == -1 for span in inner[1:]):
        return None
    return inner[0][1], inner[1:]


def budgeted_batch_of(frame: bytes, number: int, budget: int) -> tuple[int, int, list[Span]] | None:
    """As `batch_of`, with the varint field `budget` as the second value: it comes behind the id, or not at all (0)."""
    inner = _batch(frame, number)
    if not inner:
        return None
    budgeted = len(inner) > 1 and inner[1][0] == budget and inner[1][2] == -1
    rest = inner[2:] if budgeted else inner[1:]
    if any(span[2] == -1 for span in rest):
        return None
    return inner[0][1], inner[1][1] if budgeted else 0, rest


def _batch(frame: bytes, number: int) -> list[Span] | None:
    """The fields of the batch that is field `number` of a frame, the first of them its id."""
    spans = scan(frame, 0, len(frame))
    if not spans or len(spans) != 1 or spans[0][0] != number:
        return None
    inner = scan(frame, spans[0][1], spans[0][2])
    return inner if inner and inner[0][0] == 1 and inner[0][2] == -1 else None


class Columns(SimpleNamespace):
    """A message's columns as they lie in a frame, by name: to `decode_*` the same as the message."""


def column_spans(buffer: bytes, start: int, stop: int, types: Sequence[np.dtype[Any]]) -> list[Span] | None:
    """Of each packed column that is there its field number, where it begins and how many values it has.

    `types` has the type of each field from 1 on. None where there is anything else.
    """
    spans = scan(buffer, start, stop)
    if spans is None:
        return None
    columns, last = [], 0
    for number, begin, end in spans:
        if end < 0 or not last < number <= len(types):  # joined columns come again: protobuf joins them
            return None
        values, rest = divmod(end - begin, types[number - 1].itemsize)
        if rest:
            return None
        columns.append((number, begin, values))
        last = number
    return columns


def columns_in(
    frame: bytes, start: int, stop: int, names: Sequence[str], types: Sequence[np.dtype[Any]]
) -> Columns | None:
    """The columns of an encoded message, numbered from 1 as `names`; None where protobuf has to read it."""
    spans = column_spans(frame, start, stop, types)
    if spans is None:
        return None
    found: dict[str, NDArray[Any]] = dict.fromkeys(names, _EMPTY)
    for number, begin, values in spans:
        found[names[number - 1]] = np.frombuffer(frame, types[number - 1], values, begin)
    return Columns(**found)
