"""The breaker, as tables of what happened and when. Time is an argument, in ms here, so nothing waits."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.settings.breaker import BreakerSettings
from hub.breaker import LEAST_ROUNDS, Breaker, State

MS = 1_000_000
INF = float("inf")
CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN
Event = tuple[str, int]


def breaker(**given_settings: float) -> Breaker:
    """Three in a row open it, at once and for 100 ms; no ratio does."""
    rules = {"failures": 3.0, "failing_ms": 0.0, "failure_ratio": INF, "window_ms": 1000.0, "pause_ms": 100.0}
    return Breaker(BreakerSettings(**(rules | given_settings)))


def lived(one: Breaker, events: Sequence[Event]) -> State:
    """The state after answers (`ok`), silences (`no`), rounds (`ask`) and hellos, each at its time."""
    for what, ms in events:
        if what == "ok":
            one.succeeded()
        elif what == "no":
            one.failed(ms * MS)
        elif what == "ask":
            one.asks(ms * MS)
        else:
            one.untried()
    return one.state


def nos(*times: int) -> list[Event]:
    """Silences."""
    return [("no", ms) for ms in times]


OPENED = nos(1, 2, 3)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], CLOSED),
        (nos(1, 2), CLOSED),
        (OPENED, OPEN),
        ([*nos(1, 2), ("ok", 3), *nos(4, 5)], CLOSED),
        ([*nos(1, 2), ("ok", 3), *nos(4, 5, 6)], OPEN),
        ([*OPENED, ("ask", 102)], OPEN),  # the pause is from the last failure
        ([*OPENED, ("ask", 103)], HALF_OPEN),
        ([*OPENED, ("ok", 4)], OPEN),  # asked before it opened
        ([*OPENED, *nos(50, 99), ("ask", 103)], HALF_OPEN),  # so were these
        ([*OPENED, ("ask", 103), ("ok", 104)], CLOSED),
        ([*OPENED, ("ask", 103), ("no", 104)], OPEN),
        ([*OPENED, ("ask", 103), ("no", 104), ("ask", 203)], OPEN),
        ([*OPENED, ("ask", 103), ("no", 104), ("ask", 204)], HALF_OPEN),
        ([*OPENED, ("ask", 103), ("ok", 104), *nos(105, 106)], CLOSED),  # it begins anew
        ([*OPENED, ("ask", 103), ("ok", 104), *nos(105, 106, 107)], OPEN),
        ([*OPENED, ("hello", 4)], OPEN),
        ([*OPENED, ("hello", 4), ("ask", 5)], HALF_OPEN),
        ([*OPENED, ("hello", 4), ("ask", 5), ("hello", 6), ("ask", 7)], HALF_OPEN),  # it could not be asked
        ([*nos(1, 2), ("hello", 3), ("no", 4)], OPEN),  # a hello is no answer
    ],
)
def test_failures_in_a_row(events: list[Event], state: State) -> None:
    """Three of them open it; one round tries after the pause; its answer closes, its silence opens again."""
    assert lived(breaker(), events) is state


def test_one_probe_at_a_time() -> None:
    """While a probe is out no other round waits; one that is never heard of is followed by another after the pause."""
    one = breaker()
    lived(one, OPENED)
    assert [one.asks(ms * MS) for ms in (4, 102, 103, 104, 150, 202, 203, 204)] == [
        *(False, False, True, False, False, False, True, False)
    ]


@pytest.mark.parametrize(
    ("times", "state"),
    [((0, 1, 2, 99), CLOSED), ((0, 1, 2, 100), OPEN), ((0, 100), CLOSED), ((0, 50, 100), OPEN)],
)
def test_a_short_stall_opens_nothing(times: Sequence[int], state: State) -> None:
    """However many rounds it costs: failures have to stretch over the time that is set."""
    assert lived(breaker(failing_ms=100.0), nos(*times)) is state


@pytest.mark.parametrize(
    ("every", "state"),
    [(2, OPEN), (3, CLOSED), (1, OPEN)],
)
def test_a_part_of_the_rounds_of_a_window(every: int, state: State) -> None:
    """Half of them without an answer open it when the window is over, a third does not, in this window or the next."""
    one = breaker(failures=INF, failure_ratio=0.5)
    for ms in range(0, 1000, 10):
        lived(one, [("no" if ms // 10 % every == 0 else "ok", ms)])
        assert one.state is CLOSED
    for ms in range(1000, 3000, 10):
        lived(one, [("no" if ms // 10 % every == 0 else "ok", ms)])
    assert one.state is state


def test_a_window_of_few_rounds_says_nothing() -> None:
    """At one round a second, a failure now and then opens nothing until there are enough to compare."""
    one = breaker(failures=INF, failure_ratio=0.5)
    for second in range(LEAST_ROUNDS - 1):
        assert lived(one, nos(second * 1000)) is CLOSED
    assert lived(one, nos(LEAST_ROUNDS * 1000)) is OPEN


def test_a_burst_in_a_window_is_diluted_by_what_follows() -> None:
    """A stall of a twentieth of a second, then a thousand answers: the window is judged at its end."""
    one = breaker(failures=INF, failure_ratio=0.5)
    lived(one, nos(*range(50)))
    lived(one, [("ok", 0)] * 1000)
    assert lived(one, nos(1100)) is CLOSED


def test_without_rules_it_never_opens() -> None:
    """`inf` turns a rule off."""
    one = breaker(failures=INF)
    assert lived(one, nos(*range(5000))) is CLOSED
    assert (one.asks(0), one.opened) == (True, 0)


@given(
    st.lists(st.tuples(st.sampled_from(["ok", "no", "hello"]), st.integers(0, 60)), max_size=80),
    st.integers(1, 4),
)
def test_whatever_happens(story: list[tuple[str, int]], failures: int) -> None:
    """Closed asks always; it opens after just so many in a row; open asks never before the pause, then once a pause."""
    one, now, row = breaker(failures=float(failures)), 0, 0
    next_probe = 0
    for what, passed in story:
        now += passed
        before = one.state
        asked = one.asks(now * MS)
        assert asked is (before is CLOSED or now >= next_probe)
        if asked and before is not CLOSED:
            next_probe = now + 100
        if what == "hello":
            one.untried()
            next_probe = next_probe if one.state is CLOSED else 0
        elif asked:
            lived(one, [(what, now)])
            row = row + 1 if what == "no" and before is CLOSED else 0
            well = what == "ok" or (before is CLOSED and row < failures)
            assert one.state is (CLOSED if well else OPEN)
            if not well:
                next_probe, row = now + 100, 0
