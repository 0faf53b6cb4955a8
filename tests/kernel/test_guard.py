"""The token in front of a real gRPC server: calls of every kind, with it, without it, and too often without it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from arbhub.security.audit import Audit
from arbhub.security.authority import make_certificates
from arbhub.security.bearer import Bearer, presented
from arbhub.security.certificates import credentials_of
from arbhub.security.guard import guards, host_of, who
from arbhub.service import channel, serving
from arbhub.settings.tls import TlsSettings

TOKEN = "an-admin-token-for-tests-0123456789"  # noqa: S105  # of this test
SERVICE = "arbhub.test.Some"
PATIENCE_S = 20


class Echo:
    """A service with a method of each kind; `asked` counts what got through to it, `callers` are who asked."""

    def __init__(self) -> None:
        self.asked, self.callers = 0, list[str]()

    async def one(self, request: bytes, context: Any) -> bytes:
        """The same."""
        self.asked += 1
        self.callers.append(who(context))
        return request

    async def many(self, request: bytes, _: Any) -> AsyncIterator[bytes]:
        """The same twice, as a generator."""
        self.asked += 1
        yield request
        yield request

    async def last(self, requests: AsyncIterator[bytes], _: Any) -> bytes:
        """The last of them."""
        self.asked += 1
        return [request async for request in requests][-1]

    async def all(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Each again, written to the context."""
        self.asked += 1
        async for request in requests:
            await context.write(request)

    def register(self, server: grpc.aio.Server) -> None:
        """Answer calls of `server`."""
        methods: Any = {
            "One": grpc.unary_unary_rpc_method_handler(self.one),
            "Many": grpc.unary_stream_rpc_method_handler(self.many),
            "Last": grpc.stream_unary_rpc_method_handler(self.last),
            "All": grpc.stream_stream_rpc_method_handler(self.all),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))


class Port:
    """A guarded server, its service, its trail and a channel to it."""

    def __init__(self, trail: Path) -> None:
        self.echo, self.trail, self.bearer = Echo(), trail, Bearer(TOKEN, lambda: 0.0)
        self.audit = Audit(trail)
        self.wire: grpc.aio.Channel

    async def call(self, kind: str, token: str | None) -> list[Any]:
        """What a method of this kind answers to one request."""
        metadata = presented(token) if token else ()
        path, asked = f"/{SERVICE}/{kind}", iter([b"x"])
        wire: Any = self.wire
        limits = {"timeout": PATIENCE_S, "metadata": metadata}
        if kind == "Many":
            return [reply async for reply in wire.unary_stream(path)(b"x", **limits)]
        if kind == "Last":
            return [await wire.stream_unary(path)(asked, **limits)]
        if kind == "All":
            return [reply async for reply in wire.stream_stream(path)(asked, **limits)]
        return [await wire.unary_unary(path)(b"x", **limits)]

    async def refused(self, kind: str, token: str | None) -> grpc.StatusCode:
        """The code with which it is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(kind, token)
        assert TOKEN not in str(caught.value)
        return caught.value.code()

    def written(self) -> list[dict[str, Any]]:
        """The trail."""
        return [orjson.loads(line) for line in self.trail.read_bytes().splitlines()]


@pytest_asyncio.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    """Serving on loopback."""
    made = Port(tmp_path / "audit.jsonl")
    interceptors = guards(made.bearer, made.audit)
    async with (
        serving("127.0.0.1:0", made.echo.register, [SERVICE], interceptors=interceptors) as number,
        channel(f"127.0.0.1:{number}") as made.wire,
    ):
        yield made
    made.audit.close()


KINDS = {"One": [b"x"], "Many": [b"x", b"x"], "Last": [b"x"], "All": [b"x"]}


@pytest.mark.parametrize("kind", KINDS)
async def test_with_the_token_all_is_as_ever(port: Port, kind: str) -> None:
    """A call of every kind is answered, and nothing is written down as refused."""
    assert await port.call(kind, TOKEN) == KINDS[kind]
    assert port.written() == []


@pytest.mark.parametrize("kind", [*KINDS, "NoSuchMethod"])
async def test_without_it_nothing_gets_through(port: Port, kind: str) -> None:
    """No token, and a wrong one: UNAUTHENTICATED, a line each in the trail, and not even what there is is told."""
    for token in (None, TOKEN[:-1]):
        assert await port.refused(kind, token) is grpc.StatusCode.UNAUTHENTICATED
    assert port.echo.asked == 0
    said = {"who": "from 127.0.0.1", "what": f"/{SERVICE}/{kind}", "outcome": "refused: no valid token"}
    assert [{key: line[key] for key in said} for line in port.written()] == [said, said]
    assert TOKEN[:-1] not in port.trail.read_text()


async def test_only_who_has_the_token_learns_what_is_not_there(port: Port) -> None:
    """An unknown method is UNIMPLEMENTED to an operator."""
    assert await port.refused("NoSuchMethod", TOKEN) is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_is_closed_and_health_is_open(port: Port) -> None:
    """Supervisors have no token; who asks what services there are needs it."""
    health = await health_pb2_grpc.HealthStub(port.wire).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    wire: Any = port.wire
    call = wire.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(timeout=PATIENCE_S)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_flood_of_guesses_is_bounded(port: Port) -> None:
    """Beyond the rate RESOURCE_EXHAUSTED, also with the token, and the trail does not grow with it."""
    codes = await asyncio.gather(*(port.refused("One", f"guess {n}") for n in range(100)))
    at_once = Bearer.PEER[0]
    assert codes.count(grpc.StatusCode.UNAUTHENTICATED) == at_once
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 100 - at_once
    assert await port.refused("One", TOKEN) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (len(port.written()), port.bearer.limited) == (at_once, 101 - at_once)
    assert "guess" not in port.trail.read_text()


async def test_without_a_token_configured_there_is_no_guard(tmp_path: Path) -> None:
    """The port is then for this machine alone, or for those with certificates, which name the caller."""
    make_certificates(tmp_path, (), 1, force=False)
    files = {"ca": tmp_path / "ca.pem", "certificate": tmp_path / "{service}.pem", "key": tmp_path / "{service}.key"}
    hub, client = (credentials_of(TlsSettings(**files), name) for name in ("hub", "client"))
    echo, interceptors = Echo(), guards(None, Audit())
    assert interceptors == ()
    async with (
        serving("127.0.0.1:0", echo.register, [], credentials=hub, interceptors=interceptors) as number,
        channel(f"127.0.0.1:{number}", client) as wire,
    ):
        call: Any = wire.unary_unary(f"/{SERVICE}/One")
        assert await call(b"x", timeout=PATIENCE_S) == b"x"
    assert echo.callers == ["client from 127.0.0.1"]


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:50000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:50000", "::1"),
        ("ipv6:[2001:db8::1]:50000", "2001:db8::1"),
        ("unix:", "this machine"),
        ("unix:/run/hub.sock", "this machine"),
        ("something else", "something else"),
    ],
)
def test_a_peers_address(peer: str, host: str) -> None:
    """Without the port, which is another one at each connection."""
    assert host_of(peer) == host
