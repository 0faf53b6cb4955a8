"""Rounds: every interleaving of answers, losses and time, as tables. Time is an argument, so nothing waits."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.columns import APPROVE, Verdicts
from hub.rounds import Arrival, Rounds

FEE, RISK, SPREAD = "fee", "risk", "spread"
DEADLINE = 100


def answer(rows: int = 2) -> Verdicts:
    """An approval of each row."""
    return Verdicts(np.full(rows, APPROVE), np.zeros(rows, np.int64), np.zeros(rows), np.full(rows, np.inf))


def handed_out(rounds: Rounds[str]) -> list[tuple[str, list[str]]]:
    """What `finished` gives: the payloads, and who answered."""
    return [(round_.payload, sorted(round_.answers)) for round_ in rounds.finished()]


def test_a_round_is_over_when_everyone_has_answered() -> None:
    """The last answer ends it, in any order of engines, and it is handed out once."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([FEE, RISK], 2, "first", now_ns=0)
    assert rounds.verdicts(RISK, 0, answer(), 10) is Arrival.COUNTED
    assert (handed_out(rounds), rounds.is_open(0), len(rounds)) == ([], True, 1)
    assert rounds.verdicts(FEE, 0, answer(), 20) is Arrival.COUNTED
    assert (rounds.is_open(0), len(rounds), rounds.next_expiry_ns()) == (False, 0, None)
    assert handed_out(rounds) == [("first", [FEE, RISK])]
    assert handed_out(rounds) == []


def test_answers_are_kept_with_their_engines() -> None:
    """Each engine's verdicts are handed out under its name, untouched."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    given_answers = {FEE: answer(), RISK: answer()}
    rounds.open(given_answers, 2, "first", now_ns=0)
    for engine, verdicts in given_answers.items():
        rounds.verdicts(engine, 0, verdicts, 1)
    (round_,) = rounds.finished()
    assert all(round_.answers[engine] is verdicts for engine, verdicts in given_answers.items())


def test_rounds_may_end_in_another_order_than_they_began() -> None:
    """Answers to the later round first: each goes to its own round; several over at once come in order."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    for name in ("first", "second", "third"):
        rounds.open([FEE], 2, name, now_ns=0)
    assert rounds.verdicts(FEE, 1, answer(), 1) is Arrival.COUNTED
    assert handed_out(rounds) == [("second", [FEE])]
    assert rounds.verdicts(FEE, 2, answer(), 2) is Arrival.COUNTED
    assert rounds.verdicts(FEE, 0, answer(), 3) is Arrival.COUNTED
    assert handed_out(rounds) == [("first", [FEE]), ("third", [FEE])]


def _nothing(_: Rounds[str]) -> None:
    """Nothing happens before the answer."""


def _answered(rounds: Rounds[str]) -> None:
    rounds.verdicts(FEE, 0, answer(), 1)


def _expired(rounds: Rounds[str]) -> None:
    rounds.expire(50)


def _lost(rounds: Rounds[str]) -> None:
    rounds.lost(FEE, 0)


def _over(rounds: Rounds[str]) -> None:
    rounds.lost(FEE)
    rounds.lost(RISK)


@pytest.mark.parametrize(
    ("before", "engine", "number", "rows", "now_ns", "arrival"),
    [
        (_nothing, FEE, 0, 2, 49, Arrival.COUNTED),
        (_nothing, FEE, 0, 2, 50, Arrival.LATE),  # nobody has called `expire`, and still
        (_expired, FEE, 0, 2, 50, Arrival.LATE),
        (_expired, FEE, 0, 2, 20, Arrival.LATE),  # given up is given up
        (_lost, FEE, 0, 2, 1, Arrival.LATE),
        (_answered, FEE, 0, 2, 2, Arrival.DUPLICATE),
        (_answered, FEE, 0, 2, 999, Arrival.DUPLICATE),
        (_answered, FEE, 0, 3, 2, Arrival.DUPLICATE),
        (_over, FEE, 0, 2, 2, Arrival.UNKNOWN),
        (_nothing, FEE, 1, 2, 2, Arrival.UNKNOWN),
        (_nothing, FEE, -1, 2, 2, Arrival.UNKNOWN),
        (_nothing, SPREAD, 0, 2, 2, Arrival.UNASKED),
        (_nothing, FEE, 0, 1, 2, Arrival.MALFORMED),
        (_nothing, FEE, 0, 3, 2, Arrival.MALFORMED),
        (_nothing, FEE, 0, 0, 2, Arrival.MALFORMED),
    ],
)
def test_what_becomes_of_an_answer(
    before: Callable[[Rounds[str]], None], engine: str, number: int, rows: int, now_ns: int, arrival: Arrival
) -> None:
    """Each answer of the fee engine (50 ns of a round's 100) is called what it is, and only one counts."""
    rounds: Rounds[str] = Rounds(DEADLINE, {FEE: 50})
    rounds.open([FEE, RISK], 2, "first", now_ns=0)
    before(rounds)
    assert rounds.verdicts(engine, number, answer(rows), now_ns) is arrival
    rounds.expire(DEADLINE)
    counted = arrival in (Arrival.COUNTED, Arrival.DUPLICATE)
    assert handed_out(rounds) == [("first", [FEE] if counted else [])]


