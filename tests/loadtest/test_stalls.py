"""The process that shows the machine's own stalls: what it notes, and that it ends."""

from collections.abc import Callable

import pytest

from loadtest.stalls import Stalls, quantiles_ms, watch


def scripted(*told: bytes | None) -> Callable[[], bytes | None]:
    """Sleeps that end at once, with what they are told."""
    left = list(told)
    return lambda: left.pop(0)


def test_it_notes_every_sleep_since_it_was_told_to_begin() -> None:
    """A line begins the notes anew; only sleeps that nothing interrupted are noted."""
    assert len(watch(scripted(None, None, b"\n", None, None, None, b""))) == 3
    assert len(watch(scripted(None, b""))) == 1


def test_quantiles_are_in_order_and_in_milliseconds() -> None:
    """Nearest rank: of a hundred, the 99th percentile leaves one above it."""
    found = quantiles_ms([number * 1_000_000 for number in range(100, 0, -1)])
    assert found == {"p50": 51.0, "p99": 100.0, "p99_9": 100.0, "p99_99": 100.0, "max": 100.0}
    assert set(quantiles_ms([]).values()) == {None}


def test_the_process_ends_with_its_block() -> None:
    """Whatever happens in the block, the process is gone after it, and without being killed."""
    with pytest.raises(ZeroDivisionError), Stalls() as stalls:
        raise ZeroDivisionError
    assert stalls._process.returncode == 0


def test_its_notes_come_once() -> None:
    """The first `end` has them; afterwards there are none."""
    with Stalls() as stalls:
        stalls.begin()
        assert stalls.end().keys() == {"p50", "p99", "p99_9", "p99_99", "max"}
        assert set(stalls.end().values()) == {None}
