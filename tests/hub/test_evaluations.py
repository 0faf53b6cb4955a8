"""Single evaluations judged together: who goes with whom and when, and that nobody's decision depends on it."""

import asyncio
from collections.abc import Sequence

import grpc
import pytest
import structlog
from hub_probes import (
    LONG_MS,
    SYMBOL,
    Noticing,
    ScriptedExecutor,
    SlowEngine,
    cheap,
    client_of,
    hub_of,
    settings,
    status_of,
    within,
)
from hypothesis import given
from hypothesis import settings as effort
from reference.model import ModelSettings
from reference.model import Tick as ModelTick
from reference.pipeline import configuration, listings
from reference.streams import nasty_settings, nasty_streams

from arbhub.reference import ReferenceData
from arbhub.rows import Decision, Tick, decision_rows, tick_columns
from arbhub.service import channel
from arbhub.settings.schema import Settings
from arbhub.state import ACTIVE, LedgerValues, Snapshot
from arbhub.v1 import hub_pb2, hub_pb2_grpc
from engines.table import ENGINES
from hub import evaluations
from hub import hub as hub_module
from hub.configured import Configured
from hub.evaluations import Evaluations
from hub.hub import Hub
from hub.reasons import NET_EDGE_TOO_LOW
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


def hub_for(ticks: Sequence[ModelTick], model: ModelSettings) -> Hub:
    """Its engines inside, and as if its executor were there; knows what occurs in the ticks."""
    given_hub = {name: getattr(model, name) for name in ("depth", "max_quote_age_ms", "min_net_edge_bps")}
    content = {"hub": given_hub | {"deadline_ms": LONG_MS}, "engines": configuration(model).engines.model_dump()}
    hub = Hub(Settings.model_validate(content), {name: engine() for name, engine in ENGINES.items()})
    venues, symbols = (dict.fromkeys(getattr(t, name) for t in ticks) for name in ("venue", "symbol"))
    hub.merge(ReferenceData(tuple(venues), tuple(symbols), listings(ticks, model)))
    hub.view.connected(Snapshot(1, True, LedgerValues(trading_state=ACTIVE)))
    hub.trades.link.up = True
    return hub


def row_of(hub: Hub, t: ModelTick) -> Tick:
    """As a server hands it over: the hub's ids, cut to its depth."""
    levels = [tuple(level[i] for level in side[: hub.books.depth]) for side in (t.bids, t.asks) for i in (0, 1)]
    bid_price, bid_size, ask_price, ask_size = levels
    symbol, venue = hub.universe.symbol_ids[t.symbol], hub.universe.venue_ids[t.venue]
    return Tick(t.ts_ns, symbol, venue, bid_price, bid_size, ask_price, ask_size, 0)


async def evaluated(hub: Hub, ticks: Sequence[Tick]) -> list[str]:
    """The decisions on ticks that are asked about at once; `repr` tells every float from every other."""
    answers: list[asyncio.Future[Decided]] = []
    for each in ticks:
        answers.append(asyncio.get_running_loop().create_future())
        hub.evaluate(each, answers[-1].set_result, None)
    decided = [decision_rows(answer) for answer in await within(asyncio.gather(*answers), "every decision")]
    return [repr(row) for rows in decided for row in rows]


@effort(max_examples=40, deadline=None)
@given(nasty_streams(finite=False), nasty_streams(extremes=True), nasty_settings())
async def test_nobodys_decision_depends_on_the_others(
    books: list[ModelTick], asked: list[ModelTick], model: ModelSettings
) -> None:
    """Any ticks on any books, a few or many: asked about at once or one at a time, the same to the bit."""
    hub = hub_for([*books, *asked], model)
    hub.submit(tick_columns([row_of(hub, t) for t in books]), lambda _: None)
    ticks = [row_of(hub, t) for t in asked]
    alone = [row for each in ticks for row in await evaluated(hub, [each])]
    assert await evaluated(hub, ticks) == alone
    assert hub.sequence == len(books)


async def test_what_waits_is_judged_by_what_it_came_under() -> None:
    """New settings, which would reject it, find it decided: its version is that of the time when it came."""
    book = ModelTick(1, "A", SYMBOL, [(99.0, 5.0)], [(100.0, 5.0)])
    offer = ModelTick(2, "B", SYMBOL, [(103.0, 5.0)], [(104.0, 5.0)])
    hub = hub_for([book, offer], ModelSettings(taker_bps={"A": 1.0, "B": 1.0}))
    hub.submit(tick_columns([row_of(hub, book)]), lambda _: None)
    stricter = hub.settings.model_copy(update={"hub": hub.settings.hub.model_copy(update={"min_net_edge_bps": 1e3})})
    answers: list[Decided] = []
    hub.evaluate(row_of(hub, offer), answers.append, None)
    assert not answers
    hub.adopt(stricter, Configured.of(stricter, "2"))
    (before,) = decision_rows(answers[0])
    (after,) = await evaluated(hub, [row_of(hub, offer)])
    assert before.approved
    assert f"reason={NET_EDGE_TOO_LOW}," in after


def request(ts_ns: int) -> hub_pb2.EvaluateRequest:
    """B buys at 103."""
    sides = {"bid_price": [103.0], "bid_size": [1.0], "ask_price": [104.0], "ask_size": [1.0]}
    return hub_pb2.EvaluateRequest(venue="B", symbol=SYMBOL, ts_ns=ts_ns, **sides)


async def test_an_engine_is_asked_about_all_that_wait_at_once() -> None:
    """Over the wire, against the books as they are by then; each caller has the answer to its own question."""
    slow = SlowEngine("spread")
    async with (
        slow.served() as place,
        ScriptedExecutor().served() as executor,
        hub_of(settings(executor, {"spread": {"place": place}})) as at,
        client_of(at) as client,
        channel(at) as wire,
    ):
        await status_of(at, lambda s: s.executor_up and s.engines[0].up, "everyone")
        await client.ask(cheap())
        stub = hub_pb2_grpc.HubStub(wire)
        first = stub.Evaluate(request(1))
        await slow.until(lambda: slow.kinds().count("batch") == 1, "the first question")
        others = [stub.Evaluate(request(n)) for n in (2, 3, 4)]
        await status_of(at, lambda _: True, "any")  # a round trip later they wait
        await client.ask(cheap()._replace(asks=[(101.0, 5.0)]))
        for _ in range(1000):
            slow.allowed.release()
        replies = await within(asyncio.gather(first, *others), "every answer")
        await slow.until(lambda: sum(len(t) for t in asked_times(slow)) == 4, "all questions")
    assert asked_times(slow) == [[1], [2, 3, 4]]
    edges = [round(reply.gross_edge_bps) for reply in replies]
    assert edges == [300, 198, 198, 198]


def asked_times(engine: SlowEngine) -> list[list[int]]:
    """The times of the ticks of each batch."""
    return [list(told.batch.opportunities.ts_ns) for told in engine.told if told.WhichOneof("frame") == "batch"]


async def test_a_bug_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a decision that nobody can make."""
    async with hub_of(settings()) as at, client_of(at) as client, channel(at) as wire:
        await client.ask(cheap())
        monkeypatch.setattr(hub_module, "peeked", None)
        with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
            await within(hub_pb2_grpc.HubStub(wire).Evaluate(request(1)), "the answer")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert [entry["event"] for entry in logs] == ["evaluations could not be judged"]
