"""A circuit breaker: whether an engine is worth waiting for. Sans-I/O: time is an argument, in monotonic ns.

    closed ──failures in a row, or too many in a window──▶ open ──pause──▶ half-open, for one round
       ▲                                                     ▲                │
       └────────────────────── answered ─────────────────────┼────────────────┤
                                                             └─── no answer ──┘

Open, the engine is not asked, and its silence is decided at once. What was asked before it opened says nothing any
more. A probe of which nothing is ever heard is followed by another after the pause.
"""

from enum import Enum

from arbhub.settings.breaker import BreakerSettings

LEAST_ROUNDS = 10  # in a window; a ratio of fewer says nothing


class State(Enum):
    """Closed is well."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """One engine's. Tell it what became of every round in which the engine was asked."""

    def __init__(self, settings: BreakerSettings) -> None:
        self.state = State.CLOSED
        self.opened = 0
        """How often it has opened, failed probes not counted."""
        self._settings = settings
        self._rounds = 0
        self._row, self._row_since_ns = 0, 0
        self._failures, self._window_since_ns, self._window_base = 0, 0, 0
        self._probe_ns = 0

    def asks(self, now_ns: int) -> bool:
        """Whether the engine is asked in a round that begins now."""
        if self.state is State.CLOSED:
            return True
        if now_ns < self._probe_ns:
            return False
        self.state, self._probe_ns = State.HALF_OPEN, now_ns + self._pause_ns()
        return True

    def succeeded(self) -> None:
        """It has answered, in time."""
        self._rounds += 1
        self._row = 0
        if self.state is State.HALF_OPEN:
            self.state, self._failures = State.CLOSED, 0

    def failed(self, now_ns: int) -> None:
        """It was asked and there is no answer."""
        self._rounds += 1
        if self.state is State.HALF_OPEN:
            self.state, self._probe_ns = State.OPEN, now_ns + self._pause_ns()
        elif self.state is State.CLOSED and (self._in_a_row(now_ns) | self._in_the_window(now_ns)):
            self.state, self._probe_ns = State.OPEN, now_ns + self._pause_ns()
            self.opened += 1
            self._row = self._failures = 0

    def untried(self) -> None:
        """It was let through and could not be asked: that was no probe, and the next round may be one."""
        if self.state is not State.CLOSED:
            self.state, self._probe_ns = State.OPEN, 0

    def _in_a_row(self, now_ns: int) -> bool:
        """Count a failure; whether they have been too many without an answer between them."""
        if not self._row:
            self._row_since_ns = now_ns
        self._row += 1
        lasted = now_ns - self._row_since_ns >= self._settings.failing_ms * 1e6
        return lasted and self._row >= self._settings.failures

    def _in_the_window(self, now_ns: int) -> bool:
        """Count a failure; where it ends the window, whether they were too large a part. Another begins with it."""
        if not self._failures:
            self._begin_window(now_ns)
        self._failures += 1
        rounds = self._rounds - self._window_base
        if now_ns - self._window_since_ns < self._settings.window_ms * 1e6 or rounds < LEAST_ROUNDS:
            return False
        too_many = self._failures >= self._settings.failure_ratio * rounds
        self._begin_window(now_ns)
        self._failures = 1
        return too_many

    def _begin_window(self, now_ns: int) -> None:
        self._window_since_ns, self._window_base = now_ns, self._rounds - 1

    def _pause_ns(self) -> int:
        return int(self._settings.pause_ms * 1e6)
