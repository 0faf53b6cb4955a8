"""How often the same is told, as pure logic."""

from collections import defaultdict
from itertools import pairwise

from hub_states import at
from hypothesis import given
from hypothesis import strategies as st

from arbhub.notify.events import Event, Level
from arbhub.notify.limiter import Limiter, Message

INTERVAL_S = 60.0
TOPICS, STATES = ("hub", "trading"), ("good", "bad", "worse")


def event(seconds: float, topic: str = "trading", state: str = "halted") -> Event:
    """Something to tell."""
    return Event(topic, state, Level.FAILURE, f"{topic} is {state}", at(seconds))


def offered(limiter: Limiter, *events: Event) -> list[Message]:
    """What goes out as these come, each at its time."""
    out = []
    for one in events:
        limiter.offer(one)
        out += limiter.due(one.at.elapsed_s)
    return out


def test_the_first_goes_out_at_once() -> None:
    """With what it is about in its title, and which hub and when below."""
    (message,) = offered(Limiter("10.0.0.1:7401", INTERVAL_S), event(3661))
    assert message.title == "arbhub: trading is halted"
    assert message.body == "trading is halted\nhub 10.0.0.1:7401, 2023-11-15 01:01:01 UTC"


def test_what_is_held_back_is_counted_in_the_next() -> None:
    """Once the interval is over, without anything new."""
    limiter = Limiter("h", INTERVAL_S)
    assert len(offered(limiter, *(event(s) for s in (0, 10, 20, 30, 40)))) == 1
    assert limiter.due(at(59).elapsed_s) == []
    (message,) = limiter.due(at(60).elapsed_s)
    assert message.body.splitlines()[1:] == [
        "hub h, 2023-11-15 00:00:40 UTC",
        "3 more times since 2023-11-15 00:00:10 UTC",
    ]
    assert message.events == 4
    assert limiter.due(at(1000).elapsed_s) == []


def test_another_state_is_not_held_back_for_the_first() -> None:
    """A resume goes out right after a halt; a halt again has to wait."""
    limiter = Limiter("h", INTERVAL_S)
    went = offered(limiter, event(0), event(10, state="active"), event(20))
    assert [message.state for message in went] == ["halted", "active"]
    assert [message.state for message in limiter.due(at(60).elapsed_s)] == ["halted"]


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from(TOPICS), st.sampled_from(STATES)), max_size=60))
def test_nothing_is_told_too_often_and_nothing_is_lost(steps: list[tuple[float, str, str]]) -> None:
    """Each kind at most once an interval; every event counted once; and what was told last is what happened last."""
    limiter, now_s, sent = Limiter("h", INTERVAL_S), 0.0, defaultdict[tuple[str, str], list[float]](list)
    counted, happened, heard = defaultdict[str, int](int), dict[str, str](), dict[str, str]()

    def listen() -> None:
        for message in limiter.due(at(now_s).elapsed_s):
            sent[message.topic, message.state].append(now_s)
            counted[message.topic] += message.events
            heard[message.topic] = message.state

    for step_s, topic, state in steps:
        now_s += step_s
        limiter.offer(event(now_s, topic, state))
        happened[topic] = state
        listen()
        assert topic in heard
    now_s += INTERVAL_S + 1.0
    listen()
    assert heard == happened
    assert counted == {topic: sum(t == topic for _, t, _ in steps) for topic in happened}
    for times in sent.values():
        assert all(later - earlier >= INTERVAL_S - 1e-6 for earlier, later in pairwise(times))
