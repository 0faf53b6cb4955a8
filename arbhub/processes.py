"""Services as child processes: started, waited for, watched and ended, by their process ids.

Children run in a session of their own, so that Ctrl-C reaches only the parent, which ends them in order and
leaves none behind.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import ServiceError, channel

END_S = 5.0
_HELD: deque[socket.socket] = deque(maxlen=256)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on.

    They stay bound here: until far more have been asked for, the kernel gives them to nobody who asks for any port or
    calls from one. A server with SO_REUSEADDR, as all have who are to start again at once, listens there all the same.
    """
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
    _HELD.extend(sockets)
    return [one.getsockname()[1] for one in sockets]


@dataclass(frozen=True, slots=True)
class Service:
    """What to start: the words after `arbhub`, and where it answers health checks (None: it is HTTP)."""

    name: str
    words: tuple[str, ...]
    address: str
    health: bool = True

    @property
    def command(self) -> str:
        """What a person would type."""
        return " ".join((sys.argv[0], *self.words))


@dataclass(slots=True)
class Child:
    """A service that was started."""

    service: Service
    process: asyncio.subprocess.Process

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None


@dataclass(slots=True)
class Household:
    """All the children of one parent. `logs` is a folder for a file each; None: they share our standard error.

    `credentials` are what their health is asked with.
    """

    logs: Path | None = None
    credentials: Credentials = INSECURE
    children: list[Child] = field(default_factory=list)

    async def start(self, services: Iterable[Service]) -> None:
        """Start services; `ready` waits for them."""
        for service in services:
            with self._log(service.name) as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "arbhub",
                    *service.words,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.children.append(Child(service, process))

    def _log(self, name: str) -> contextlib.AbstractContextManager[IO[bytes] | None]:
        return (self.logs / f"{name}.log").open("ab") if self.logs else contextlib.nullcontext()

    async def ready(self, timeout_s: float) -> None:
        """Wait until every child answers; ServiceError names one that ended or does not answer."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(self._answers(child) for child in self.children))
        except TimeoutError:
            raise ServiceError(f"not every service answered within {timeout_s:g} s{self._where()}") from None

    async def _answers(self, child: Child) -> None:
        healthy = False
        while not healthy:
            healthy = await _healthy(child.service, self.credentials)
            if not child.alive:  # whoever says that all is well there is somebody else
                raise ServiceError(
                    f"{child.service.name} ended with {child.process.returncode} before it was ready: "
                    f"{self._last_words(child)}{self._where()}"
                )
            if not healthy:
                await asyncio.sleep(0.1)

    def _last_words(self, child: Child) -> str:
        if self.logs is None:
            return "see above"
        lines = (self.logs / f"{child.service.name}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def _where(self) -> str:
        return f" (logs in {self.logs})" if self.logs else ""

    async def first_end(self) -> Child:
        """Wait until a child ends by itself, and say which."""
        waits = {asyncio.ensure_future(child.process.wait()): child for child in self.children}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[done.pop()]
        finally:
            for wait in waits:
                wait.cancel()

    async def end(self) -> None:
        """End every child: SIGTERM in reverse order of starting, and SIGKILL for what is still there later."""
        for child in reversed(self.children):
            self._signal(child, signal.SIGTERM)
            self._signal(child, signal.SIGCONT)  # one that was stopped could not end otherwise
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await asyncio.gather(*(child.process.wait() for child in self.children))
        for child in self.children:
            self._signal(child, signal.SIGKILL)
        await asyncio.gather(*(child.process.wait() for child in self.children))

    @staticmethod
    def _signal(child: Child, number: signal.Signals) -> None:
        if child.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.process.pid, number)


async def _healthy(service: Service, credentials: Credentials) -> bool:
    if not service.health:
        return await _connects(service.address)
    async with channel(service.address, credentials) as wire:
        try:
            reply = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.aio.AioRpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def _connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True
