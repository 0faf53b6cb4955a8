"""Engines whose streams fail in ways of their own: ended in order, accepted and never read, dead in the middle."""

import pytest
from hub_probes import LONG_MS, FakeEngine, approval, cheap, dear
from judging import ClosingEngine, DeafEngine, judged_by

APPROVED, TIMEOUT = "", "ENGINE_TIMEOUT:spread"


def approving(engine: FakeEngine) -> FakeEngine:
    """The same, with verdicts that make an edge."""
    engine.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
    return engine


async def test_an_engine_that_ends_its_stream_is_not_waited_for() -> None:
    """In order, instead of an answer: its silence is decided at once though the deadline is far; it is tried again."""
    engine = ClosingEngine("spread")
    async with judged_by(approving(engine), deadline_ms=LONG_MS) as client:
        for number in range(3):
            assert (await client.ask(cheap(number), dear(number)))[-1] == TIMEOUT
        engine.closes = False
        await client.ask_until(APPROVED)


@pytest.mark.parametrize("rows", [1, 4000])
async def test_an_engine_that_never_reads_holds_up_nobody(rows: int) -> None:
    """Whether its socket takes the question or is full of it: decided at the deadline, and its stream opened anew."""
    engine = DeafEngine("spread")
    async with judged_by(approving(engine), deadline_ms=25.0) as client:
        ticks = [cheap(), *[dear()] * rows]
        for _ in range(20):
            assert (await client.ask(*ticks))[-1] == TIMEOUT
        engine.deaf = False
        await engine.until(lambda: engine.connections > 1, "another connection")
        await client.ask_until(APPROVED)
