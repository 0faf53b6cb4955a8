"""The open loop: every tick handed over once, in order, never early, whatever happens to those before."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from fake_hubs import OPENING, Bystanding, short_schedule

from loadtest.driver import Clock, drive
from loadtest.outcome import Outcome
from loadtest.schedule import Schedule


class NotingWay:
    """Answers nothing; notes what it is handed and when, and what the bystander had heard by then."""

    def __init__(self, bystander: Bystanding) -> None:
        self.rows: list[int] = []
        self.at_ns: list[int] = []
        self.measuring: list[bool] = []
        self.rested_while: list[str] = []
        self._bystander = bystander

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    def start(self, clock: Clock, hand_over: Callable[[], None]) -> None:
        self._clock, self._hand_over = clock, hand_over

    async def free(self) -> None:
        """Always."""

    def send(self, first: int, stop: int) -> None:
        self.rows += range(first, stop)
        self.at_ns += [self._clock.now_ns()] * (stop - first)
        self.measuring += [bool(self._bystander.heard)] * (stop - first)

    async def rest(self) -> None:
        self.rested_while = list(self._bystander.heard)


class BlockingWay(NotingWay):
    """Takes so long over each handover that the next tick is late; notes how many had been handed over by then."""

    def __init__(self, bystander: Bystanding) -> None:
        super().__init__(bystander)
        self.handed: list[int] = []

    def send(self, first: int, stop: int) -> None:
        super().send(first, stop)
        self.handed.append(len(self.rows))
        sum(range(200_000))


class NarrowWay(NotingWay):
    """Is free for one handover in `held_s`, as if each waited so long for its answer."""

    held_s = 0.01

    def __init__(self, bystander: Bystanding) -> None:
        super().__init__(bystander)
        self._freed = asyncio.Event()
        self._freed.set()
        self.handovers = 0

    async def free(self) -> None:
        while not self._freed.is_set():  # it may be taken again before we come to our turn
            await self._freed.wait()

    def send(self, first: int, stop: int) -> None:
        super().send(first, stop)
        self.handovers += 1
        self._freed.clear()
        asyncio.get_running_loop().call_later(self.held_s, self._free)

    def _free(self) -> None:
        self._freed.set()
        self._hand_over()


class NarrowerWay(NarrowWay):
    """Is not free from the warm-up's first tick until after its last."""

    held_s = 0.08


async def noted(plan: Schedule, kind: type[NotingWay] = NotingWay) -> tuple[NotingWay, Bystanding, Outcome]:
    """What a way was handed during a run."""
    bystander, outcome = Bystanding(), Outcome(plan)
    way = kind(bystander)
    await drive(way, plan, outcome, bystander)
    return way, bystander, outcome


@pytest.mark.parametrize("kind", [NotingWay, NarrowWay])
async def test_every_tick_is_handed_over_once_and_never_early(kind: type[NotingWay]) -> None:
    """All rows but the opening's, in order, each at its time or after."""
    plan = short_schedule(warm_up_s=0.05)
    way, _, outcome = await noted(plan, kind)
    assert way.rows == list(range(OPENING, len(plan.at_ns)))
    assert (np.array(way.at_ns) >= plan.at_ns[OPENING:]).all()
    assert outcome.by_fate() == {"lost": outcome.sent}


async def test_what_cannot_go_out_is_handed_over_together() -> None:
    """While the way is not free nothing is handed over; in the moment it is, all that is due."""
    way, _, _ = await noted(short_schedule(), NarrowWay)
    assert isinstance(way, NarrowWay)
    assert 1 < way.handovers <= 20
    assert len(way.rows) > 50


async def test_answers_are_read_though_the_driver_is_late() -> None:
    """Others get a turn between two handovers, however late the next tick is."""
    plan = short_schedule()
    turns = []

    async def reader() -> None:
        while True:
            turns.append(len(way.rows))
            await asyncio.sleep(0)

    way = BlockingWay(Bystanding())
    reading = asyncio.create_task(reader())
    await drive(way, plan, Outcome(plan), Bystanding())
    reading.cancel()
    assert set(turns) >= set(way.handed)


async def test_no_measured_tick_goes_out_with_the_warm_up() -> None:
    """What comes due together with the last of the warm-up waits until the machine is watched."""
    plan = short_schedule(warm_up_s=0.05)
    way, _, _ = await noted(plan, NarrowerWay)
    assert way.rows == list(range(OPENING, len(plan.at_ns)))
    assert all(way.measuring[plan.measured - plan.timed :])


async def test_what_watches_the_machine_watches_the_measured_part() -> None:
    """It begins before the first measured tick, after nearly all of the warm-up, and ends when the answers are in."""
    plan = short_schedule(warm_up_s=0.05)
    way, bystander, _ = await noted(plan)
    warming = plan.measured - plan.timed
    assert all(way.measuring[warming:])
    assert not any(way.measuring[: warming // 2])
    assert (way.rested_while, bystander.heard) == (["begin"], ["begin", "end"])
