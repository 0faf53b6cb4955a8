"""Not too much of the same: each kind of message at most once an interval. Pure: time is an argument.

A kind is a topic and what has become of it: a halt after a resume is not held back for the resume. What is held back
is not lost: when the interval is over the topic's latest event is told, with how many more there were since.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from arbhub.notify.events import Event, Level


@dataclass(frozen=True, slots=True)
class Message:
    """What people read. `events` is how many events it stands for."""

    title: str
    body: str
    level: Level
    topic: str
    state: str
    events: int = 1


@dataclass(slots=True)
class Topic:
    """What is to be told of one topic. `sent_s` is by state."""

    sent_s: dict[str, float] = field(default_factory=dict)
    held: list[Event] = field(default_factory=list)
    """The first and the latest only, if it is more than one; `count` has how many there were."""
    count: int = 0


class Limiter:
    """`hub` says in each message which hub it is about."""

    def __init__(self, hub: str, min_interval_s: float) -> None:
        self._hub, self._min_interval_s = hub, min_interval_s
        self._topics: dict[str, Topic] = {}

    def offer(self, event: Event) -> None:
        """Something to tell; `due` says when."""
        topic = self._topics.setdefault(event.topic, Topic())
        topic.held[1:] = [event]
        topic.count += 1

    def due(self, now_s: float) -> list[Message]:
        """What goes out now."""
        return [self._message(topic, now_s) for topic in self._topics.values() if self._is_due(topic, now_s)]

    def _is_due(self, topic: Topic, now_s: float) -> bool:
        if not topic.held:
            return False
        sent_s = topic.sent_s.get(topic.held[-1].state)
        return sent_s is None or now_s - sent_s >= self._min_interval_s

    def _message(self, topic: Topic, now_s: float) -> Message:
        first, latest, count = topic.held[0], topic.held[-1], topic.count
        topic.held, topic.count = [], 0
        recent = {state: at_s for state, at_s in topic.sent_s.items() if now_s - at_s < self._min_interval_s}
        topic.sent_s = recent | {latest.state: now_s}
        headline, *rest = latest.text.splitlines()
        lines = [*(rest or [headline]), f"hub {self._hub}, {_clock(latest)} UTC"]
        if count > 1:
            lines.append(f"{count - 1} more {'time' if count == 2 else 'times'} since {_clock(first)} UTC")
        return Message(f"arbhub: {headline}", "\n".join(lines), latest.level, latest.topic, latest.state, count)


def _clock(event: Event) -> str:
    return f"{datetime.fromtimestamp(event.at.unix_s, UTC):%Y-%m-%d %H:%M:%S}"
