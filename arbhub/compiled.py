"""Loops over arrays as machine code: numba, told beforehand what it will be given, so that nothing compiles later.

What it makes is kept beside the source (or in NUMBA_CACHE_DIR) and made anew when the source changes; where neither
can be written to, every process compiles for itself, for a few seconds at its start.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import types

F = TypeVar("F", bound=Callable[..., Any])


def read(kind: types.Type, dimensions: int) -> types.Array:
    """An array that is read: of any layout, and perhaps not writable, as those are that lie in a frame."""
    return types.Array(kind, dimensions, "A", readonly=True)


def write(kind: types.Type, dimensions: int) -> types.Array:
    """An array of our own, contiguous, that is written to."""
    return types.Array(kind, dimensions, "C")


def tuple_of(*parts: types.Type) -> types.BaseTuple:
    """A tuple of these."""
    return types.Tuple(parts)  # type: ignore[no-untyped-call]  # numba is typed in part only


def compiled(*parameters: types.Type) -> Callable[[F], F]:
    """A function of exactly these parameters, with IEEE 754's arithmetic: nothing reordered, nothing contracted."""

    def compile_(function: F) -> F:
        try:
            return cast(F, numba.njit(parameters, cache=True, error_model="numpy")(function))
        except RuntimeError:  # there is no place to keep it
            return cast(F, numba.njit(parameters, error_model="numpy")(function))

    return compile_


def inlined(function: F) -> F:
    """A part of compiled functions: calling one would cost more than most of them do."""
    return cast(F, numba.njit(inline="always", error_model="numpy")(function))
