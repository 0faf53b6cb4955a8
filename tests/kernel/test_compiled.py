"""Compiled loops: what they take, what they refuse, and that they need no place to be kept."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import int64

from arbhub.columns import Ints
from arbhub.compiled import compiled, read, write


@compiled(read(int64, 1), write(int64, 1))
def running_sum(values: Ints, sums: Ints) -> int:
    """Sums so far, and the last of them."""
    total = 0
    for k in range(len(values)):
        total += values[k]
        sums[k] = total
    return total


def test_columns_of_a_frame_are_read_in_place() -> None:
    """Neither a column that may not be written to nor one with gaps has to be copied."""
    sums = np.empty(3, np.int64)
    assert running_sum(np.frombuffer(np.arange(3).tobytes(), np.int64), sums) == 3
    assert running_sum(np.arange(6)[::2], sums) == 6
    assert sums.tolist() == [0, 2, 6]


def test_nothing_compiles_later() -> None:
    """What it was not told of is refused, instead of being compiled for in the middle of a round."""
    with pytest.raises(TypeError, match="No matching definition"):
        running_sum(np.arange(3.0), np.empty(3, np.int64))  # type: ignore[arg-type]  # refused is what it should be


def test_it_needs_no_place_to_be_kept() -> None:
    """Where what is compiled cannot be kept, it is compiled all the same."""
    script = "from hub.book import Books; from arbhub.reference import Universe; Books(Universe(), 1.0, 1)"
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": "/proc/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **nowhere}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
