"""Waits that end within microseconds of when they should. Linux only.

The event loop's own timers are whole milliseconds, and spinning for one takes a core from the hub that is being
measured. So the kernel wakes the loop by a timerfd a little early, and only the rest is spun, through the loop, so that
answers are read meanwhile.
"""

import asyncio
import ctypes
import os
import time
from types import TracebackType
from typing import Self

SPIN_NS = 50_000  # about what the kernel takes to wake a process on a busy machine
# From linux/time.h and sys/timerfd.h; Python has them from 3.13 on only.
CLOCK_MONOTONIC = 1
TFD_TIMER_ABSTIME = 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """One timer on the running event loop, for one waiter at a time; a context manager that closes it."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._ringing: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._fd: int = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer could be had")
        self._loop.add_reader(self._fd, self._ring)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    async def until(self, due_ns: int) -> None:
        """Return as soon after `due_ns` (monotonic) as can be, never before, and at once if it has passed."""
        if due_ns - time.monotonic_ns() > SPIN_NS:
            await self._sleep_until(due_ns - SPIN_NS)
        while time.monotonic_ns() < due_ns:  # noqa: ASYNC110  # there is no event: time itself is waited for
            await asyncio.sleep(0)

    async def _sleep_until(self, due_ns: int) -> None:
        self._ringing = self._loop.create_future()
        spec = _Itimerspec(0, 0, *divmod(due_ns, 1_000_000_000))
        if self._libc.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "the timer could not be set")
        await self._ringing

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set anew since it went off
            return
        if self._ringing is not None and not self._ringing.done():
            self._ringing.set_result(None)
