"""Which single evaluations are judged together and when: a judge that answers when it is told to."""

import pytest
import structlog
from hub_probes import (
    Noticing,
)

from arbhub.rows import Decision, Tick, decision_rows
from hub import evaluations
from hub.evaluations import Evaluations
from hub.replies import Decided, Reply

LONG_NS = 1 << 40
MAX_ROWS = 4


def tick(number: int) -> Tick:
    """One that is known by its time."""
    return Tick(number, 0, 0, (), (), (), (), 0)


def decision(number: int) -> Decision:
    """The one on that tick."""
    nothing = (0.0,) * 7
    return Decision(0, number, 0, False, 1, 0, 1, *nothing, 0, 0.0, 0.0)


class RecordingJudge(Noticing):
    """Writes down what it is asked, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[int]] = []
        self.allowed_ns: list[int] = []
        self.fails = False
        self._replies: list[Reply] = []

    def __call__(self, ticks: list[Tick], reply: Reply, allowed_ns: int) -> None:
        self.asked.append([t.ts_ns for t in ticks])
        self.allowed_ns.append(allowed_ns)
        self._replies.append(reply)
        self.changed()
        if self.fails:
            raise ZeroDivisionError("a bug")

    def answer(self, number: int) -> None:
        """To one of the rounds."""
        self._replies[number]([decision(ts_ns) for ts_ns in self.asked[number]])

    async def rounds(self, count: int) -> list[list[int]]:
        """What was asked, once there are so many rounds."""
        await self.until(lambda: len(self.asked) >= count, "the round")
        return self.asked


class Asker:
    """Asks by number, and keeps what is answered."""

    def __init__(self, judge: RecordingJudge) -> None:
        self.answers: dict[int, list[int]] = {}
        self._evaluations = Evaluations(judge, MAX_ROWS)

    def ask(self, *numbers: int, allowed_ns: int = LONG_NS) -> None:
        """Each tick by itself."""
        for number in numbers:
            self._evaluations.ask(tick(number), self._reply(number), allowed_ns)

    def open_all(self) -> None:
        """Something changes."""
        self._evaluations.open_all()

    def _reply(self, number: int) -> Reply:
        def reply(decided: Decided) -> None:
            assert number not in self.answers
            self.answers[number] = [row.ts_ns for row in decision_rows(decided)]

        return reply


async def test_those_that_come_meanwhile_go_together() -> None:
    """The first goes alone, the others with the next round; each gets the decision on its own tick, once."""
    judge = RecordingJudge()
    asker = Asker(judge)
    asker.ask(1)
    assert await judge.rounds(1) == [[1]]
    asker.ask(2, 3)
    asker.ask(4)
    judge.answer(0)
    assert asker.answers == {1: [1]}
    assert await judge.rounds(2) == [[1], [2, 3, 4]]
    judge.answer(1)
    judge.answer(1)  # nobody is there for it
    assert asker.answers == {n: [n] for n in (1, 2, 3, 4)}


async def test_a_round_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of patience, those that wait go beside it."""
    monkeypatch.setattr(evaluations, "PATIENCE", 1e-6)
    judge = RecordingJudge()
    asker = Asker(judge)
    asker.ask(1)
    await judge.rounds(1)
    asker.ask(2, 3)
    assert await judge.rounds(2) == [[1], [2, 3]]
    judge.answer(1)
    judge.answer(0)
    assert asker.answers == {n: [n] for n in (1, 2, 3)}


async def test_waiting_is_taken_from_the_time() -> None:
    """A round has what is left to the one that has least, and who has much less time has a round of its own."""
    judge = RecordingJudge()
    asker = Asker(judge)
    asker.ask(1, allowed_ns=LONG_NS + LONG_NS // 2)
    asker.ask(2, allowed_ns=LONG_NS + 1)
    asker.ask(3, allowed_ns=LONG_NS // 8)
    asker.ask(4, allowed_ns=0)
    assert sorted(await judge.rounds(3)) == [[1, 2], [3], [4]]
    allowed_ns = dict(zip(map(tuple, judge.asked), judge.allowed_ns, strict=True))
    assert LONG_NS // 2 < allowed_ns[1, 2] <= LONG_NS + 1
    assert allowed_ns[3,] <= LONG_NS // 8
    assert allowed_ns[4,] == 0


async def test_a_round_is_bounded_and_so_is_what_waits() -> None:
    """As many as fit into a round do not wait for the one before."""
    judge = RecordingJudge()
    asker = Asker(judge)
    asker.ask(0)
    await judge.rounds(1)
    asker.ask(*range(1, 2 * MAX_ROWS + 2))
    assert (await judge.rounds(2))[1] == list(range(1, MAX_ROWS + 1))
    judge.answer(0)
    judge.answer(1)
    assert (await judge.rounds(3))[2] == list(range(MAX_ROWS + 1, 2 * MAX_ROWS + 1))
    judge.answer(2)
    assert (await judge.rounds(4))[3] == [2 * MAX_ROWS + 1]


async def test_nobody_waits_over_a_change() -> None:
    """Those that wait are asked about before it, in rounds that are as bounded as ever, and once."""
    judge = RecordingJudge()
    asker = Asker(judge)
    asker.ask(0)
    await judge.rounds(1)
    asker.ask(*range(1, MAX_ROWS + 2))
    asker.ask(9, allowed_ns=1 << 30)
    asker.open_all()
    assert judge.asked == [[0], list(range(1, MAX_ROWS + 1)), [MAX_ROWS + 1], [9]]
    for number in range(4):
        judge.answer(number)
    asker.ask(10)
    assert (await judge.rounds(5))[4:] == [[10]]


async def test_what_cannot_be_judged_has_no_decision() -> None:
    """A bug: the log has it, those concerned are told at once, and the next ones are judged as ever."""
    judge = RecordingJudge()
    judge.fails = True
    asker = Asker(judge)
    with structlog.testing.capture_logs() as logs:
        asker.ask(1, 2)
        await judge.rounds(1)
    assert asker.answers == {1: [], 2: []}
    assert [entry["ticks"] for entry in logs] == [2]
    judge.answer(0)  # had it opened a round all the same, that is for nobody
    judge.fails = False
    asker.ask(3)
    await judge.rounds(2)
    judge.answer(1)
    assert asker.answers == {1: [], 2: [], 3: [3]}
