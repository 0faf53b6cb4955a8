"""Ticks over a stream, against hubs on a real socket that answer well, by half, twice or not at all."""

import asyncio

import numpy as np
import pytest
import structlog
from fake_hubs import HELD_NS, MARKET, OPENING, ApprovingHub, decided, driven, short_schedule

from arbhub.service import ServiceError
from arbhub.v1 import hub_pb2
from loadtest import stream
from loadtest.driver import Clock
from loadtest.outcome import APPROVED, Outcome
from loadtest.stream import BATCH_ROWS, HubStream, StreamWay


class SheddingHub(ApprovingHub):
    """Sheds the last tick of every batch."""

    def answers(self, batch_id: int, count: int) -> list[hub_pb2.DecisionBatch]:
        return [decided(batch_id, [0] * (count - 1) + [1], "SHED")]


class ForgetfulHub(ApprovingHub):
    """Once the opening is decided, answers one tick too few."""

    def answers(self, batch_id: int, count: int) -> list[hub_pb2.DecisionBatch]:
        return [decided(batch_id, [0] * (count if len(self.ticks) <= OPENING else count - 1))]


class RepeatingHub(ApprovingHub):
    """Once the opening is decided, answers every batch twice."""

    def answers(self, batch_id: int, count: int) -> list[hub_pb2.DecisionBatch]:
        return [decided(batch_id, [0] * count)] * (1 if len(self.ticks) <= OPENING else 2)


class SilentHub(ApprovingHub):
    """Answers the opening and then no more."""

    def answers(self, batch_id: int, count: int) -> list[hub_pb2.DecisionBatch]:
        return [decided(batch_id, [0] * count)] if len(self.ticks) <= OPENING else []


class MuteHub(ApprovingHub):
    """Answers nothing at all, not even the opening."""

    def answers(self, batch_id: int, count: int) -> list[hub_pb2.DecisionBatch]:
        return []


class StumblingHub(ApprovingHub):
    """Ends the first stream at the fiftieth tick, and serves the next one as if nothing had been."""

    stumbled = False

    def answers(self, batch_id: int, count: int) -> list[hub_pb2.DecisionBatch]:
        if len(self.ticks) < 50 or self.stumbled:
            return super().answers(batch_id, count)
        self.stumbled = True
        raise ConnectionError("on purpose")


class CountingOutcome(Outcome):
    """Counts handovers."""

    handovers = 0

    def handed_over(self, first: int, stop: int, now_ns: int, free_ns: int = 0) -> None:
        self.handovers += 1
        super().handed_over(first, stop, now_ns, free_ns)


async def run_on(hub: ApprovingHub, seconds: float = 0.1) -> Outcome:
    """What became of a short run."""
    plan = short_schedule(seconds=seconds)
    outcome = Outcome(plan)
    async with hub.served() as target:
        await driven(StreamWay(target, MARKET, plan, outcome), plan, outcome)
    return outcome


async def test_every_tick_is_decided_once_the_books_are_there() -> None:
    """The opening's books first, then every tick in order, with what the hub says of its own time."""
    hub, plan = ApprovingHub(), short_schedule()
    outcome = await run_on(hub)
    assert outcome.by_fate() == {"": outcome.sent}
    sent = zip(plan.ticks.instrument.tolist(), plan.ticks.venue.tolist(), strict=True)
    assert hub.ticks == list(sent)
    assert set(outcome.holdings_ns().tolist()) == {HELD_NS}
    assert (outcome.latencies_ns() > 0).all()


async def test_what_the_hub_shed_is_shed() -> None:
    """A shed in an answer is counted as such, tick by tick."""
    hub = SheddingHub()
    outcome = await run_on(hub)
    shed = len(hub.sizes) - 1  # the opening's batch is in no figure
    assert outcome.by_fate() == {"": outcome.sent - shed, "SHED": shed}


@pytest.mark.parametrize("hub", [ForgetfulHub(), SilentHub()])
async def test_ticks_without_an_answer_are_lost(hub: ApprovingHub) -> None:
    """Too few decisions are no decisions: nobody can say whose they are. That is the hub's fault and
    no bug of ours, and the run ends all the same."""
    with structlog.testing.capture_logs() as logs:
        outcome = await run_on(hub)
    assert "error" not in {line["log_level"] for line in logs}
    assert outcome.by_fate()["lost"] > 0
    assert "SHED" not in outcome.by_fate()


async def test_while_a_batch_is_unanswered_nothing_is_handed_over() -> None:
    """What comes due meanwhile goes out in the moment of the answer, before anything is noted."""
    plan, calls = short_schedule(), []
    outcome = Outcome(plan)
    way = StreamWay("127.0.0.1:1", MARKET, plan, outcome)
    clock = Clock()
    clock.began_ns -= 10**9  # all is due
    way.start(clock, lambda: calls.append(outcome.fate.any()))
    answered_ns = clock.now_ns()
    way.answered(np.arange(OPENING, OPENING + 3), decided(1, [0, 0, 0]))
    assert calls == [False]
    assert (outcome.fate[OPENING : OPENING + 3] == APPROVED).all()
    way.send(OPENING + 3, OPENING + 4)
    assert 0 < outcome.lateness_ns[OPENING + 3] <= clock.now_ns() - answered_ns  # its wait is the window's, not ours


async def test_each_handover_is_one_batch() -> None:
    """The driver hands over when the window is open, so the queue is empty then."""
    plan, hub = short_schedule(seconds=0.3), ApprovingHub()
    outcome = CountingOutcome(plan)
    async with hub.served() as target:
        await driven(StreamWay(target, MARKET, plan, outcome), plan, outcome)
    assert outcome.handovers == len(hub.sizes) - 1  # the opening


async def test_batches_are_bounded_and_filled() -> None:
    """Whatever is handed over at once, gRPC is not given more than it takes, nor a batch of leftovers."""
    hub, plan = ApprovingHub(), short_schedule(seconds=10)
    way = StreamWay("", MARKET, plan, Outcome(plan))
    async with hub.served() as target:
        books = HubStream(target, MARKET, plan.ticks, way)
        async with books.open():
            books.offer(0, len(plan.at_ns))
            await books.rest()
    assert len(hub.ticks) == len(plan.at_ns) > 2 * BATCH_ROWS
    assert BATCH_ROWS / 2 < hub.sizes[0] <= max(hub.sizes) <= BATCH_ROWS


async def test_after_a_break_it_goes_on_with_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was under way or came meanwhile is lost and waited for no longer; the ticks after it are decided."""
    monkeypatch.setattr(stream, "DRAIN_S", 100.0)
    outcome = await asyncio.wait_for(run_on(StumblingHub(), seconds=1.5), 30)
    fates = outcome.by_fate()
    assert fates.keys() == {"", "lost"}
    assert outcome.fate[-1] == APPROVED
    assert fates["lost"] > 1


async def test_a_second_answer_ends_the_stream() -> None:
    """Exactly one answer a tick: what is under way when one comes twice is lost, and shows."""
    outcome = await run_on(RepeatingHub())
    assert 0 < outcome.by_fate()["lost"] < outcome.sent


async def test_a_hub_that_does_not_take_the_books_is_no_hub() -> None:
    """Without the books the run would measure nothing: it does not begin."""
    with pytest.raises(ServiceError, match="went away while the books were sent"):
        await asyncio.wait_for(run_on(MuteHub()), 30)
