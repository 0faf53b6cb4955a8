"""The time that an engine has left travels with the question; one that comes to it too late says so, and is silent."""

import contextlib
import time
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hub_probes import (
    LONG_MS,
    SYMBOL,
    FakeEngine,
    FakeHost,
    ScriptedExecutor,
    cheap,
    client_of,
    dear,
    hub_of,
    settings,
    status_of,
)
from judging import SkippingEngine, judged_by

from arbhub.columns import Ints
from arbhub.link import LinkOptions
from arbhub.queueing import Chunk
from arbhub.rows import Answer, Opportunity
from arbhub.service import channel
from arbhub.state import Snapshot
from arbhub.v1 import engine_pb2, hub_pb2, hub_pb2_grpc
from hub.configured import Configured
from hub.remote import RemoteHost
from hub.seats import Case, Seat

TIMEOUT = "ENGINE_TIMEOUT:spread"


def budgets(engine: FakeEngine | FakeHost) -> list[int]:
    """The budgets of the batches so far, in ns."""
    return [request.batch.budget_ns for request in engine.told if request.WhichOneof("frame") == "batch"]


@pytest.mark.parametrize(("budget_ms", "most_ms"), [(None, 20_000.0), (5_000.0, 5_000.0)])
async def test_what_is_left_of_the_time_goes_with_the_question(budget_ms: float | None, most_ms: float) -> None:
    """Of the round's deadline, or of the engine's own budget, less what was spent before the sending."""
    engine = FakeEngine("spread")
    async with judged_by(engine, budget_ms=budget_ms, deadline_ms=20_000.0) as client:
        await client.ask(cheap(), dear())
    (budget,) = budgets(engine)
    assert 0 < budget < most_ms * 1e6


async def test_a_host_has_the_time_of_its_most_patient_engine() -> None:
    """Two engines share a stream: a batch is dead only when neither is waited for."""
    host = FakeHost(FakeEngine("spread"), FakeEngine("fee"))
    async with ScriptedExecutor().served() as executor, host.served() as place:
        sections = {"spread": {"place": place, "budget_ms": 1.0}, "fee": {"place": place}}
        async with hub_of(settings(executor, sections, deadline_ms=LONG_MS)) as at, client_of(at) as client:
            await status_of(at, lambda s: all(e.up for e in s.engines), "everyone")
            await client.ask(cheap(), dear())
    assert LONG_MS * 1e6 / 2 < budgets(host)[0] < LONG_MS * 1e6


async def test_a_single_evaluation_hands_its_callers_time_on() -> None:
    """The caller's deadline, less what carrying the answer back takes, is the engine's."""
    engine = FakeEngine("spread")
    async with engine.served() as place, hub_of(settings(engines={"spread": {"place": place}})) as at:
        await status_of(at, lambda s: s.engines[0].up, "the engine")
        async with client_of(at) as client, channel(at) as wire:
            await client.ask(cheap())
            request = hub_pb2.EvaluateRequest(venue="B", symbol=SYMBOL, ts_ns=2_000_000)
            request.MergeFrom(hub_pb2.EvaluateRequest(bid_price=[103.0], bid_size=[1.0]))
            request.MergeFrom(hub_pb2.EvaluateRequest(ask_price=[104.0], ask_size=[1.0]))
            await hub_pb2_grpc.HubStub(wire).Evaluate(request, timeout=10)
    assert 0 < budgets(engine)[0] < 9_500_000_000  # gRPC rounds what it sends up


class Waiting:
    """An owner that waits for cases until the times it is given, by number."""

    def __init__(self, due_ns: dict[int, int]) -> None:
        self.due = due_ns

    def due_ns(self, case: Case, engines: Sequence[str]) -> int:
        assert engines == ("spread",)
        return self.due[case.number]

    def still_open(self, case: Case) -> bool:
        return True

    def verdicts(self, seat: Seat, case: Case, verdicts: Answer) -> None:
        raise AssertionError("nobody answers here")

    def no_answer(self, seat: Seat, case: Case) -> None:
        raise AssertionError("nobody was asked")

    def away(self, seat: Seat, case: Case) -> None:
        raise AssertionError("nobody was asked")

    def shed(self, case: Case, rows: Ints, engines: Sequence[str]) -> None:
        raise AssertionError("there is room")

    def stated_reasons(self, seat: Seat, reasons: Iterable[str]) -> None:
        raise AssertionError("nobody says hello")

    def ledger(self) -> Snapshot | None:
        return None


SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("due_s", "low_s", "high_s"),
    [
        ([100], 50, 100),
        ([1, 100], 50, 100),
        ([100, 1], 50, 100),
        ([0, 100], 50, 100),
        ([-100], 0, 1e-9),  # its deadline came while it was made ready, and the clock has not been looked at
        ([0, 0], 0, 0),  # nobody waits for this engine any more, or for ever
    ],
)
def test_joined_cases_have_the_time_of_the_youngest(due_s: list[int], low_s: float, high_s: float) -> None:
    """The oldest takes no other with it: a batch is judged as long as one case in it is worth it."""
    now = time.monotonic_ns()
    owner = Waiting({number: now + s * SECOND if s else 0 for number, s in enumerate(due_s)})
    host = RemoteHost("127.0.0.1:1", ["spread"], Configured.of(settings(), "1-a"), owner, LinkOptions())
    row = Opportunity(0, 0, 0, 0, 0, 1, 100.0, 1.0, 103.0, 1.0, 0, 0, 0)
    chunks = [Chunk(Case.of(number, [row]), np.zeros(1, np.int64)) for number in range(len(due_s))]
    batch = engine_pb2.EngineRequest.FromString(host.encode(7, chunks)).batch
    assert (batch.batch_id, len(batch.opportunities.sequence)) == (7, len(due_s))
    assert low_s * SECOND <= batch.budget_ns <= high_s * SECOND
    assert bool(batch.budget_ns) == any(due_s)


async def test_a_skipped_batch_is_no_answer_at_once() -> None:
    """Though the deadline is far: the silence is decided, counted as what it is, and the stream goes on."""
    engine = SkippingEngine("spread")
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        place = await stack.enter_async_context(engine.served())
        at = await stack.enter_async_context(hub_of(settings(executor, {"spread": {"place": place}})))
        client = await stack.enter_async_context(client_of(at))
        await status_of(at, lambda s: s.executor_up and s.engines[0].up, "everyone")
        for number in range(3):
            assert (await client.ask(cheap(number), dear(number)))[-1] == TIMEOUT
        engine.skips = False
        assert (await client.ask(cheap(9), dear(9)))[-1] == "NET_EDGE_TOO_LOW"
        status = await status_of(at, lambda s: s.ticks == 8, "all")
    assert (status.engines[0].timeouts, status.engines[0].judged, engine.connections) == (5, 2, 1)
