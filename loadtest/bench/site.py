"""Where a case is measured: services started for it alone, as processes on free ports, and ended whatever happens.

The set-up is "load driver, hub, engine processes and nothing else": where the executor should be is nobody, so
nothing is approved, and everything before that is done as ever.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import tomli_w

from arbhub.processes import Child, Household, Service, free_ports
from loadtest.bench.results import Row

ENGINES = ("spread", "fee", "liquidity", "risk")
DEADLINE_MS = 60.0
NOBODY = "127.0.0.1:1"
READY_S = 60.0


class Place(StrEnum):
    """Where the four engines run."""

    PROCESSES = "a process each"
    HOSTED = "one process for all"
    INSIDE = "in the hub's process"


@dataclass(frozen=True, slots=True)
class Site:
    """A folder of the case's own for configurations, captures and logs, and whom to tell how far it is.

    `rows` is what was measured before, by key.
    """

    folder: Path
    tell: Callable[[str], None]
    rows: Mapping[str, Row] = field(default_factory=dict)

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """A TOML file in the folder."""
        file = self.folder / name
        file.write_text(tomli_w.dumps(content))
        return file


@dataclass(frozen=True, slots=True)
class Running:
    """Services that answer: the address to send ticks to, and what was started."""

    target: str
    household: Household

    def pids(self) -> dict[str, int]:
        """Process ids by the service's name."""
        return {child.service.name: child.process.pid for child in self.household.children}


def addresses(count: int) -> list[str]:
    """Loopback addresses that nobody listens on now, all different."""
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def configuration(hub: str, places: Mapping[str, str]) -> dict[str, Any]:
    """The services' configuration; engines without a place run in the hub's process."""
    return {
        "hub": {"listen": hub, "http_listen": "", "admin_listen": "", "state_dir": "", "deadline_ms": DEADLINE_MS},
        "engines": {name: {"place": place} for name, place in places.items()},
        "executor": {"listen": NOBODY},
    }


@contextlib.asynccontextmanager
async def services(site: Site, place: Place) -> AsyncIterator[Running]:
    """A hub and its four engines, at unix sockets in the site's folder; ServiceError where one does not start."""
    hub = f"unix:{site.folder}/hub.sock"
    sockets = [f"unix:{site.folder}/{'host' if place is Place.HOSTED else name}.sock" for name in ENGINES]
    places = {} if place is Place.INSIDE else dict(zip(ENGINES, sockets, strict=True))
    file = site.write("services.toml", configuration(hub, places))
    hosts: dict[str, list[str]] = {}
    for name, where in places.items():
        hosts.setdefault(where, []).append(name)
    words = ("--config", str(file))
    wanted = [Service(f"engine {'-'.join(names)}", ("engine", *names, *words), at) for at, names in hosts.items()]
    async with _household(site) as household:
        await household.start([*wanted, Service("hub", ("hub", *words), hub)])
        await household.ready(READY_S)
        yield Running(hub, household)


@contextlib.asynccontextmanager
async def modules(site: Site, wanted: Sequence[tuple[str, Service]]) -> AsyncIterator[Running]:
    """Services that are modules of their own, as `python -m MODULE WORDS...`; the last one takes the ticks."""
    async with _household(site) as household:
        for module, service in wanted:
            with (site.folder / f"{service.name}.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", module, *service.words),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            household.children.append(Child(service, process))
        await household.ready(READY_S)
        yield Running(wanted[-1][1].address, household)


@contextlib.asynccontextmanager
async def _household(site: Site) -> AsyncIterator[Household]:
    household = Household(site.folder)
    try:
        yield household
    finally:
        await household.end()
