"""The service: watch a hub, and post what is worth telling. gRPC is here, and nowhere else beside it."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import grpc
import structlog

from arbhub.notify.channels import Channel, UndeliveredError, delivering, read_channels
from arbhub.notify.events import Level, Now
from arbhub.notify.limiter import Message
from arbhub.notify.teller import Teller
from arbhub.security.certificates import credentials_of
from arbhub.security.credentials import Credentials
from arbhub.service import OnReady, ServiceError, serving
from arbhub.settings.schema import Settings
from arbhub.v1 import hub_pb2
from arbhub.watching import watched

WATCH_S = 0.5
SERVICE = "notify"

log = structlog.get_logger()


async def run(settings: Settings, shutdown: asyncio.Event, on_ready: OnReady | None = None) -> None:
    """Tell what happens to the hub until `shutdown`; ServiceError where nobody can be told."""
    section = settings.notify
    channels, credentials = read_channels(section.urls_file), credentials_of(settings.tls, SERVICE)
    address = section.hub or settings.hub.listen
    async with (
        delivering(channels) as post,
        serving(section.listen, _no_calls, [], on_ready, credentials=credentials) as port,
    ):
        named = [channel.name for channel in channels]
        log.info("serving", service=SERVICE, port=port, hub=address, channels=named)
        teller = Teller(section, address, _now())
        watching = asyncio.create_task(_watch(address, credentials, teller, post))
        ended = asyncio.create_task(shutdown.wait())
        await asyncio.wait([watching, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching  # it ends only by what is a bug, and that is to be seen


async def send_test(settings: Settings) -> list[str]:
    """Send one to every channel, once; gives their names. ServiceError names those that did not take it."""
    channels = read_channels(settings.notify.urls_file)
    address = settings.notify.hub or settings.hub.listen
    body = f"This is a test. What happens to the hub at {address} is told here."
    message = Message("arbhub: a test", body, Level.INFO, "test", "sent")
    failed = [said for said in await asyncio.gather(*(_tried(channel, message) for channel in channels)) if said]
    if failed:
        raise ServiceError("\n".join(f"notify.urls_file: {said}" for said in failed))
    return [channel.name for channel in channels]


async def _tried(channel: Channel, message: Message) -> str:
    try:
        await channel.send(message)
    except UndeliveredError as error:
        return str(error)
    return ""


def _no_calls(_: grpc.aio.Server) -> None:
    """Health is all there is to ask."""


async def _watch(address: str, credentials: Credentials, teller: Teller, post: Callable[[Message], None]) -> None:
    async with contextlib.aclosing(watched(address, WATCH_S, credentials)) as states:
        async for seen in states:
            now = _now()
            told = teller.see(seen, now) if isinstance(seen, hub_pb2.Status) else teller.gone(seen.why, now)
            for message in told:
                post(message)


def _now() -> Now:
    return Now(time.time(), time.monotonic())
