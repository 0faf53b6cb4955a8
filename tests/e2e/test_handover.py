"""Hub, risk engine and executor handed over to a successor that stands ready, while ticks come and trades go on.

With `pytest -s` it says how long nobody served, from the signal to the answers and approvals that came after.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from handing_over import PATIENCE_S, HandingOver

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITERS = ("hub", "engine risk", "executor")
UNDER_WAY = "SELECT count(*) FROM orders WHERE status = 'sent' AND epoch < (SELECT epoch FROM trading)"
CUT_OFF = "SELECT count(*) FROM decisions WHERE status = 'cancelled'"


BOTH = pytest.mark.parametrize("parts", [False, True], ids=["sockets", "ports"], indirect=True)
AT_PORTS = pytest.mark.parametrize("parts", [True], ids=["ports"], indirect=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HandingOver]:
    """Everything running and trading, at ports or at unix sockets."""
    async with HandingOver(tmp_path_factory.mktemp("handover"), ports=request.param).running() as running:
        yield running


async def handed_over(parts: HandingOver, part: str, number: signal.Signals) -> int:
    """End the one that serves while a successor stands ready, and wait for trades by that; the exit code."""
    ticks = parts.ticks
    await parts.trades(time.monotonic_ns())
    await parts.stand_ready(part)
    epoch, streams, ended_ns = int(ticks.epoch.max()), ticks.streams, time.monotonic_ns()
    older = 0 if part == "engine risk" else epoch
    code = await parts.end(part, number)
    await parts.until(lambda: '"its turn"' in parts.log(part), f"the turn of the next {part}")
    await parts.trades(ended_ns, older)
    approved_ns = ticks.answered_ns[ticks.approved_since(ended_ns, older)].min()
    told = f"approvals after {(approved_ns - ended_ns) / 1e9:.2f} s"
    if part == "hub":
        told = f"answers after {(ticks.after(ended_ns, streams)[0] - ended_ns) / 1e9:.2f} s, {told}"
    print(f"\n{number.name} of the {part}: {told}")  # noqa: T201  # what docs/operations.md says of it
    return code


async def check(parts: HandingOver) -> None:
    """Every tick has exactly one answer, no order was left behind, and the ledger adds up."""
    ticks, due = parts.ticks, parts.ticks.due
    await parts.until(ticks.answers[:due].all, "answers to all that was due")
    assert ticks.wrong == []
    assert ticks.answers.max() == 1
    await parts.until(lambda: not parts.count(UNDER_WAY), "no order of an earlier epoch under way")
    assert parts.ledger.wrong() == []


@BOTH
@pytest.mark.parametrize("part", WRITERS)
async def test_an_orderly_handover(parts: HandingOver, part: str) -> None:
    """The first ends with 0; what became orders was answered, and no order was cut off."""
    epoch, cut_off = int(parts.ticks.epoch.max()), parts.count(CUT_OFF)
    assert await handed_over(parts, part, signal.SIGTERM) == 0
    await check(parts)
    traded = {decision for decision in parts.ledger.traded() if decision[0] >= epoch}
    await parts.until(lambda: traded <= parts.ticks.traded(), "answers that tell of everything traded")
    assert parts.count(CUT_OFF) == cut_off


@AT_PORTS
@pytest.mark.parametrize("part", WRITERS)
async def test_the_holder_is_killed(parts: HandingOver, part: str) -> None:
    """The one that waits takes over all the same; nothing is answered twice, and the ledger is whole."""
    assert await handed_over(parts, part, signal.SIGKILL) == -signal.SIGKILL
    await check(parts)


async def ended(words: list[str], *, after: str = "") -> tuple[int, str]:
    """Exit code and last words of a command; SIGTERM once it has said something, if that is named."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "arbhub", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(PATIENCE_S):
        async for line in process.stdout:
            said = line.decode()
            if after and after in said:
                process.send_signal(signal.SIGTERM)
        return await process.wait(), said


@AT_PORTS
async def test_an_end_before_its_turn(parts: HandingOver) -> None:
    """One that waits and is asked to end ends with 0, never having served; the one that serves goes on."""
    words = ["executor", "--config", str(parts.config), "--turn", str(parts.folder / "executor.turn")]
    code, said = await ended(words, after="waiting for its turn")
    assert (code, "waiting for its turn" in said) == (0, True)
    await parts.trades(time.monotonic_ns())


@AT_PORTS
async def test_a_file_that_cannot_be_opened(parts: HandingOver, tmp_path: Path) -> None:
    """One sentence that names it, and exit 1."""
    for words in (["hub"], ["engine", "risk"], ["executor"], ["feed"]):
        code, said = await ended([*words, "--config", str(parts.config), "--turn", str(tmp_path)])
        assert (code, said.startswith(f"arbhub: --turn {tmp_path}: should be a file")) == (1, True)
