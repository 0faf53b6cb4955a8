"""Which ticks are traced, and the ids of their traces and spans. Pure.

A trace's id follows from the hub's epoch and the tick's sequence, a span's from its trace and its role in it. Feed, hub
and executor learn both with every decision, so they agree on all ids, and on which ticks are traced, without a word
about it on the wire. The low half of an id is a permutation of the sequences of an epoch: no two ticks share one.
Where no executor was ever connected the epoch is 0, and a hub that is started anew gives the same ids again.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from arbhub.columns import Ints

MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15  # of splitmix64, whose finaliser `_mixed` is: both are permutations of 64 bits
FACTORS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
AHEAD = 4096  # sequences that are looked over together

FEED, ROUND, FOLD, GATE = "feed", "round", "fold", "gate"
"""Roles in a trace; more are made by the functions below."""
TIMEOUT = "ENGINE_TIMEOUT:"


def engine_role(engine: str) -> str:
    """The role of an engine that was asked."""
    return f"engine:{engine}"


def order_role(client_order_id: str) -> str:
    """The role of an order."""
    return f"order:{client_order_id}"


def fill_role(client_order_id: str, number: int) -> str:
    """The role of an order's fill, counted from 0."""
    return f"fill:{client_order_id}:{number}"


def always_kept(reason: str) -> bool:
    """Whether a decision for this reason is traced at any rate: it approves (""), or an engine was out of time."""
    return not reason or reason.startswith(TIMEOUT)


def trace_id(deployment: str, epoch: int, sequence: int) -> bytes:
    """16 bytes, not all zero; the same for the same tick in every process of a deployment."""
    seed = _hash(f"{epoch}:{deployment}")
    low = _mixed(seed + sequence * STEP & MASK)
    high = _mixed(low ^ seed) or 1
    return high.to_bytes(8, "big") + low.to_bytes(8, "big")


def span_id(trace: bytes, role: str) -> bytes:
    """8 bytes, not all zero."""
    return (_mixed(int.from_bytes(trace[8:], "big") ^ _hash(role)) or 1).to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class Sampling:
    """The part `rate` (0 to 1) of all ticks, by trace id as OpenTelemetry's TraceIdRatioBased has it."""

    rate: float
    deployment: str = ""

    def rows(self, epoch: int, sequences: Ints) -> list[int]:
        """Where among these sequences those are that are sampled."""
        below = round(self.rate * (MASK + 1))
        if not below:
            return []
        low = _lows(_hash(f"{epoch}:{self.deployment}"), sequences)
        rows: list[int] = np.nonzero(low <= np.uint64(below - 1))[0].tolist()
        return rows


class SampledAhead:
    """The same for sequences that come one after the other: found thousands at a time, and then only looked up."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._epoch, self._start, self._stop = -1, 0, 0
        self._found: list[int] = []

    def rows(self, epoch: int, first: int, count: int) -> list[int]:
        """Which of `count` sequences from `first` on are sampled, counted from 0."""
        if epoch != self._epoch or first < self._start or first + count > self._stop:
            self._look_over(epoch, first, max(count, AHEAD))
        found, at = self._found, bisect_left(self._found, first)
        if at == len(found) or found[at] >= first + count:
            return []
        return [sequence - first for sequence in found[at : bisect_left(found, first + count)]]

    def _look_over(self, epoch: int, first: int, count: int) -> None:
        self._epoch, self._start, self._stop = epoch, first, first + count
        self._found = [first + row for row in self._sampling.rows(epoch, np.arange(first, self._stop))]


@lru_cache(maxsize=1024)
def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _mixed(x: int) -> int:
    for shift, factor in FACTORS:
        x = (x ^ x >> shift) * factor & MASK
    return x ^ x >> 31


def _lows(seed: int, sequences: Ints) -> NDArray[np.uint64]:
    """The low halves of the trace ids; arrays of unsigned numbers wrap round by themselves."""
    x = sequences.astype(np.uint64) * np.uint64(STEP) + np.uint64(seed)
    for shift, factor in FACTORS:
        x = (x ^ x >> np.uint64(shift)) * np.uint64(factor)
    return x ^ x >> np.uint64(31)
