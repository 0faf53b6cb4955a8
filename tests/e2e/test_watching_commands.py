"""`arbhub top` and `arbhub notify` beside services that run as processes: what people see and hear of real faults."""

import asyncio
import contextlib
import os
import pty
import re
import signal
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from running_arbhub import PATIENCE_S, RunningArbhub
from webhook import TOKEN, Webhook

from arbhub.processes import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def webhook() -> AsyncIterator[Webhook]:
    """Who is told."""
    async with Webhook().served() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def arbhub(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook) -> AsyncIterator[RunningArbhub]:
    """Everything running, notify with a channel where nobody listens and one that is well; ended afterwards."""
    folder = tmp_path_factory.mktemp("arbhub")
    listen, nobody = free_ports(2)
    urls = folder / "urls"
    urls.touch(0o600)
    urls.write_text(f"json://127.0.0.1:{nobody}/{TOKEN}\n{webhook.url}\n")
    section = {
        "listen": f"127.0.0.1:{listen}",
        "urls_file": str(urls),
        "settle_s": 0.2,
        "min_interval_s": 0.0,
    }
    async with RunningArbhub(folder, {"notify": section}).running() as running:
        await running.until(lambda s: s.approved > 0, "approvals")
        yield running


@contextlib.asynccontextmanager
async def started(*words: str | Path, **streams: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command under way; killed at the end if it still is."""
    given = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | streams
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "arbhub", *map(str, words), **given)  # type: ignore[arg-type]  # streams alone
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ended(*words: str | Path) -> tuple[int | None, str, str]:
    """How a command ended, and what it said."""
    async with started(*words) as process:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode, out.decode(), err.decode()


async def until(reader: asyncio.StreamReader, words: str) -> str:
    """What is said up to these words."""
    said = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while words.encode() not in said:
                part = await reader.read(4096)
                assert part, f"it ended before {words!r}: {said!r}"
                said = ESCAPES.sub(b"", said + part)
    except TimeoutError:
        raise AssertionError(f"{words!r} was never said: {said!r}") from None
    return said.decode(errors="replace")


async def expect_told(webhook: Webhook, words: str) -> str:
    """The text of the message that has these words in it; its like may be told again later."""
    posted = await webhook.until(lambda one: words in one.message, words)
    webhook.posted.clear()
    return posted.message


def child(arbhub: RunningArbhub, name: str) -> asyncio.subprocess.Process:
    """A service's process."""
    return next(child.process for child in arbhub.household.children if child.service.name == name)


async def test_a_halt_and_a_resume_reach_the_webhook(arbhub: RunningArbhub, webhook: Webhook) -> None:
    """With the operator's words and the hub's address, as a failure and as a success."""
    admin = ("--address", arbhub.settings.hub.admin_listen)
    assert (await ended("admin", "halt", "--why", "drill", *admin))[0] == 0
    halt = await webhook.until(lambda one: one.title == "arbhub: trading is halted (the operator's words: drill)", "it")
    assert halt.type == "failure"
    assert f"hub {arbhub.settings.hub.listen}, " in halt.message
    assert (await ended("admin", "resume", *admin))[0] == 0
    resume = await webhook.until(lambda one: one.title == "arbhub: trading is active", "the resume")
    assert resume.type == "success"


async def test_a_breaker_is_told(arbhub: RunningArbhub, webhook: Webhook) -> None:
    """Of an engine that is stopped, and that goes on."""
    engine = child(arbhub, "engine fee")
    engine.send_signal(signal.SIGSTOP)
    await expect_told(webhook, "the breaker of engine fee is open: its silence is a veto")
    engine.send_signal(signal.SIGCONT)
    await expect_told(webhook, "engine fee answers again")


async def test_the_executor_and_the_hub_are_told(arbhub: RunningArbhub, webhook: Webhook) -> None:
    """When they are lost, and when they are back."""
    await arbhub.kill("executor")
    await expect_told(webhook, "the executor is lost: nothing is approved")
    await arbhub.start("executor")
    await expect_told(webhook, "the executor is back, in epoch ")
    await arbhub.kill("hub")
    await expect_told(webhook, "the hub cannot be reached: ")
    await arbhub.start("hub")
    await expect_told(webhook, "the hub is back, after ")


async def test_a_test_message_says_which_channel_does_not_work(arbhub: RunningArbhub, webhook: Webhook) -> None:
    """By its line, without its URL; the other one has the message."""
    code, out, err = await ended("notify", "--config", arbhub.config, "--test")
    assert (code, out) == (1, "")
    assert err == "arbhub: notify.urls_file: line 1 (json): not reached, or it has refused the message\n"
    await webhook.until(lambda one: one.title == "arbhub: a test", "the test")


async def test_no_log_has_a_url_in_it(arbhub: RunningArbhub, webhook: Webhook) -> None:
    """Though the first channel has failed all the time."""
    log = (arbhub.folder / "notify.log").read_text()
    assert "line 1 (json): not reached" in log
    assert "hooks" not in log
    assert TOKEN not in log


async def test_notify_does_not_start_where_nobody_can_be_told(arbhub: RunningArbhub, tmp_path: Path) -> None:
    """In a sentence with the line, exit code 1."""
    urls = tmp_path / "urls"
    urls.touch(0o600)
    urls.write_text(f"json://127.0.0.1/\nhttq//{TOKEN}\n")
    code, _, err = await ended("notify", "--config", arbhub.config, "--set", f"notify.urls_file={urls}")
    assert code == 1
    assert err.startswith("arbhub: notify.urls_file: line 2 of the file it names should be an Apprise URL")
    assert TOKEN not in err


async def test_top_prints_one_screen(arbhub: RunningArbhub) -> None:
    """By the configuration or by the address; it answers all four questions."""
    for words in (("--config", arbhub.config), ("--address", arbhub.settings.hub.listen)):
        code, out, err = await ended("top", *words, "--once", "--interval", "0.5")
        assert (code, err) == (0, "")
        questions = ("are we trading", "are we fast", "is anything failing", "what did it earn")
        places = [out.index(question) for question in questions]
        assert places == sorted(places)
        assert re.search(r"ticks [\d,]+ \([\d,]+\.\d/s\)", out)
        assert "\x1b" not in out


async def test_top_without_a_hub_is_one_sentence() -> None:
    """Exit code 1."""
    code, out, err = await ended("top", "--address", "127.0.0.1:1", "--once")
    assert (code, out) == (1, "")
    assert err.startswith("arbhub: no answer from a hub at 127.0.0.1:1: ")
    assert err.count("\n") == 1


async def test_top_off_a_terminal_goes_on_across_a_restart(arbhub: RunningArbhub) -> None:
    """A screen an interval, a line when the hub is gone, and an interrupt ends it with 0."""
    async with started("top", "--config", arbhub.config, "--interval", "0.2") as process:
        assert process.stdout
        await until(process.stdout, "what did it earn")
        await arbhub.kill("hub")
        await until(process.stdout, f"no hub at {arbhub.settings.hub.listen}: ")
        await arbhub.start("hub")
        said = await until(process.stdout, "what did it earn")
        assert said.count("no hub at") == 0
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (process.returncode, err) == (0, b"")


async def test_top_on_a_terminal_is_live_and_comes_back(arbhub: RunningArbhub) -> None:
    """On a pseudo-terminal of 80 columns; what was shown last stays behind."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 80))
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0))
    words = ("top", "--config", arbhub.config, "--interval", "0.2")
    try:
        async with started(*words, stdin=theirs, stdout=theirs) as process:
            await until(reader, "what did it earn")
            await arbhub.kill("hub")
            await until(reader, "it is looked for again and again")
            await arbhub.start("hub")
            back = await arbhub.until(lambda s: s.executor_up, "the hub with its executor")
            await until(reader, f"epoch {back.epoch}")
            process.send_signal(signal.SIGINT)
            assert process.stderr
            err = await asyncio.wait_for(process.stderr.read(), PATIENCE_S)
            await asyncio.wait_for(process.wait(), PATIENCE_S)
        assert (process.returncode, err) == (0, b"")
    finally:
        os.close(theirs)
        transport.close()
