"""The shell round engines lets a batch go that nobody waits for any more, by its own clock, and says so."""

import numpy as np
import pytest
from test_engine_server import HubEnd, batch, configuration, reference, served

from arbhub.columns import Opportunities, Verdicts
from arbhub.engine import Engine, EngineConfiguration, verdicts
from arbhub.service import channel
from arbhub.v1 import engine_pb2
from engines.server import Conversation


class SteppedClock:
    """Time that passes only when it is told to, in ns."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


class LaboriousEngine(Engine):
    """Takes a time of its own to approve whatever it is asked."""

    def __init__(self, name: str, clock: SteppedClock, takes_ns: int) -> None:
        self.name, self.clock, self.takes_ns, self.judged = name, clock, takes_ns, 0

    def configure(self, configuration: EngineConfiguration) -> None:
        pass

    def judge(self, opportunities: Opportunities) -> Verdicts:
        self.clock.now += self.takes_ns
        self.judged += 1
        return verdicts(np.zeros(len(opportunities), np.int64), np.zeros(len(opportunities)))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize(
    ("budget_ns", "judged", "skipped"),
    [
        (0, [1, 1, 1], False),  # no end is known
        (1, [1, 0, 0], True),
        (10, [1, 0, 0], True),
        (11, [1, 1, 0], True),
        (20, [1, 1, 0], True),
        (21, [1, 1, 1], False),  # late, but who has judged may as well say so
        (1 << 40, [1, 1, 1], False),
    ],
)
def test_a_batch_is_judged_until_its_budget_is_used_up(
    plain: bool, rows: int, budget_ns: int, judged: list[int], skipped: bool
) -> None:
    """Three engines of 10 ns each: who comes after the end is not asked, and there are no verdicts at all."""
    clock = SteppedClock()
    engines = [LaboriousEngine(name, clock, 10) for name in ("one", "two", "three")]
    conversation = Conversation(engines, clock)
    for control in (configuration(), reference()):
        conversation.answer(control.SerializeToString())
    asked = batch(9)
    asked.batch.ClearField("depth")
    for _ in range(rows - 1):
        asked.batch.opportunities.MergeFrom(batch().batch.opportunities)
    asked.batch.budget_ns = budget_ns
    reply = engine_pb2.EngineReply.FromString(conversation.answer(_laid_out(asked, plain=plain)) or b"")
    assert [engine.judged for engine in engines] == judged
    assert (reply.batch.batch_id, reply.batch.skipped) == (9, skipped)
    assert [len(columns.verdict) for columns in reply.batch.verdicts] == ([] if skipped else [rows] * 3)


def _laid_out(request: engine_pb2.EngineRequest, *, plain: bool) -> bytes:
    """The frame as a hub of ours lays it out, its budget behind its id, or as protobuf does, behind everything."""
    if not plain:
        return request.SerializeToString()
    from arbhub.wire import batch_frame, submessage, varint
    from engines.server import BATCH, BUDGET, OPPORTUNITIES

    b = request.batch
    budget = varint(BUDGET << 3) + varint(b.budget_ns) if b.budget_ns else b""
    return batch_frame(BATCH, b.batch_id, budget + submessage(OPPORTUNITIES, b.opportunities.SerializeToString()))


async def test_a_served_engine_skips_and_goes_on() -> None:
    """Over a real socket: nothing can be judged within a nanosecond, and the next batch is judged."""
    async with served("spread") as at, channel(at) as wire:
        end = HubEnd(wire)
        await end.read()
        hurried, patient = batch(1), batch(2)
        hurried.batch.budget_ns = 1
        await end.send(configuration(), reference(), hurried, patient)
        first, second = (await end.read()).batch, (await end.read()).batch
        assert (first.batch_id, first.skipped, len(first.verdicts)) == (1, True, 0)
        assert (second.batch_id, second.skipped, len(second.verdicts)) == (2, False, 1)
        end.call.cancel()
