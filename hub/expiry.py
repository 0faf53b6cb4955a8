"""The clock that ends rounds: looked at when the next engine's time in a round is up."""

import asyncio
import time
from collections.abc import Callable


class Expiry:
    """`expired` is called with the time (monotonic ns), and says when it has something to do next, if ever."""

    def __init__(self, expired: Callable[[int], int | None]) -> None:
        self._expired = expired
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0

    def by(self, due_ns: int) -> None:
        """Have the clock looked at when `due_ns` comes, unless it will be before."""
        if self._timer is not None:
            if self._due_ns <= due_ns:
                return
            self._timer.cancel()
        delay_s = max(0.0, (due_ns - time.monotonic_ns()) / 1e9)
        self._due_ns = due_ns
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        # Timers here fire early by up to half a millisecond: the clock decides, and an early one is set again.
        self._timer = None
        due_ns = self._expired(time.monotonic_ns())
        if due_ns is not None:
            self.by(due_ns)
