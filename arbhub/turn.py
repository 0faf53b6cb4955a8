"""One writer at a time: who holds the lock of a file serves, and a successor stands ready until it may.

The lock is the kernel's (flock), so it is let go however its holder ends. It is taken before a service does anything
and let go when that has returned: nothing is approved, sent or written without it. Behind it stands the ledger's
epoch, for those who do not ask for a turn. Who waits answers health checks on loopback alone, so that clients, who
come from elsewhere, are refused and go to whoever serves.
"""

import asyncio
import contextlib
import fcntl
import gc
import ipaddress
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import SERVER_OPTIONS, ServiceError

WAITING = "turn"
"""The health service that is SERVING where somebody waits."""
POLL_S = 0.01  # a thread could wait in the kernel, but nothing ends that wait when it is to stop
MAX_PLACE_BYTES = 256

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Turn:
    """The file whose lock is the turn, and where and as whom the service is to listen when it has it."""

    file: Path
    listen: str
    credentials: Credentials = INSECURE


async def in_turn(turn: Turn, shutdown: asyncio.Event, serve: Callable[[asyncio.Event], Awaitable[object]]) -> None:
    """Wait for the turn, serve, and let go of it; serve nothing where `shutdown` comes first.

    ServiceError where the file cannot be had or locked.
    """
    lock = _opened(turn.file)
    try:
        if await _given(lock, turn, shutdown):
            await serve(shutdown)
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _opened(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServiceError(f"--turn {file}: should be a file that can be written to: {error.strerror}") from None


async def _given(lock: int, turn: Turn, shutdown: asyncio.Event) -> bool:
    """Whether the turn is ours, and not over before it began."""
    if not _taken(lock, turn.file):
        began_s = time.monotonic()
        await asyncio.sleep(POLL_S)  # whoever took it just now is about to write down where it is
        async with _standing_ready(turn, lock):
            _settle_early()
            log.info("waiting for its turn", file=str(turn.file))
            while not shutdown.is_set() and not _taken(lock, turn.file):  # noqa: ASYNC110  # see POLL_S
                await asyncio.sleep(POLL_S)
        if shutdown.is_set():
            return False
        log.info("its turn", waited_s=round(time.monotonic() - began_s, 3))
    with contextlib.suppress(OSError):  # the disk is full: who comes next tries the port, and may fail to get it
        os.ftruncate(lock, 0)
        os.pwrite(lock, _place(turn.listen), 0)
    return True


def _settle_early() -> None:
    """A service settles its memory as it begins to serve: what is there by now need not be walked then, for 0.1 s."""
    gc.collect()
    gc.freeze()


def _taken(lock: int, file: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ServiceError(f"--turn {file}: cannot be locked: {error.strerror}") from None
    return True


@contextlib.asynccontextmanager
async def _standing_ready(turn: Turn, lock: int) -> AsyncIterator[None]:
    """Answer health checks on loopback for as long as the block runs, where its port is nobody's."""
    server, checks = grpc.aio.server(options=SERVER_OPTIONS), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    await checks.set(WAITING, health_pb2.HealthCheckResponse.SERVING)
    if why := _no_health(turn, lock) or _not_bound(server, turn):
        log.info("waits without health", reason=why)
        yield
        return
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)  # at once: its port is needed


def _no_health(turn: Turn, lock: int) -> str:
    if turn.listen.startswith("unix"):
        return f"{turn.listen} is no port"
    # It may still be on its way to that port, and would not get it.
    if os.pread(lock, MAX_PLACE_BYTES, 0) == _place(turn.listen):
        return f"{on_loopback(turn.listen)} is the port of the one that serves"
    return ""


def _not_bound(server: grpc.aio.Server, turn: Turn) -> str:
    address = on_loopback(turn.listen)
    with contextlib.suppress(RuntimeError):
        if turn.credentials.bind(server, address):
            return ""
    return f"{address} is in use"


def on_loopback(listen: str) -> str:
    """The same port where only this machine, or this container, can reach it."""
    host, _, port = listen.rpartition(":")
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host.strip("[]")).is_loopback:
            return listen
    return f"127.0.0.1:{port}"


def _place(listen: str) -> bytes:
    """Where a service listens, told from the same port of another container."""
    try:
        network = str(Path("/proc/self/ns/net").readlink())
    except OSError:
        network = "one network"
    return f"{network} port {listen.rpartition(':')[2]}\n".encode()