def test_a_malformed_answer_may_be_followed_by_a_good_one() -> None:
    """What is no answer counts as none: the engine may still give one."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([FEE], 2, "first", now_ns=0)
    rounds.verdicts(FEE, 0, answer(1), 1)
    assert rounds.verdicts(FEE, 0, answer(2), 2) is Arrival.COUNTED
    assert handed_out(rounds) == [("first", [FEE])]


@pytest.mark.parametrize(
    ("budget", "asked_for", "expected"),
    [
        (None, None, 100),
        (30, None, 30),
        (300, None, 100),
        (None, 40, 40),
        (None, 400, 100),
        (30, 40, 30),
        (30, 20, 20),
        (30, -5, -5),
    ],
)
def test_the_shortest_time_counts(budget: int | None, asked_for: int | None, expected: int) -> None:
    """An engine's time ends with the round's deadline, its own budget or the caller's deadline."""
    rounds: Rounds[str] = Rounds(DEADLINE, {} if budget is None else {FEE: budget})
    rounds.open([FEE], 2, "first", 1000, asked_for)
    assert rounds.next_expiry_ns() == 1000 + expected
    rounds.expire(1000 + expected - 1)
    assert handed_out(rounds) == []
    rounds.expire(1000 + expected)
    assert handed_out(rounds) == [("first", [])]


def test_a_budget_spent_does_not_end_the_round() -> None:
    """One engine's budget passes, the others keep their time, and the next expiry is theirs."""
    rounds: Rounds[str] = Rounds(DEADLINE, {FEE: 50})
    rounds.open([FEE, RISK], 2, "first", now_ns=0)
    assert rounds.next_expiry_ns() == 50
    rounds.expire(50)
    assert (handed_out(rounds), rounds.next_expiry_ns()) == ([], DEADLINE)
    rounds.verdicts(RISK, 0, answer(), 99)
    assert handed_out(rounds) == [("first", [RISK])]


def test_until_when_somebody_is_waited_for() -> None:
    """The last of the engines named; nobody any more once they have answered or are given up, or for other rounds."""
    rounds: Rounds[str] = Rounds(DEADLINE, {FEE: 50})
    rounds.open([FEE, RISK], 2, "first", now_ns=1000)
    assert [rounds.due_ns(0, names) for names in ([FEE], [RISK], [FEE, RISK], [SPREAD])] == [1050, 1100, 1100, 0]
    rounds.verdicts(RISK, 0, answer(), 1001)
    assert [rounds.due_ns(0, names) for names in ([FEE, RISK], [RISK])] == [1050, 0]
    rounds.expire(1050)
    assert [rounds.due_ns(number, [FEE, RISK]) for number in (0, 7)] == [0, 0]


def test_a_spared_engine_is_not_waited_for_and_keeps_its_say() -> None:
    """It is among those asked, so that its silence is one; what it says all the same is late."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([FEE, RISK], 2, "first", now_ns=0, spared=[FEE])
    assert (rounds.due_ns(0, [FEE]), rounds.due_ns(0, [RISK])) == (0, DEADLINE)
    assert rounds.verdicts(FEE, 0, answer(), 1) is Arrival.LATE
    rounds.verdicts(RISK, 0, answer(), 2)
    (round_,) = rounds.finished()
    assert (sorted(round_.asked), sorted(round_.answers), round_.spared) == ([FEE, RISK], [RISK], [FEE])
    rounds.open([FEE, RISK], 2, "second", now_ns=0, spared=[RISK, FEE])
    assert handed_out(rounds) == [("second", [])]


def test_engines_that_run_out_of_time_are_named() -> None:
    """Once for each round that had at least half the time there is: a hurried one says nothing of them."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    for deadline_ns in (None, DEADLINE // 2, DEADLINE // 2 - 1):
        rounds.open([FEE, RISK], 2, "any", 0, deadline_ns)
    rounds.verdicts(RISK, 0, answer(), 1)
    assert rounds.lost(FEE, 2) is False
    assert sorted(rounds.expire(DEADLINE)) == [FEE, FEE, RISK]
    assert (rounds.expire(DEADLINE), rounds.lost(FEE, 0)) == ([], False)


def test_rounds_expire_each_in_its_time() -> None:
    """The expiry that comes next is the earliest of all, whatever the order of opening; it ends only its round."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([FEE], 2, "long", now_ns=0)
    rounds.open([FEE], 2, "short", 10, 20)
    rounds.open([FEE], 2, "last", now_ns=20)
    seen = []
    while (due := rounds.next_expiry_ns()) is not None:
        rounds.expire(due)
        seen += [(due, payload) for payload, _ in handed_out(rounds)]
    assert seen == [(30, "short"), (100, "long"), (120, "last")]


def test_an_early_timer_expires_nothing() -> None:
    """Timers fire early: expiring before the time changes nothing."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([FEE], 2, "first", now_ns=0)
    rounds.expire(DEADLINE - 1)
    assert rounds.is_open(0)
    assert rounds.verdicts(FEE, 0, answer(), DEADLINE - 1) is Arrival.COUNTED


