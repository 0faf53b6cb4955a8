"""The alarm: never early, never a wait that only spins, and nothing left behind."""

import contextlib
import time
from pathlib import Path

import pytest

from loadtest.alarm import SPIN_NS, Alarm


class CountingAlarm(Alarm):
    """Counts the waits that the kernel ended, and when it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_ns: list[int] = []

    async def _sleep_until(self, due_ns: int) -> None:
        self.asked_ns.append(due_ns)
        await super()._sleep_until(due_ns)


@pytest.mark.parametrize("wait_ns", [-1_000_000, 0, SPIN_NS // 2, 300_000, 5_000_000])
async def test_it_is_never_early(wait_ns: int) -> None:
    """However long the wait, it ends at its time or after."""
    with Alarm() as alarm:
        for _ in range(20):
            due_ns = time.monotonic_ns() + wait_ns
            await alarm.until(due_ns)
            assert time.monotonic_ns() >= due_ns


async def test_only_the_last_of_a_wait_is_spun() -> None:
    """A long wait is the kernel's but for its end, a short one is not worth a timer."""
    with CountingAlarm() as alarm:
        due_ns = time.monotonic_ns() + 20_000_000
        await alarm.until(due_ns)
        assert alarm.asked_ns == [due_ns - SPIN_NS]
        await alarm.until(time.monotonic_ns() - 1)
        assert len(alarm.asked_ns) == 1


def timers() -> set[Path]:
    """The process's open timers. Other descriptors come and go with what tests before this one left to gRPC."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if descriptor.readlink() == Path("anon_inode:[timerfd]"):
                found.add(descriptor)
    return found


async def test_its_timer_is_given_back() -> None:
    """Leaving the block closes the file descriptor."""
    before = timers()
    with Alarm() as alarm:
        await alarm.until(time.monotonic_ns() + 1_000_000)
        assert timers() - before
    assert not timers() - before
