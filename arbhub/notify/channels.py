"""Where messages go: Apprise URLs, a line each of a file that only we can read.

Such a URL is a secret as a whole: tokens stand in its path, its host or its options, as the service likes it. So none
is kept in text, a channel is called by its line and its scheme, what Apprise and the libraries below it log is not
passed on, and an error is told by its kind. Each channel has a bounded queue and a task of its own: one that cannot be
reached holds up neither the watching nor the others.
"""

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import apprise
import stamina
import structlog

from arbhub.notify.limiter import Message
from arbhub.security.exposure import is_local
from arbhub.security.redaction import hide
from arbhub.security.secretfile import read_secret
from arbhub.service import ServiceError

KEY = "notify.urls_file"
MAX_WAITING = 100
"""Messages that a channel keeps; beyond that the oldest go."""
ATTEMPTS = 12
PATIENCE_S = 600.0
"""For one message, all attempts together."""
SEND_S = 30.0
"""For one attempt: Apprise's own limits are by connection and read, and a redirect is another one."""
LAST_S = 2.0
"""For what still waits when the service ends."""
THREAD = "notify-attempt"
TALKATIVE = ("apprise", "requests", "urllib3")

T = TypeVar("T")

log = structlog.get_logger()


class UndeliveredError(Exception):
    """A channel did not take a message; says no more than that may be said."""


class Channel:
    """One line of the file. `name` says which, and what kind of service it is."""

    def __init__(self, line: int, url: str) -> None:
        """ValueError where Apprise can make nothing of the URL."""
        plugin = apprise.Apprise.instantiate(url, asset=apprise.AppriseAsset(async_mode=False))
        if plugin is None:
            raise ValueError("no Apprise URL")
        self.name = f"line {line} ({urlsplit(url).scheme.lower()})"
        self._service = apprise.Apprise()
        self._service.add(plugin)
        self._waiting: asyncio.Queue[Message] = asyncio.Queue()

    def post(self, message: Message) -> None:
        """Have it sent as soon as may be; returns at once."""
        if self._waiting.qsize() >= MAX_WAITING:
            dropped = self._waiting.get_nowait()
            self._waiting.task_done()
            log.error("message dropped: too many wait", channel=self.name, topic=dropped.topic, state=dropped.state)
        self._waiting.put_nowait(message)

    async def run(self) -> None:
        """Send what is posted, one after the other, until cancelled."""
        while True:
            message = await self._waiting.get()
            try:
                await self._deliver(message)
            finally:
                self._waiting.task_done()

    async def flushed(self) -> None:
        """Until nothing waits any more."""
        await self._waiting.join()

    async def send(self, message: Message) -> None:
        """One attempt; UndeliveredError where it fails."""
        try:
            async with asyncio.timeout(SEND_S):
                sent = await _beside(lambda: self._notify(message))
        except Exception as error:  # of whatever plugin: its text may hold the URL, and a trace the request
            raise UndeliveredError(f"{self.name}: {type(error).__name__}") from None
        if not sent:
            raise UndeliveredError(f"{self.name}: not reached, or it has refused the message")

    def _notify(self, message: Message) -> bool:
        """Blocks for as long as the service takes."""
        sent = self._service.notify(
            message.body,
            title=message.title,
            notify_type=apprise.NotifyType(message.level.value),
            body_format=apprise.NotifyFormat.TEXT,
        )
        return bool(sent)

    async def _deliver(self, message: Message) -> None:
        about = {"channel": self.name, "topic": message.topic, "state": message.state}
        try:
            async for attempt in stamina.retry_context(
                UndeliveredError, attempts=ATTEMPTS, timeout=PATIENCE_S, wait_initial=1.0, wait_max=120.0
            ):
                with attempt:
                    await self.send(message)
        except UndeliveredError as error:
            log.error("message given up", **about, reason=str(error))
        else:
            log.info("told", **about)


async def _beside(work: Callable[[], T]) -> T:
    """Its result, from a thread of its own: those of a pool would be too few for many channels that do not answer."""
    done: Future[T] = Future()

    def run() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(work())
        except BaseException as error:  # whatever it is, whoever waits is to have it
            done.set_exception(error)

    threading.Thread(target=run, name=THREAD, daemon=True).start()
    return await asyncio.wrap_future(done)


def under_way() -> bool:
    """Whether an attempt is still waiting for an answer, in a thread that nobody can end."""
    return any(thread.name == THREAD for thread in threading.enumerate())


def read_channels(path: Path | None) -> list[Channel]:
    """The channels that a file names; ServiceError says which lines cannot be used, and never what stands there."""
    if path is None:
        raise ServiceError(f"{KEY} is not set: nobody is there to be told")
    try:
        lines = read_secret(KEY, path, shown=False).decode().splitlines()
    except UnicodeDecodeError:
        raise ServiceError(f"{KEY}: the file it names should be text, an Apprise URL a line") from None
    urls = {n: line.strip() for n, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")}
    if not urls:
        raise ServiceError(f"{KEY}: the file it names should have at least one Apprise URL, such as json://HOST/PATH")
    hide(part for url in urls.values() for part in _parts(url))
    _silence()
    return _made(urls)


def _made(urls: dict[int, str]) -> list[Channel]:
    channels, bad = [], []
    for line, url in urls.items():
        try:
            channels.append(Channel(line, url))
        except Exception:  # a plugin may raise anything, with the URL in it
            bad.append(line)
    if bad:
        raise ServiceError(
            "\n".join(
                f"{KEY}: line {line} of the file it names should be an Apprise URL, such as json://HOST/PATH, "
                f"tgram://TOKEN/CHAT, slack://A/B/C or mailto://USER:PASSWORD@HOST; what it is now is not shown"
                for line in bad
            )
        )
    return channels


def _parts(url: str) -> Iterator[str]:
    """A URL as a whole, and what may be secret in it wherever a library puts it."""
    yield url
    authority, _, rest = url.partition("://")[2].partition("/")
    user, _, host = authority.rpartition("@")
    yield from re.split(r"[/?#&=@:]", f"{user}/{rest}")
    if not is_local(host if ":" in host else f"{host}:0"):  # that address stands in the log for other reasons
        yield host


def _silence() -> None:
    """They name addresses, with what is secret in them."""
    for name in TALKATIVE:
        library = logging.getLogger(name)
        library.handlers = [logging.NullHandler()]
        library.propagate = False


@contextlib.asynccontextmanager
async def delivering(channels: Sequence[Channel]) -> AsyncIterator[Callable[[Message], None]]:
    """Gives what posts a message to every channel. At the end what waits has a moment more."""
    tasks = [asyncio.create_task(channel.run()) for channel in channels]

    def post(message: Message) -> None:
        for channel in channels:
            channel.post(message)

    try:
        yield post
    finally:
        flushed = {asyncio.create_task(channel.flushed()): channel for channel in channels}
        _, late = await asyncio.wait(flushed, timeout=LAST_S)
        for task in late:
            log.error("messages left unsent at the end", channel=flushed[task].name)
        for task in (*tasks, *late):
            task.cancel()
        await asyncio.gather(*tasks, *late, return_exceptions=True)
