"""deploy/probe.py as containers run it, against real servers: a gRPC service of ours, pages, and what is neither."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from arbhub.processes import free_ports
from arbhub.service import SERVER_OPTIONS, serving

PROBE = Path(__file__).parents[2] / "deploy" / "probe.py"


def probe(*words: str) -> tuple[int, str]:
    """Its exit code, and what it says."""
    command = [sys.executable, "-IS", str(PROBE), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert not done.stdout
    return done.returncode, done.stderr


@pytest.fixture
def healths() -> Iterator[tuple[str, health.HealthServicer]]:
    """A gRPC server with the options of ours, and what it says of itself."""
    server, checks = grpc.server(ThreadPoolExecutor(2), options=SERVER_OPTIONS), health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", checks
    server.stop(None).wait()


class Page(BaseHTTPRequestHandler):
    """Says 200 to /good, 503 to all else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/good" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def pages() -> Iterator[str]:
    """A server of pages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def talker(words: bytes) -> Iterator[str]:
    """A listener that says a few words to whoever comes first, and ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            with listener.accept()[0] as wire:
                wire.recv(4096)
                wire.sendall(words)

        thread = Thread(target=talk)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_who_serves(healths: tuple[str, health.HealthServicer]) -> None:
    """Exit 0, without a word."""
    address, checks = healths
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    assert probe(address) == (0, "")


@pytest.mark.parametrize("state", ["NOT_SERVING", "UNKNOWN", "SERVICE_UNKNOWN"])
def test_who_does_not(healths: tuple[str, health.HealthServicer], state: str) -> None:
    """Exit 1, whatever else it says of itself."""
    address, checks = healths
    checks.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(state))
    assert probe(address) == (1, f"probe: {address}: does not say that it serves\n")


def test_who_has_no_health(healths: tuple[str, health.HealthServicer]) -> None:
    """A gRPC status instead of an answer is none."""
    address, checks = healths
    checks.set("other", health_pb2.HealthCheckResponse.SERVING)
    checks._server_status.pop("")
    assert probe(address)[0] == 1


def test_one_service_of_a_server(healths: tuple[str, health.HealthServicer]) -> None:
    """The second word names it: it alone is asked for, and the first one alone means the server as a whole."""
    address, checks = healths
    checks.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    checks.set("turn", health_pb2.HealthCheckResponse.SERVING)
    checks.set("stopped", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert probe(address, "turn") == (0, "")
    assert probe(address) == (1, f"probe: {address}: does not say that it serves\n")
    for name in ("stopped", "unknown"):
        assert probe(address, name) == (1, f"probe: {address}: does not say that it serves {name}\n")


async def test_our_own_services() -> None:
    """The shell that all of them have answers it as it answers a client with all of gRPC."""
    async with serving("127.0.0.1:0", lambda _: None, []) as port:
        process = await asyncio.create_subprocess_exec(sys.executable, "-IS", str(PROBE), f"127.0.0.1:{port}")
        assert await process.wait() == 0


def test_nobody_there() -> None:
    """The address and the reason."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    assert probe(address) == (1, f"probe: {address}: [Errno 111] Connection refused\n")


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 70_000, b"\xff" * 70_000])
def test_what_is_no_grpc(words: bytes) -> None:
    """Whatever it says, it does not serve; and it is not listened to for ever."""
    with talker(words) as address:
        code, said = probe(address)
    assert (code, said.startswith(f"probe: {address}: ")) == (1, True)


def test_pages(pages: str) -> None:
    """Success is 2xx, and nothing else."""
    assert probe(f"{pages}/good") == (0, "")
    code, said = probe(f"{pages}/bad")
    assert (code, said.startswith(f"probe: {pages}/bad: HTTP/1.0 503")) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("a:1", "b", "c"),
        ("http://a:1/", "b"),
        ("somewhere",),
        ("host:port",),
        ("h" * 200 + ":1",),
        ("127.0.0.1:1", "s" * 200),
    ],
)
def test_what_is_no_address(words: tuple[str, ...]) -> None:
    """One sentence, and exit 1: a container that is asked wrongly is not well."""
    code, said = probe(*words)
    assert (code, said.startswith("probe: "), said.count("\n")) == (1, True, 1)
