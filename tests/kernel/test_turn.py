"""Taking turns at one file, with real locks, ports and processes."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from arbhub.processes import free_ports
from arbhub.security.authority import make_certificates
from arbhub.security.certificates import credentials_of
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import ServiceError, channel, serving
from arbhub.settings.tls import TlsSettings
from arbhub.turn import Turn, in_turn, on_loopback

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
PATIENCE_S = 20.0
NOWHERE = "unix:/nowhere"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file whose lock is the turn; it is not there yet."""
    return tmp_path / "turn"


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Somebody else holds the lock for as long as the block runs, and does not say where it serves."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        os.close(lock)


def is_free(file: Path) -> bool:
    """Whether anybody might take the turn."""
    try:
        with locked(file):
            return True
    except BlockingIOError:
        return False


class Serving:
    """A service that serves until it is told to end."""

    def __init__(self, turn: Turn) -> None:
        self.turn, self.shutdown, self.began = turn, asyncio.Event(), asyncio.Event()

    async def serve(self, shutdown: asyncio.Event) -> None:
        """Serve at its own address, if that is a port."""
        if self.turn.listen == NOWHERE:
            self.began.set()
            await shutdown.wait()
            return
        async with serving(self.turn.listen, lambda _: None, [], credentials=self.turn.credentials):
            self.began.set()
            await shutdown.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Take a turn for as long as the block runs; it may end sooner."""
        task = asyncio.create_task(in_turn(self.turn, self.shutdown, self.serve))
        try:
            yield task
        finally:
            self.shutdown.set()
            await asyncio.wait_for(task, PATIENCE_S)


async def said(logged: list[Any], event: str) -> None:
    """Return when the log has it."""
    async with asyncio.timeout(PATIENCE_S):
        while event not in [line["event"] for line in logged]:  # noqa: ASYNC110  # a log tells nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def reasons(logged: list[Any]) -> list[str]:
    """Why it waits without health, if it does."""
    return [line["reason"] for line in logged if line["event"] == "waits without health"]


async def health(address: str, service: str = "", credentials: Credentials = INSECURE) -> int:
    """What is said there; waits until somebody is there."""
    async with channel(address, credentials) as wire:
        stub = health_pb2_grpc.HealthStub(wire)
        question = health_pb2.HealthCheckRequest(service=service)
        return int((await stub.Check(question, timeout=PATIENCE_S, wait_for_ready=True)).status)


async def test_who_is_alone_serves_at_once(file: Path, logged: list[Any]) -> None:
    """The lock is held for as long as it serves, and without a word about waiting."""
    only = Serving(Turn(file, NOWHERE))
    async with only.running():
        await asyncio.wait_for(only.began.wait(), PATIENCE_S)
        assert not is_free(file)
    assert is_free(file)
    assert logged == []


async def test_the_second_serves_when_the_first_has_ended(file: Path, logged: list[Any]) -> None:
    """Not when that is asked to end: when all it does is done."""
    first, second = Serving(Turn(file, NOWHERE)), Serving(Turn(file, NOWHERE))
    drained = asyncio.Event()
    serve = first.serve

    async def slowly(shutdown: asyncio.Event) -> None:
        await serve(shutdown)
        await drained.wait()

    first.serve = slowly  # type: ignore[method-assign]  # a service whose drain takes its time
    async with first.running() as ending, second.running():
        await asyncio.wait_for(first.began.wait(), PATIENCE_S)
        await said(logged, "waiting for its turn")
        first.shutdown.set()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.began.wait(), 0.1)  # ten looks at the lock
        drained.set()
        await asyncio.wait_for(ending, PATIENCE_S)
        await asyncio.wait_for(second.began.wait(), PATIENCE_S)
    (its,) = [line for line in logged if line["event"] == "its turn"]
    assert its["waited_s"] > 0
    assert [line["file"] for line in logged if line["event"] == "waiting for its turn"] == [str(file)]


async def test_who_fails_lets_go(file: Path) -> None:
    """An error in the service is raised, and the turn is free."""

    async def fails(_: asyncio.Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_turn(Turn(file, NOWHERE), asyncio.Event(), fails)
    assert is_free(file)


async def test_an_end_while_it_waits(file: Path, logged: list[Any]) -> None:
    """It never serves, and whoever holds the turn keeps it."""
    waiting = Serving(Turn(file, NOWHERE))
    with locked(file):
        async with waiting.running() as task:
            await said(logged, "waiting for its turn")
            waiting.shutdown.set()
            await asyncio.wait_for(task, PATIENCE_S)
        assert not is_free(file)
    assert not waiting.began.is_set()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost", "[::]"])  # noqa: S104  # what waits is closed
async def test_who_waits_is_asked_on_loopback_alone(file: Path, host: str, logged: list[Any]) -> None:
    """It does not serve, it stands ready, and from elsewhere nobody is there; then it serves on the same port."""
    (port,) = free_ports(1)
    waiting = Serving(Turn(file, f"{host}:{port}"))
    async with contextlib.AsyncExitStack() as stack:
        with locked(file):
            await stack.enter_async_context(waiting.running())
            assert await health(f"127.0.0.1:{port}", "turn") == SERVING
            assert await health(f"127.0.0.1:{port}") == NOT_SERVING
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.2", port)  # an address that 0.0.0.0 has, and 127.0.0.1 has not
        await asyncio.wait_for(waiting.began.wait(), PATIENCE_S)
        assert await health(f"127.0.0.1:{port}") == SERVING
        with pytest.raises(grpc.aio.AioRpcError):
            await health(f"127.0.0.1:{port}", "turn")
    assert reasons(logged) == []


async def test_with_certificates_its_health_is_closed_too(file: Path, tmp_path: Path) -> None:
    """Who has one by the authority is answered, and nobody else."""
    make_certificates(tmp_path, (), 30, force=False)
    files = {"ca": "ca.pem", "certificate": "{service}.pem", "key": "{service}.key"}
    tls = TlsSettings(**{key: tmp_path / name for key, name in files.items()})
    (port,) = free_ports(1)
    waiting = Serving(Turn(file, f"127.0.0.1:{port}", credentials_of(tls, "hub")))
    with locked(file):
        async with waiting.running():
            assert await health(f"127.0.0.1:{port}", "turn", credentials_of(tls, "client")) == SERVING
            async with channel(f"127.0.0.1:{port}") as wire:
                with pytest.raises(grpc.aio.AioRpcError):
                    await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(service="turn"))


async def test_a_port_that_is_taken(file: Path, logged: list[Any]) -> None:
    """It waits without health, says so, and whoever has the port is left alone."""
    async with serving("127.0.0.1:0", lambda _: None, []) as port:
        waiting = Serving(Turn(file, f"127.0.0.1:{port}"))
        with locked(file):
            async with waiting.running():
                await said(logged, "waiting for its turn")
                assert await health(f"127.0.0.1:{port}") == SERVING
    assert reasons(logged) == [f"127.0.0.1:{port} is in use"]


async def test_it_does_not_take_the_port_of_who_is_about_to_serve(file: Path, logged: list[Any]) -> None:
    """Two that start together: the one that has the turn may need a while until it listens."""
    (port,) = free_ports(1)
    first, second = (Serving(Turn(file, f"{host}:{port}")) for host in ("0.0.0.0", "127.0.0.1"))  # noqa: S104
    serve, go = first.serve, asyncio.Event()

    async def late(shutdown: asyncio.Event) -> None:
        await go.wait()
        await serve(shutdown)

    first.serve = late  # type: ignore[method-assign]  # a service that takes its time to begin
    async with first.running(), second.running():
        await said(logged, "waiting for its turn")
        go.set()
        await asyncio.wait_for(first.began.wait(), PATIENCE_S)
    assert reasons(logged) == [f"127.0.0.1:{port} is the port of the one that serves"]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda _: None])
async def test_a_file_that_cannot_be_had(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A directory, or one in a directory that is not there: one sentence, and nothing is served."""
    make(tmp_path / "turn")
    path = tmp_path / "turn" if (tmp_path / "turn").exists() else tmp_path / "missing" / "turn"
    never = Serving(Turn(path, NOWHERE))
    with pytest.raises(ServiceError, match=rf"--turn {path}: should be a file that can be written to: \S") as error:
        await in_turn(never.turn, never.shutdown, never.serve)
    assert "\n" not in str(error.value)
    assert not never.began.is_set()


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("0.0.0.0:7401", "127.0.0.1:7401"),
        ("[::]:7401", "127.0.0.1:7401"),
        ("hub:7401", "127.0.0.1:7401"),
        ("10.1.2.3:7401", "127.0.0.1:7401"),
        ("127.0.0.2:7401", "127.0.0.2:7401"),
        ("[::1]:7401", "[::1]:7401"),
    ],
)
def test_the_port_on_loopback(listen: str, local: str) -> None:
    """Loopback as it is, everything else as 127.0.0.1."""
    assert on_loopback(listen) == local


PROGRAM = """
import sys
from pathlib import Path
from arbhub.service import run_until_signal
from arbhub.turn import Turn, in_turn
async def serve(shutdown):
    print("serves", flush=True)
    await shutdown.wait()
run_until_signal(lambda shutdown: in_turn(Turn(Path(sys.argv[1]), "unix:/nowhere"), shutdown, serve))
"""


def test_the_kernel_lets_go_for_who_is_killed(file: Path) -> None:
    """By SIGKILL, which nobody can answer: the one that waits serves; asked to end, it ends with 0."""
    command = [sys.executable, "-c", PROGRAM, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "serves\n"
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as second:
            assert second.stdout is not None
            lines = iter(second.stdout.readline, "")  # structlog, unconfigured, speaks there
            assert next(line for line in lines if "waiting for its turn" in line)
            first.send_signal(signal.SIGKILL)
            assert "its turn" in next(lines)
            assert next(lines) == "serves\n"
            second.send_signal(signal.SIGTERM)
            assert second.wait(PATIENCE_S) == 0
        assert first.wait(PATIENCE_S) == -signal.SIGKILL
