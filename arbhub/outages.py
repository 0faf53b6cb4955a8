"""Background work against the registry, which may be away: tried again and again, so that no service ends for it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from arbhub.catalogue import RegistryDownError

RETRY_S = 0.5

log = structlog.get_logger()


async def through_outages(work: Callable[[], Awaitable[None]], lost: Callable[[str], None], failure: str) -> None:
    """Do `work` again and again until cancelled. Each time it cannot be done `lost` hears why, and it is tried later.

    What is no outage but a bug is in the log too, as `failure`.
    """
    while True:
        try:
            await work()
            continue
        except RegistryDownError as error:
            lost(str(error))
        except Exception as error:  # the service is not to end for it, nor to stop trying in silence
            log.exception(failure)
            lost(f"{type(error).__name__}: {error}")
        await asyncio.sleep(RETRY_S)