def test_a_lost_engine_is_waited_for_in_no_round() -> None:
    """Losing an engine ends the rounds that waited for it alone; losing it in one leaves the others."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    for name in ("first", "second"):
        rounds.open([FEE], 2, name, now_ns=0)
    rounds.open([FEE, RISK], 2, "third", now_ns=0)
    rounds.lost(FEE, 1)
    assert handed_out(rounds) == [("second", [])]
    rounds.lost(FEE)
    assert handed_out(rounds) == [("first", [])]
    rounds.verdicts(RISK, 2, answer(), 1)
    assert handed_out(rounds) == [("third", [RISK])]


def test_losing_an_engine_that_has_answered_keeps_its_answer() -> None:
    """Only what is owed can be lost; a round that is gone or never was is nothing to lose."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([FEE, RISK], 2, "first", now_ns=0)
    rounds.verdicts(FEE, 0, answer(), 1)
    for number in (None, 0, 7):
        rounds.lost(FEE, number)
    assert handed_out(rounds) == []
    rounds.lost(RISK)
    assert handed_out(rounds) == [("first", [FEE])]


def test_a_round_that_asks_nobody_is_over_at_once() -> None:
    """There is nothing to wait for."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([], 0, "first", now_ns=0)
    assert handed_out(rounds) == [("first", [])]


def test_rows_shed_are_handed_out_with_the_round() -> None:
    """Some rows shed: the others are waited for; for a round that is gone it is nothing."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([FEE, RISK], 3, "first", now_ns=0)
    rounds.shed(0, np.array([0, 2]))
    rounds.shed(0, np.array([2]))
    rounds.lost(FEE)
    assert rounds.is_open(0)
    rounds.lost(RISK)
    rounds.shed(0, np.array([1]))
    (round_,) = rounds.finished()
    assert [rows.tolist() for rows in round_.shed] == [[0, 2], [2]]


def test_a_round_all_shed_is_over() -> None:
    """No engine may ever be asked about it, so nobody is waited for."""
    rounds: Rounds[str] = Rounds(DEADLINE)
    rounds.open([FEE, RISK], 3, "first", now_ns=0)
    rounds.shed(0, np.array([0, 2]))
    assert handed_out(rounds) == []
    rounds.shed(0, np.array([1, 2]))
    assert handed_out(rounds) == [("first", [])]
    assert rounds.verdicts(FEE, 0, answer(3), 1) is Arrival.UNKNOWN


ENGINES = st.sampled_from((FEE, RISK, SPREAD))
NUMBERS = st.integers(-1, 6)
EVENTS = st.one_of(
    st.tuples(st.just("open"), st.lists(ENGINES, unique=True), st.sampled_from((None, 5, 500, -1))),
    st.tuples(st.just("answer"), ENGINES, NUMBERS, st.integers(0, 3)),
    st.tuples(st.just("lost"), ENGINES, st.none() | NUMBERS),
    st.tuples(st.just("shed"), NUMBERS, st.lists(st.integers(0, 1), max_size=2)),
    st.tuples(st.just("expire")),
    st.tuples(st.just("take")),
    st.tuples(st.just("wait"), st.sampled_from((1, 10, 60, 200))),
)


@given(st.lists(EVENTS, max_size=60), st.dictionaries(ENGINES, st.sampled_from((20, 80))))
def test_every_round_is_handed_out_exactly_once(events: list[tuple[object, ...]], budgets: dict[str, int]) -> None:
    """Whatever happens in whatever order: once each, with the answers that counted, and never while owed one."""
    rounds: Rounds[int] = Rounds(DEADLINE, budgets)
    now, opened, counted, out = 0, 0, {}, []
    for event in [*events, ("wait", 1000), ("expire",), ("take",)]:
        match event:
            case ("open", list(engines), deadline):
                rounds.open(engines, 2, opened, now, deadline)  # type: ignore[arg-type]  # as drawn above
                opened += 1
            case ("answer", str(engine), int(number), int(rows)):
                if rounds.verdicts(engine, number, verdicts := answer(rows), now) is Arrival.COUNTED:
                    assert (engine, number) not in counted
                    counted[engine, number] = verdicts
            case ("lost", str(engine), number):
                rounds.lost(engine, number)  # type: ignore[arg-type]  # as drawn above
            case ("shed", int(number), list(rows_shed)):
                rounds.shed(number, np.array(rows_shed, np.int64))
            case ("expire",):
                rounds.expire(now)
            case ("wait", int(step)):
                now += step
            case ("take",):
                out += rounds.finished()
                assert all(not round_.due_ns and not rounds.is_open(round_.number) for round_ in out)
    assert sorted(round_.payload for round_ in out) == list(range(opened))
    assert (len(rounds), rounds.next_expiry_ns(), rounds.finished()) == (0, None, [])
    assert {(e, r.number): v for r in out for e, v in r.answers.items()} == counted
