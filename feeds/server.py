"""The feed as a service: its source, the publisher to the hub, who writes its markets into the second level, and a
port for health and reflection.
"""

import asyncio

import structlog

from arbhub.link import LinkOptions, batch_rows
from arbhub.security.certificates import credentials_of
from arbhub.service import OnReady, ServiceError, serving
from arbhub.settings.redis import RedisSettings
from arbhub.settings.schema import Settings
from arbhub.telemetry import tracing
from feeds import source
from feeds.capture import CaptureError
from feeds.publisher import Publisher
from feeds.registrar import registered
from feeds.tracing import TickTraces

log = structlog.get_logger()


async def run(settings: Settings, shutdown: asyncio.Event, on_ready: OnReady | None = None) -> None:
    """Feed the hub until `shutdown`; ValueError and OSError say in a sentence what cannot be used.

    A replay that has ended leaves the feed serving: its last books stand until they are too old. It writes nothing into
    the second level, as a recording knows no more of markets than their names.
    """
    hub = settings.hub
    credentials = credentials_of(settings.tls, "feed")
    rows = batch_rows(hub.max_batch_ticks, hub.depth)
    options = LinkOptions(hub.window, rows, hub.max_queue_ticks, credentials=credentials)
    tasks: list[asyncio.Task[None]] = []
    async with (
        tracing(settings.traces, "feed") as traces,
        registered(settings.redis if settings.feed.source == "ccxt" else RedisSettings()) as noted,
        serving(settings.feed.listen, lambda _: None, [], on_ready, lambda: _end(tasks), credentials) as port,
    ):
        publisher = Publisher(hub.listen, settings.feed.max_feed_delay_ms, options, noted)
        publisher.traces = TickTraces(traces, publisher.universe) if traces is not None else None
        log.info("serving", service="feed", port=port, source=settings.feed.source)
        tasks += [
            asyncio.create_task(publisher.link.run()),
            asyncio.create_task(_feed(settings, publisher, shutdown)),
            asyncio.create_task(_until(shutdown)),
        ]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def _feed(settings: Settings, publisher: Publisher, shutdown: asyncio.Event) -> None:
    try:
        await source.run(settings.feed, settings.hub.depth, publisher)
    except CaptureError:
        raise  # it names its line, and bad input has an exit code of its own
    except ValueError as error:
        raise ServiceError(str(error)) from error
    await shutdown.wait()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _until(shutdown: asyncio.Event) -> None:
    await shutdown.wait()
