"""What of a hub's successive states is worth telling. Pure: time is an argument.

To begin with all is taken to be well, so what is not is told at once. A change of what comes and goes by itself (the
hub, the executor, engines) has to last before it counts; an operator's word and a limit count at once. While the hub
is gone nothing else is known, and nothing else is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from arbhub.state import DAY_NS, TRADING_STATES
from arbhub.v1 import hub_pb2

RELIEF = 0.9
"""A result is within its limit again at this part of what is near: otherwise it would be told at every fill."""
STATE_NAMES = {number: name for name, number in TRADING_STATES.items()}


class Now(NamedTuple):
    """One moment by two clocks: what is written, and what intervals are measured with."""

    unix_s: float
    elapsed_s: float


class Level(Enum):
    """How bad it is, in Apprise's words."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing to tell: what it is about, what has become of that, and a sentence for people."""

    topic: str
    state: str
    level: Level
    text: str
    at: Now


class Condition:
    """One thing that is in one state at a time. `told` is the state that counts."""

    __slots__ = ("_seen", "_since_s", "told")

    def __init__(self, well: str) -> None:
        self.told = self._seen = well
        self._since_s = 0.0

    def changed(self, state: str, now_s: float, settle_s: float = 0.0) -> bool:
        """Whether it has come to be in another state; that has to last for `settle_s`."""
        if state != self._seen:
            self._seen, self._since_s = state, now_s
        if state == self.told or now_s - self._since_s < settle_s:
            return False
        self.told = state
        return True

    def forget(self) -> None:
        """What was about to change counts from anew."""
        self._seen = self.told


class Watcher:
    """One hub's. `near_limit` is a part of a limit, `settle_s` how long what comes and goes has to last."""

    def __init__(self, near_limit: float, settle_s: float) -> None:
        self._near, self._settle_s = near_limit, settle_s
        self._hub = Condition("there")
        self._gone_since: Now | None = None
        self._trading, self._executor = Condition("active"), Condition("up")
        self._engines: dict[str, Condition] = {}
        self._results: dict[str, Condition] = {}

    def gone(self, why: str, now: Now) -> list[Event]:
        """There is no hub to be seen."""
        self._gone_since = self._gone_since or now
        for condition in (self._trading, self._executor, *self._engines.values(), *self._results.values()):
            condition.forget()
        if not self._hub.changed("gone", now.elapsed_s, self._settle_s):
            return []
        return [Event("hub", "gone", Level.FAILURE, f"the hub cannot be reached: {why}", now)]

    def see(self, status: hub_pb2.Status, now: Now) -> list[Event]:
        """The hub is in this state."""
        return [
            *self._hub_back(now),
            *self._trading_state(status, now),
            *self._executor_state(status, now),
            *(event for engine in status.engines for event in self._engine_state(engine, now)),
            *(event for result in status.results for event in self._result_state(result, status.limits, now)),
        ]

    def _hub_back(self, now: Now) -> Iterator[Event]:
        since, self._gone_since = self._gone_since, None
        if self._hub.changed("there", now.elapsed_s) and since:
            text = f"the hub is back, after {now.elapsed_s - since.elapsed_s:.0f} s"
            yield Event("hub", "there", Level.SUCCESS, text, now)

    def _trading_state(self, status: hub_pb2.Status, now: Now) -> Iterator[Event]:
        state = STATE_NAMES.get(status.trading_state)  # a hub of before this field says nothing of it
        if state and self._trading.changed(state, now.elapsed_s):
            level = {"active": Level.SUCCESS, "reducing": Level.WARNING}.get(state, Level.FAILURE)
            said = f" (the operator's words: {status.why})" if status.why else ""
            yield Event("trading", state, level, f"trading is {state}{said}", now)

    def _executor_state(self, status: hub_pb2.Status, now: Now) -> Iterator[Event]:
        if not self._executor.changed("up" if status.executor_up else "down", now.elapsed_s, self._settle_s):
            return
        if status.executor_up:
            yield Event("executor", "up", Level.SUCCESS, f"the executor is back, in epoch {status.epoch}", now)
        else:
            yield Event("executor", "down", Level.FAILURE, "the executor is lost: nothing is approved", now)

    def _engine_state(self, engine: hub_pb2.EngineStatus, now: Now) -> Iterator[Event]:
        """One that is off is nobody's business; a breaker that tries its engine is still open."""
        breaker = engine.breaker in ("open", "half-open")
        state = "up" if engine.mode == "off" else "breaker open" if breaker else "up" if engine.up else "down"
        condition = self._engines.setdefault(engine.name, Condition("up"))
        was = condition.told
        if not condition.changed(state, now.elapsed_s, 0.0 if "breaker open" in (state, was) else self._settle_s):
            return
        silence = "its silence is a veto" if engine.mode == "active" else f"it is in {engine.mode}, and has no say"
        text = {
            "breaker open": f"the breaker of engine {engine.name} is open: {silence}",
            "down": f"engine {engine.name} is lost: {silence}",
            "up": f"engine {engine.name} answers again" + (", its breaker is closed" if was == "breaker open" else ""),
        }[state]
        yield Event(f"engine {engine.name}", state, Level.SUCCESS if state == "up" else Level.FAILURE, text, now)

    def _result_state(self, result: hub_pb2.ResultStatus, limits: hub_pb2.LimitStatus, now: Now) -> Iterator[Event]:
        today = result.realised_day if result.day == int(now.unix_s * 1e9) // DAY_NS else 0.0
        amount, limit, name = max(
            (result.high_water - result.cumulative, limits.max_drawdown, "drawdown"),
            (-today, result.daily_loss_limit, "loss of the day"),
            key=lambda closeness: _used(*closeness[:2]),
        )
        condition = self._results.setdefault(result.asset, Condition("within"))
        used = _used(amount, limit)
        near = self._near * (RELIEF if condition.told != "within" else 1.0)
        state = "reached" if used >= 1 else "near" if used >= near else "within"
        if not condition.changed(state, now.elapsed_s):
            return
        of = f"{max(amount, 0.0):.2f} of {limit:g} {result.asset}"
        level, text = {
            "reached": (Level.FAILURE, f"the {name} has reached its limit: {of}; nothing more is approved in it"),
            "near": (Level.WARNING, f"the {name} is near its limit: {of}, {used:.0%}"),
            "within": (Level.SUCCESS, f"the {name} is well within its limit again: {of}"),
        }[state]
        yield Event(f"limit {result.asset}", state, level, text, now)


def _used(amount: float, limit: float) -> float:
    """The part of a limit that an amount takes up; a limit of zero is always reached."""
    return max(amount, 0.0) / limit if limit > 0 else 1.0
