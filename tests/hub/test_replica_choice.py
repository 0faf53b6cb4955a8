"""Which replica a case goes to, without any I/O: links that say what they have under way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import product

import numpy as np
import pytest

from arbhub.columns import Ints
from arbhub.link import LinkOptions
from arbhub.rows import Answer, Opportunity
from arbhub.settings.schema import Settings
from arbhub.state import Snapshot
from hub.configured import Configured
from hub.replicas import ReplicaSet
from hub.seats import Case, Seat

ROW = Opportunity(0, 0, 0, 0, 0, 1, 100.0, 1.0, 103.0, 1.0, 0, 0, 0)
LOADS = [None, 0, 1, 3]  # rows that wait; None: it is down


class NotingOwner:
    """Waits for every case, and notes whose engines were away."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    def verdicts(self, seat: Seat, case: Case, verdicts: Answer) -> None:
        raise AssertionError("nobody answers")

    def no_answer(self, seat: Seat, case: Case) -> None:
        raise AssertionError("nobody is asked")

    def away(self, seat: Seat, case: Case) -> None:
        self.gone.append(seat.name)

    def shed(self, case: Case, rows: Ints, engines: Sequence[str]) -> None:
        raise AssertionError("there is room")

    def stated_reasons(self, seat: Seat, reasons: Iterable[str]) -> None:
        raise AssertionError("nobody says hello")

    def still_open(self, case: Case) -> bool:
        return True

    def due_ns(self, case: Case, engines: Sequence[str]) -> int:
        return 0

    def ledger(self) -> Snapshot | None:
        return None


@contextlib.asynccontextmanager
async def three(owner: NotingOwner) -> AsyncIterator[ReplicaSet]:
    """Replicas of two engines, none of which is really there."""
    configured = Configured.of(Settings(), "1-a")
    places = [f"127.0.0.{number}:1" for number in (2, 3, 4)]
    replicas = ReplicaSet(places, ["spread", "fee"], configured, owner, LinkOptions())
    running = asyncio.create_task(replicas.run())
    while len(replicas.hosts) < len(places):  # noqa: ASYNC110  # a turn or two of the loop
        await asyncio.sleep(0)
    yield replicas
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def asked(replicas: ReplicaSet, loads: Sequence[int | None]) -> list[int]:
    """Who gets a case when links have these loads."""
    for host, load in zip(replicas.hosts, loads, strict=True):
        host.link.up, host.link.queue.rows = load is not None, load or 0
    replicas.ask(Case(1, [ROW], np.zeros(1, np.int64)))
    return [n for n, host in enumerate(replicas.hosts) if host.link.queue.rows != (loads[n] or 0)]


@pytest.mark.parametrize("loads", [*product(LOADS, repeat=3)], ids=str)
async def test_the_least_loaded_that_is_up_is_asked(loads: tuple[int | None, ...]) -> None:
    """One of them, whoever was asked before; where none is up each engine is away."""
    owner = NotingOwner()
    async with three(owner) as replicas:
        up = [load for load in loads if load is not None]
        for _ in range(4):
            chosen = asked(replicas, loads)
            assert [loads[n] for n in chosen] == [min(up)] if up else chosen == []
    assert owner.gone == ([] if up else ["spread", "fee"] * 4)


async def test_equals_take_turns() -> None:
    """Two that are as little loaded are asked one after the other; the third is not."""
    async with three(NotingOwner()) as replicas:
        turns = [asked(replicas, (0, 2, 0)) for _ in range(6)]
    assert turns in ([[0], [2]] * 3, [[2], [0]] * 3)
