"""`arbhub up`: every service with one command, engines in the hub's process."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import structlog

from arbhub.cli.app import ConfigOption, SetOption, app, startable
from arbhub.processes import Household, Service
from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.service import ServiceError, run_until_signal
from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from arbhub.telemetry import configure_logs

READY_S = 60.0

log = structlog.get_logger()


def services(settings: Settings, words: tuple[str, ...], *, engines: bool) -> list[Service]:
    """What a configuration asks for, in the order of starting; `words` follow each command's name.

    The sandbox is among them where the configuration has a [sandbox] section, notify where it names notify.urls_file,
    the engines where asked for.
    """
    found = []
    if "sandbox" in settings.model_fields_set:
        found.append(Service("sandbox", ("sandbox", *words), settings.sandbox.listen, health=False))
    if engines:
        found += _engines(settings, words)
    found.append(Service("executor", ("executor", *words), settings.executor.listen))
    found.append(Service("hub", ("hub", *words), settings.hub.listen))
    found.append(Service("feed", ("feed", *words), settings.feed.listen))
    if settings.notify.urls_file is not None:
        found.append(Service("notify", ("notify", *words), settings.notify.listen))
    return found


def _engines(settings: Settings, words: tuple[str, ...]) -> Iterator[Service]:
    """A process a place; where there are replicas, one for each, told which it is."""
    for names in settings.engines.hosts().values():
        addresses, name = settings.engines.table()[names[0]].addresses, f"engine {' '.join(names)}"
        if len(addresses) == 1:
            yield Service(name, ("engine", *names, *words), addresses[0])
            continue
        for number, address in enumerate(addresses, 1):
            which = (word for engine in names for word in ("--set", f"engines.{engine}.place={address}"))
            yield Service(f"{name} {number}", ("engine", *names, *words, *which), address)


@app.command()
def up(config: ConfigOption, assignments: SetOption = None) -> None:
    """Run every service with one command, the engines in the hub's process, until Ctrl-C.

    A service that ends by itself ends them all: whatever runs this command is to start it again.
    """
    inside = [f"engines.{name}.place={IN_PROCESS}" for name in Settings().engines.table()]
    chosen = [*(assignments or ()), *inside]
    settings = startable(config, chosen)
    configure_logs()
    words = ("--config", str(Path(config)), *(word for a in chosen for word in ("--set", a)))
    household = Household(credentials=credentials_of(settings.tls, CLIENT))
    run_until_signal(lambda shutdown: _run(household, services(settings, words, engines=False), shutdown))


async def _run(household: Household, wanted: list[Service], shutdown: asyncio.Event) -> None:
    ended = asyncio.ensure_future(shutdown.wait())
    try:
        await household.start(wanted)
        ready = asyncio.ensure_future(household.ready(READY_S))
        await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ready.result()
            log.info("everything is up", services=[service.name for service in wanted])
            first = asyncio.ensure_future(household.first_end())
            await asyncio.wait([first, ended], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                child = first.result()
                raise ServiceError(f"{child.service.name} ended with {child.process.returncode}; see above")
            first.cancel()
        ready.cancel()
    finally:
        ended.cancel()
        await household.end()
