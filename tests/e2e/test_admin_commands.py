"""`arbhub admin` against services that run as processes: what an operator types, and what it does to real trading."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from running_arbhub import RunningArbhub

from arbhub.v1 import hub_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENOUGH = 20  # decisions that are to be seen before something is believed


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def arbhub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningArbhub]:
    """Everything running, ended afterwards."""
    async with RunningArbhub(tmp_path_factory.mktemp("arbhub")).running() as running:
        await running.until(lambda s: s.approved > 0, "approvals")
        yield running


async def admin(arbhub: RunningArbhub, *words: str) -> Said:
    """Type a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arbhub", "admin", *words, "--address", arbhub.settings.hub.admin_listen),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


async def asked(arbhub: RunningArbhub, *words: str) -> Any:
    """Its answer as JSON."""
    said = await admin(arbhub, *words, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def config(arbhub: RunningArbhub) -> Path:
    """The file that all services were started with."""
    return arbhub.folder / "demo.toml"


def opportunities(status: hub_pb2.Status) -> int:
    """How many ticks had an opportunity."""
    return status.ticks - sum(status.rejected.get(r, 0) for r in ("NO_COUNTERPART", "SAME_VENUE", "SHED"))


async def more(arbhub: RunningArbhub, before: hub_pb2.Status) -> hub_pb2.Status:
    """The state some decisions later."""
    return await arbhub.until(lambda s: opportunities(s) > opportunities(before) + ENOUGH, "more decisions")


async def test_a_reload_reaches_every_process_and_back(arbhub: RunningArbhub) -> None:
    """A dry run changes nothing, a reload changes all, a rollback takes it back; every engine says the version."""
    strict = ("--set", "hub.min_net_edge_bps=5000", "--set", "engines.fee.taker_bps.EX1=3")
    first = (await asked(arbhub, "status"))["version"]
    dry = await asked(arbhub, "reload", *strict, "--dry-run")
    assert (dry["committed"], dry["version"]) == (False, first)
    assert "approved" not in dry["rehearsal"]["after"]
    assert int(dry["rehearsal"]["before"]["approved"]) > 0
    done = await asked(arbhub, "reload", *strict)
    assert (done["committed"], done["absent"]) == (True, [])
    state = await asked(arbhub, "status")
    assert {e["version"] for e in (*state["engines"], *state["links"])} == {done["version"]}
    before = await arbhub.until(lambda s: s.config_version == done["version"], "the version")
    after = await more(arbhub, await more(arbhub, before))
    settled = await more(arbhub, after)
    assert settled.approved == after.approved
    back = await asked(arbhub, "rollback", "1")
    assert back["version"].partition("-")[2] == first.partition("-")[2]
    await arbhub.until(lambda s: s.approved > settled.approved, "approvals")
    text = (await admin(arbhub, "history")).out
    assert all(version in text for version in (first, done["version"], back["version"]))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("reload", "--set", "hub.min_net_egde_bps=1"), 2, "did you mean min_net_edge_bps?"),
        (("reload", "--set", "engines.fee.budget_ms=1000"), 2, "engines.fee.budget_ms: is 1000, but"),
        (("reload", "--set", "hub.depth=3"), 1, "hub.depth: cannot change"),
        (("reload", "/nowhere.toml"), 2, "/nowhere.toml: cannot be read"),
        (("reload", "--expect", "99-x"), 1, "not the expected 99-x"),
        (("rollback", "99"), 2, "no version 99"),
        (("engine", "risk", "off"), 2, "risk always has its say"),
    ],
)
async def test_what_is_refused_exits_with_the_reason(
    arbhub: RunningArbhub, words: tuple[str, ...], code: int, said: str
) -> None:
    """One line each on standard error, no traceback; the version stays."""
    before = await arbhub.until(lambda _: True, "a state")
    result = await admin(arbhub, *words)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert all(line.startswith("arbhub: ") for line in result.err.splitlines())
    assert (await arbhub.until(lambda _: True, "a state")).config_version == before.config_version


async def test_a_halt_stops_approvals_and_outlives_hub_and_executor(arbhub: RunningArbhub) -> None:
    """From the answer on nothing is approved, after kill -9 of both neither; a resume brings approvals back."""
    halted = await asked(arbhub, "halt", "--why", "drill")
    assert (halted["state"], halted["ledger_told"]) == ("TRADING_STATE_HALTED", True)
    before = await arbhub.until(lambda _: True, "a state")
    assert (await more(arbhub, before)).approved == before.approved
    for name in ("hub", "executor"):
        await arbhub.kill(name)
    await arbhub.start("hub", "executor")
    began = await arbhub.until(lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
    later = await more(arbhub, began)
    assert later.approved == 0
    assert later.rejected["TRADING_HALTED"] > 0
    assert "halted (operator: halted, ledger: halted; drill)" in (await admin(arbhub, "status")).out
    assert (await asked(arbhub, "resume"))["state"] == "TRADING_STATE_ACTIVE"
    await arbhub.until(lambda s: s.approved > 0, "approvals")


async def test_a_halt_is_taken_while_engines_and_executor_are_down(arbhub: RunningArbhub) -> None:
    """The answer says that the ledger is still to be told, and it is, when it is back."""
    down = ("engine risk", "engine fee", "executor")
    for name in down:
        await arbhub.kill(name)
    await arbhub.until(lambda s: not s.executor_up, "the executor's end")
    halted = await asked(arbhub, "halt")
    assert (halted["state"], halted["ledger_told"]) == ("TRADING_STATE_HALTED", False)
    await arbhub.start(*down)
    began = await arbhub.until(lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
    assert (await more(arbhub, began)).approved == began.approved
    assert (await asked(arbhub, "status"))["ledger"] == "TRADING_STATE_HALTED"
    await asked(arbhub, "resume")
    await arbhub.until(lambda s: s.approved > began.approved, "approvals")


async def test_a_hangup_takes_the_file_as_it_is_now(arbhub: RunningArbhub) -> None:
    """SIGHUP to the hub's process; a shadowed engine stays up and judges."""
    original = config(arbhub).read_text()
    text = original.replace("[engines.spread]\n", '[engines.spread]\nmode = "shadow"\n')
    assert text != original
    config(arbhub).write_text(text)
    before = await arbhub.until(lambda _: True, "a state")
    hub = next(child for child in arbhub.household.children if child.service.name == "hub")
    hub.process.send_signal(signal.SIGHUP)
    try:
        state = await arbhub.until(lambda s: s.config_version != before.config_version, "another version")
        engines = {e["name"]: e for e in (await asked(arbhub, "status"))["engines"]}
        assert (engines["spread"]["mode"], engines["spread"]["up"]) == ("shadow", True)
        await arbhub.until(lambda s: s.engines[0].judged > state.engines[0].judged, "the shadow's verdicts")
    finally:
        config(arbhub).write_text(original)
    assert (await asked(arbhub, "reload"))["committed"]


async def test_nobody_at_the_address_is_one_sentence(arbhub: RunningArbhub) -> None:
    """Exit code 1."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arbhub", "admin", "status", "--address", "127.0.0.1:1"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert err.decode().startswith("arbhub: no answer from a hub's admin port at 127.0.0.1:1")
