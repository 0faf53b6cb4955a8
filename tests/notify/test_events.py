"""What of a hub's states is told, as pure logic: nothing here waits or reads a clock."""

import pytest
from hub_states import INF, at, engine, status
from hypothesis import given
from hypothesis import strategies as st

from arbhub.notify.events import Event, Level, Watcher
from arbhub.v1 import hub_pb2

NEAR, SETTLE_S = 0.8, 5.0


@pytest.fixture
def watcher() -> Watcher:
    """One that has seen a hub that is well."""
    made = Watcher(NEAR, SETTLE_S)
    assert made.see(status(), at(0)) == []
    return made


def told(events: list[Event]) -> list[tuple[str, str]]:
    """Topics and states."""
    return [(event.topic, event.state) for event in events]


def test_a_halt_and_a_resume_are_told_at_once(watcher: Watcher) -> None:
    """With the operator's words, as a failure and as a success, and once each."""
    (halt,) = watcher.see(status("halted", why="drill"), at(1))
    assert (halt.topic, halt.state, halt.level) == ("trading", "halted", Level.FAILURE)
    assert halt.text == "trading is halted (the operator's words: drill)"
    assert watcher.see(status("halted", why="drill"), at(2)) == []
    assert told(watcher.see(status("reducing"), at(3))) == [("trading", "reducing")]
    (resume,) = watcher.see(status("active"), at(4))
    assert (resume.state, resume.level) == ("active", Level.SUCCESS)


def test_what_is_not_well_at_first_sight_is_told() -> None:
    """Whoever starts watching a halted hub hears of it."""
    assert told(Watcher(NEAR, SETTLE_S).see(status("halted"), at(0))) == [("trading", "halted")]


def test_a_hub_that_does_not_say_its_trading_state_is_not_taken_for_halted(watcher: Watcher) -> None:
    """A hub of an earlier version leaves the field empty."""
    assert watcher.see(status("unspecified"), at(1)) == []


def test_the_executor_has_to_be_gone_for_a_while(watcher: Watcher) -> None:
    """A reconnection within that time is not told, a loss is, and so is its end."""
    assert watcher.see(status(executor_up=False), at(1)) == []
    assert watcher.see(status(), at(4)) == []
    assert watcher.see(status(executor_up=False), at(5)) == []
    assert told(watcher.see(status(executor_up=False), at(10))) == [("executor", "down")]
    assert watcher.see(status(epoch=2), at(11)) == []
    (back,) = watcher.see(status(epoch=2), at(16))
    assert (back.state, back.text) == ("up", "the executor is back, in epoch 2")


def test_a_breaker_is_told_at_once_and_a_probe_does_not_close_it(watcher: Watcher) -> None:
    """Open and half-open are one to a person."""
    (opened,) = watcher.see(status(engines=[engine(breaker="open")]), at(1))
    assert opened.text == "the breaker of engine fee is open: its silence is a veto"
    assert watcher.see(status(engines=[engine(breaker="half-open")]), at(2)) == []
    (closed,) = watcher.see(status(engines=[engine()]), at(3))
    assert closed.text == "engine fee answers again, its breaker is closed"


def test_an_engine_that_cannot_be_reached_is_told_but_not_one_that_is_off(watcher: Watcher) -> None:
    """Its breaker stays closed, and still nothing is approved; one in shadow has no say."""
    down, off = status(engines=[engine(up=False)]), status(engines=[engine(up=False, mode="off")])
    assert watcher.see(down, at(1)) == []
    (lost,) = watcher.see(down, at(6))
    assert lost.text == "engine fee is lost: its silence is a veto"
    assert watcher.see(off, at(7)) == []
    assert told(watcher.see(off, at(12))) == [("engine fee", "up")]
    shadow = status(engines=[engine(breaker="open", mode="shadow")])
    assert "it is in shadow, and has no say" in watcher.see(shadow, at(13))[0].text


def test_a_hub_that_is_gone_is_told_once_and_when_it_is_back(watcher: Watcher) -> None:
    """With why, and for how long it was."""
    assert watcher.gone("Connection refused", at(1)) == []
    (lost,) = watcher.gone("Connection refused", at(6))
    assert lost.text == "the hub cannot be reached: Connection refused"
    assert watcher.gone("Connection refused", at(7)) == []
    (back,) = watcher.see(status(), at(31))
    assert back.text == "the hub is back, after 30 s"


def test_a_hub_that_is_started_anew_at_once_is_not_told(watcher: Watcher) -> None:
    """Nor is the executor, to which it takes a moment to connect."""
    assert watcher.see(status(executor_up=False), at(1)) == []
    assert watcher.gone("Connection refused", at(2)) == []
    assert watcher.see(status(executor_up=False), at(6)) == []
    assert watcher.see(status(), at(7)) == []


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (status(drawdown=80.0), "the drawdown is near its limit: 80.00 of 100 USD, 80%"),
        (status(loss=45.0, drawdown=79.0), "the loss of the day is near its limit: 45.00 of 50 USD, 90%"),
        (
            status(drawdown=100.0),
            "the drawdown has reached its limit: 100.00 of 100 USD; nothing more is approved in it",
        ),
    ],
)
def test_the_closer_of_two_limits_is_told(watcher: Watcher, state: hub_pb2.Status, text: str) -> None:
    """From 80 % of it on."""
    (event,) = watcher.see(state, at(1))
    assert (event.topic, event.text) == ("limit USD", text)


def test_a_result_near_its_limit_is_told_once_until_it_is_well_within(watcher: Watcher) -> None:
    """To and fro about the threshold is not told again and again."""
    assert watcher.see(status(drawdown=79.9), at(1)) == []
    assert told(watcher.see(status(drawdown=80.0), at(2))) == [("limit USD", "near")]
    assert watcher.see(status(drawdown=79.0), at(3)) == []
    assert watcher.see(status(drawdown=81.0), at(4)) == []
    assert told(watcher.see(status(drawdown=71.9), at(5))) == [("limit USD", "within")]


def test_yesterdays_loss_is_none_of_today(watcher: Watcher) -> None:
    """The ledger says of which day its figure is."""
    assert watcher.see(status(loss=49.0), at(86_400)) == []


def test_limits_that_are_off_are_never_near(watcher: Watcher) -> None:
    """An infinite limit, whatever is lost."""
    off = hub_pb2.LimitStatus(max_drawdown=INF)
    assert watcher.see(status(drawdown=1e9, loss=1e9, loss_limit=INF, limits=off), at(1)) == []


@given(st.lists(st.tuples(st.floats(0.1, 10), st.sampled_from(["active", "reducing", "halted", "gone"])), max_size=40))
def test_no_topic_is_told_to_be_what_it_was_told_to_be_before(steps: list[tuple[float, str]]) -> None:
    """And the last thing told of the trade is what the last state says."""
    watcher, now_s, last = Watcher(NEAR, SETTLE_S), 0.0, {"hub": "there", "trading": "active"}
    for step_s, state in steps:
        now_s += step_s
        events = watcher.gone("why", at(now_s)) if state == "gone" else watcher.see(status(state), at(now_s))
        for event in events:
            assert last[event.topic] != event.state
            last[event.topic] = event.state
        if state != "gone":
            assert last == {"hub": "there", "trading": state}
