"""The open loop: sends what the schedule says when it says so, whatever the hub answers.

A tick's latency begins when it was meant to be sent, not when it was: whatever held it up, the driver's own lateness
and its window included, is in the figure. How ticks get to the hub is the business of a `Way`.

Ticks that could not go out yet are not handed over one by one, each to its microsecond: that would take a good part of
a core from the hub, and send nothing earlier. They are handed over together in the moment that the way is free again.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from loadtest.alarm import Alarm
from loadtest.outcome import Outcome
from loadtest.schedule import Schedule

LEAD_NS = 5_000_000  # before the measured part: what is done then is in nobody's latency


class Clock:
    """Nanoseconds since the run's start, and when that was by the wall."""

    def __init__(self) -> None:
        self.began_ns, self.wall_ns = time.monotonic_ns(), time.time_ns()

    def now_ns(self) -> int:
        """Since the start."""
        return time.monotonic_ns() - self.began_ns


class Way(Protocol):
    """How ticks get to the hub and answers back. It writes down in the outcome what becomes of every row."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Connected, the hub having the opening's books; ServiceError where there is no hub."""

    def start(self, clock: Clock, hand_over: Callable[[], None]) -> None:
        """Times are by this clock from here on. `hand_over` sends whatever is due."""

    async def free(self) -> None:
        """Return when what is handed over goes out at once; never wait for ever.

        Whatever frees the way calls `hand_over` in that very moment, for all that has come due meanwhile.
        """

    def send(self, first: int, stop: int) -> None:
        """Hand the schedule's rows over at once, without waiting for anything."""

    async def rest(self) -> None:
        """Wait for the answers that are still to come, but not for ever."""


class Bystander(Protocol):
    """What watches the machine during the measured part, and nothing else of the run."""

    def begin(self) -> None:
        """The measured part begins."""

    def end(self) -> None:
        """The last answer is in."""


class _Sender:
    """Where a run is in its schedule."""

    def __init__(self, way: Way, schedule: Schedule, alarm: Alarm) -> None:
        self._way, self._at_ns, self._alarm = way, schedule.at_ns, alarm
        self._sent = self._stop = schedule.timed
        self._clock = Clock()
        way.start(self._clock, self._hand_over)

    async def send_until(self, stop: int) -> None:
        """Send the rows up to `stop`, each at its time."""
        self._stop = stop
        while self._sent < stop:
            await self._way.free()
            if self._sent < stop:
                await self.wait_until(int(self._at_ns[self._sent]))
                self._hand_over()
            await asyncio.sleep(0)  # what is sent goes out and answers come in, even if the next tick is late already

    async def wait_until(self, at_ns: int) -> None:
        """Of the run's time."""
        await self._alarm.until(self._clock.began_ns + at_ns)

    def _hand_over(self) -> None:
        first = self._sent
        due = min(self._stop, int(self._at_ns.searchsorted(self._clock.now_ns(), "right")))
        if due > first:
            self._sent = due
            self._way.send(first, due)


async def drive(way: Way, schedule: Schedule, outcome: Outcome, bystander: Bystander) -> None:
    """Send the whole schedule and wait for what is still under way; ServiceError where there is no hub."""
    lead_ns = schedule.measured_at_ns - LEAD_NS
    lead = min(max(int(schedule.at_ns.searchsorted(lead_ns)), schedule.timed), schedule.measured)
    async with way.open():
        with Alarm() as alarm:
            sender = _Sender(way, schedule, alarm)
            await sender.send_until(lead)
            await sender.wait_until(lead_ns)
            bystander.begin()
            await sender.send_until(len(schedule.at_ns))
        await way.rest()
        bystander.end()
    outcome.finish()
