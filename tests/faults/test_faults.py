"""Everything that can happen to a part of arbhub, one after the other, to the same arbhub, under load.

Exact timing is tested on an injected clock in tests/hub/test_rounds.py; here times are printed, and their bounds are
loose.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from blows import BLOWS, Blow
from fault_table import Row, rendered
from known_ticks import RATE
from running_parts import DEADLINE_MS, RunningParts

ANSWER_MS, RECOVERY_S = 250.0, 10.0  # an answer's beside what others had the machine for: nobody answers then
PATIENCE_S = 30.0  # so that the table can say how long it took, beyond what is allowed


@dataclass(slots=True)
class Episode:
    """A blow as it went; times in monotonic ns. It fell between `began_ns` and `struck_ns`."""

    began_ns: int
    struck_ns: int = 0
    ended_ns: int = 0
    recovered_ns: int = 0


Say = Callable[[str], None]


@pytest.fixture(scope="module")
def say(request: pytest.FixtureRequest) -> Say:
    """Tell whoever watches the run how it goes."""
    plugins = request.config.pluginmanager
    reporter, capture = plugins.getplugin("terminalreporter"), plugins.getplugin("capturemanager")

    def aloud(text: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(text)

    return aloud


@pytest.fixture(scope="module")
def rows(say: Say) -> Iterator[list[Row]]:
    """What the table shows at the end, whatever passed."""
    found: list[Row] = []
    yield found
    say(rendered(found, f"faults under {RATE:g} ticks/s; the rounds' deadline is {DEADLINE_MS:g} ms"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def parts(tmp_path_factory: pytest.TempPathFactory, say: Say) -> AsyncIterator[RunningParts]:
    """Everything running and trading."""
    folder = tmp_path_factory.mktemp("faults")
    say(f"logs in {folder}")
    running = RunningParts(folder)
    async with running.running():
        await trades(running)
        yield running


@pytest.mark.parametrize("blow", BLOWS, ids=lambda blow: blow.name)
async def test_a_fault(blow: Blow, parts: RunningParts, rows: list[Row], say: Say) -> None:
    """Every tick is decided once, nothing is approved or ordered that must not be, and the rest recovers by itself."""
    say(f"{blow.name}: trading")
    await trades(parts)
    others = parts.pids()
    episode = await endured(blow, parts, say)
    await trades(parts)
    await answered(parts)
    rows.append(row(blow, episode, parts))
    say(f"{blow.name}: recovered within {rows[-1].recovery_s:.2f} s")
    check_decisions(blow, episode, parts)
    await check_trades(parts)
    assert {name for name, pid in others.items() if parts.pids().get(name) != pid} <= {blow.part}
    assert rows[-1].hub_ms <= ANSWER_MS + rows[-1].waited_ms
    assert rows[-1].recovery_s <= RECOVERY_S


async def trades(parts: RunningParts) -> None:
    """Return when decisions are approved, executed and written down, and the feed is heard."""
    ticks, since_ns = parts.ticks, time.monotonic_ns()
    await ticks.until(lambda: ticks.approved_since(since_ns).any(), "an approval", PATIENCE_S)
    epoch = int(ticks.epoch[ticks.approved_since(since_ns)].max())
    before = parts.ledger.fills(epoch)
    await ticks.until(lambda: parts.ledger.fills(epoch) > before, "fills in the ledger", PATIENCE_S)
    await heard("feed", parts, since_ns)


async def answered(parts: RunningParts) -> None:
    """Return when all that was sent so far has its answer, or is known to be lost."""
    ticks, due = parts.ticks, parts.ticks.due
    await ticks.until(lambda: not ticks.open[:due].any(), "answers to all that was sent", PATIENCE_S)


async def endured(blow: Blow, parts: RunningParts, say: Say) -> Episode:
    """Strike, let it last, end it, and wait until all is well again."""
    ticks, epoch, said = parts.ticks, int(parts.ticks.epoch.max()), len(parts.log("executor"))
    episode = Episode(time.monotonic_ns())
    await blow.strike(parts)
    try:
        episode.struck_ns = time.monotonic_ns()
        say(f"{blow.name}: struck")
        await lasted(blow, parts)
        assert blow.says in parts.log("executor")[said:]
    finally:
        episode.ended_ns = time.monotonic_ns() if blow.lasts_s else episode.struck_ns
        await blow.end(parts)
    if blow.part in parts.heard:
        await heard(blow.part, parts, episode.ended_ns)
        episode.recovered_ns = time.monotonic_ns()
    else:
        newest = epoch if blow.new_epoch else 0
        await ticks.until(lambda: ticks.approved_since(episode.ended_ns, newest).any(), "approvals", PATIENCE_S)
        episode.recovered_ns = int(ticks.answered_ns[ticks.approved_since(episode.ended_ns, newest)].min())
    return episode


async def lasted(blow: Blow, parts: RunningParts) -> None:
    """Return when as many ticks are due as come in the time that a blow lasts."""
    ticks = parts.ticks
    last = ticks.due + int(blow.lasts_s * RATE)
    await ticks.until(lambda: ticks.due >= last, "ticks that are due", PATIENCE_S)
    if blow.deaf and blow.lasts_s:
        assert await parts.is_lacking(blow.part)


async def heard(part: str, parts: RunningParts, since_ns: int) -> None:
    """Return when the hub has what a part has sent since then."""
    async with asyncio.timeout(PATIENCE_S):
        await parts.is_heard(part, since_ns)


def row(blow: Blow, episode: Episode, parts: RunningParts) -> Row:
    """What the table says of it."""
    ticks = parts.ticks
    sent = ticks.between(episode.began_ns, episode.recovered_ns)
    decided = sent & (ticks.answered_ns > 0)
    latency_ns = (ticks.answered_ns - ticks.sent_ns)[decided]
    return Row(
        blow.part,
        blow.fault,
        int(sent.sum()),
        int(decided.sum()),
        int((sent & ticks.lost).sum()),
        int((decided & ticks.approved).sum()),
        float(ticks.held_ns[decided].max(initial=0)) / 1e6,
        float(latency_ns.max(initial=0)) / 1e6,
        parts.core_waits.worst_ns(episode.began_ns, episode.recovered_ns) / 1e6,
        (episode.recovered_ns - episode.ended_ns) / 1e9,
    )


def check_decisions(blow: Blow, episode: Episode, parts: RunningParts) -> None:
    """One decision for every tick, none approved that must not be."""
    ticks = parts.ticks
    assert ticks.wrong == []
    assert blow.loses or ticks.lost[ticks.between(episode.began_ns, episode.recovered_ns)].sum() == 0
    if blow.silent_after_s is not None:
        silent = ticks.between(episode.struck_ns + int(blow.silent_after_s * 1e9), episode.ended_ns)
        answered = silent & (ticks.answered_ns > 0) & (ticks.answered_ns < episode.ended_ns)
        assert (answered & ticks.approved).sum() == 0
        assert blow.loses or answered.any()
    elif blow.lasts_s and not blow.new_epoch:
        assert ticks.approved[ticks.between(episode.struck_ns, episode.ended_ns)].any()


async def check_trades(parts: RunningParts) -> None:
    """No order doubled, and every one of a decision that was approved, or whose answer was lost."""
    ticks = parts.ticks
    assert parts.ledger.wrong() == []
    traded = parts.ledger.traded()
    await answered(parts)  # what is traded was approved before its answer came
    approved = set(zip(ticks.epoch[ticks.approved].tolist(), ticks.sequence[ticks.approved].tolist(), strict=True))
    assert len(approved) == int(ticks.approved.sum())
    stray = traded - approved
    assert len(stray) <= int(ticks.lost.sum()), stray
