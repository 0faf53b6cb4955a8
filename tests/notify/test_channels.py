"""Sending through Apprise to real HTTP servers, and what is said of files and channels that do not work."""

import asyncio
import logging
import sys
from pathlib import Path

import pytest
import stamina
from structlog.testing import capture_logs
from webhook import TOKEN, Webhook, silent_port

from arbhub.notify.channels import MAX_WAITING, TALKATIVE, Channel, UndeliveredError, delivering, read_channels
from arbhub.notify.events import Level
from arbhub.notify.limiter import Message
from arbhub.processes import free_ports
from arbhub.service import ServiceError


@pytest.fixture(autouse=True)
def own_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hidden from the standard streams stays hidden for this test alone."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)


def message(number: int = 0) -> Message:
    """One of several."""
    return Message(
        f"arbhub: number {number}", "trading is halted\nhub 127.0.0.1:7401", Level.FAILURE, "trading", "halted"
    )


def urls_file(folder: Path, *lines: str) -> Path:
    """A file as it should be, but for its lines."""
    file = folder / "urls"
    file.touch(0o600)
    file.write_text("\n".join(lines))
    return file


async def test_a_message_reaches_a_webhook(tmp_path: Path) -> None:
    """Title, text with its lines, and how bad it is; comments and empty lines of the file are no channels."""
    async with Webhook().served() as webhook:
        channels = read_channels(urls_file(tmp_path, "# the room of the night watch", "", webhook.url))
        assert [channel.name for channel in channels] == ["line 3 (json)"]
        async with delivering(channels) as post:
            post(message())
            posted = await webhook.until(lambda _: True, "it")
    assert (posted.title, posted.type) == ("arbhub: number 0", "failure")
    assert posted.message.splitlines() == ["trading is halted", "hub 127.0.0.1:7401"]


async def test_channels_that_do_not_answer_hold_up_no_other(tmp_path: Path) -> None:
    """One where nobody listens and one that says nothing, before one that is well."""
    (closed,) = free_ports(1)
    with silent_port() as silent:
        async with Webhook().served() as webhook:
            lines = (f"json://127.0.0.1:{closed}/", f"json://127.0.0.1:{silent}/?rto=30", webhook.url)
            async with delivering(read_channels(urls_file(tmp_path, *lines))) as post:
                for number in range(5):
                    post(message(number))
                await webhook.until(lambda posted: posted.title.endswith("4"), "the last message")
    assert [posted.title[-1] for posted in webhook.posted] == ["0", "1", "2", "3", "4"]


async def test_what_is_refused_is_tried_again(tmp_path: Path) -> None:
    """Until it is taken, in the order in which it was posted."""
    webhook = Webhook()
    webhook.refusing = 2
    with stamina.set_testing(True, attempts=3):
        async with webhook.served(), delivering(read_channels(urls_file(tmp_path, webhook.url))) as post:
            post(message(1))
            post(message(2))
            await webhook.until(lambda posted: posted.title.endswith("2"), "the second message")
    assert webhook.refused == 2
    assert [posted.title[-1] for posted in webhook.posted] == ["1", "2"]


async def test_what_is_given_up_is_in_the_log_without_its_url(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """After so many attempts, by the channel's line; neither our log nor a library's has the secret."""
    caplog.set_level(logging.DEBUG)
    webhook = Webhook()
    webhook.refusing = 1000
    async with webhook.served():
        (channel,) = read_channels(urls_file(tmp_path, webhook.url))
        with stamina.set_testing(True, attempts=3), capture_logs() as logs:
            channel.post(message())
            task = asyncio.create_task(channel.run())
            await channel.flushed()
            task.cancel()
    assert webhook.refused == 3
    (given_up,) = (line for line in logs if line["event"] == "message given up")
    assert not [record for record in caplog.records if record.name.split(".")[0] in TALKATIVE]
    assert (given_up["channel"], given_up["topic"], given_up["state"]) == ("line 1 (json)", "trading", "halted")
    assert TOKEN not in str(logs) + "".join(capfd.readouterr())


async def test_a_channel_keeps_so_many_messages_and_no_more() -> None:
    """The oldest go, and the log says so."""
    webhook = Webhook()
    async with webhook.served():
        channel = Channel(1, webhook.url)
        with capture_logs() as logs:
            for number in range(MAX_WAITING + 3):
                channel.post(message(number))
        assert len(logs) == 3
        task = asyncio.create_task(channel.run())
        await channel.flushed()
        task.cancel()
    assert [posted.title for posted in webhook.posted] == [message(n).title for n in range(3, MAX_WAITING + 3)]


async def test_an_attempt_says_why_it_failed_without_the_url() -> None:
    """Whatever the library raises."""
    (closed,) = free_ports(1)
    with pytest.raises(UndeliveredError, match=r"^line 7 \(json\): not reached, or it has refused the message$"):
        await Channel(7, f"json://127.0.0.1:{closed}/{TOKEN}").send(message())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("", "# nobody"), "should have at least one Apprise URL"),
        (("json://127.0.0.1/", f"jason://{TOKEN}"), "line 2 of the file it names should be an Apprise URL"),
        ((TOKEN,), "line 1 of the file"),
        ((f"tgram://{TOKEN}",), "line 1 of the file"),
        ((f"slack://{TOKEN}", "json://127.0.0.1/", f"mailto://{TOKEN}"), "line 3 of the file"),
    ],
)
def test_a_bad_line_is_named_and_not_shown(
    tmp_path: Path, lines: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither in the error nor by a library on the way."""
    with pytest.raises(ServiceError, match=said) as error:
        read_channels(urls_file(tmp_path, *lines))
    assert TOKEN not in str(error.value) + "".join(capfd.readouterr())


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """As with every secret."""
    file = urls_file(tmp_path, "json://127.0.0.1/")
    file.chmod(0o644)
    with pytest.raises(ServiceError, match="has the mode 0644"):
        read_channels(file)


def test_without_a_file_nobody_can_be_told() -> None:
    """It is said, not taken for a wish to tell nobody."""
    with pytest.raises(ServiceError, match=r"notify\.urls_file is not set"):
        read_channels(None)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """In a sentence."""
    file = urls_file(tmp_path)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ServiceError, match="should be text"):
        read_channels(file)
