"""Mutual TLS on real sockets: who has a certificate by the authority is answered, and nobody else."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from arbhub.processes import Household
from arbhub.security.authority import make_certificates
from arbhub.security.certificates import credentials_of
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import channel, serving
from arbhub.settings.tls import TlsSettings


def made(folder: Path) -> Path:
    """The folder, with certificates of an authority of its own."""
    make_certificates(folder, (), 30, force=False)
    return folder


def of(folder: Path, service: str) -> Credentials:
    """A service's credentials."""
    files = {"ca": "ca.pem", "certificate": "{service}.pem", "key": "{service}.key"}
    return credentials_of(TlsSettings(**{key: folder / file for key, file in files.items()}), service)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our authority."""
    return made(tmp_path_factory.mktemp("ours"))


@pytest_asyncio.fixture(params=["127.0.0.1:0", "[::1]:0", "localhost:0", "unix"])
async def closed(request: pytest.FixtureRequest, ours: Path, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a server that has the hub's certificate."""
    listen = f"unix:{tmp_path}/hub.sock" if request.param == "unix" else request.param
    async with serving(listen, lambda _: None, [], credentials=of(ours, "hub")) as port:
        yield listen if request.param == "unix" else listen.removesuffix("0") + str(port)


async def health(address: str, credentials: Credentials) -> int:
    """What the server says of its health; AioRpcError where it does not talk to us."""
    async with channel(address, credentials) as wire:
        reply = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(), timeout=5)
    return int(reply.status)


async def test_a_certificate_by_the_authority_is_answered(closed: str, ours: Path) -> None:
    """At an address of either kind, at a name, and at a unix socket."""
    assert await health(closed, of(ours, "feed")) == health_pb2.HealthCheckResponse.SERVING


async def test_nobody_else_is_answered(closed: str, ours: Path, tmp_path: Path) -> None:
    """Neither without a certificate, nor with one of another authority, nor with ours but none of our own."""
    stranger = of(made(tmp_path / "others"), "feed")
    believer = Credentials((ours / "ca.pem").read_bytes(), stranger.certificate, stranger.key)
    for other in (INSECURE, stranger, believer):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health(closed, other)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    nameless = grpc.ssl_channel_credentials((ours / "ca.pem").read_bytes())
    async with grpc.aio.secure_channel(closed, nameless) as wire:
        with pytest.raises(grpc.aio.AioRpcError):
            await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(), timeout=5)


async def test_an_open_server_is_not_believed(ours: Path) -> None:
    """Whoever has certificates talks to nobody without: a service that was left open is noticed."""
    async with serving("127.0.0.1:0", lambda _: None, []) as port:
        with pytest.raises(grpc.aio.AioRpcError):
            await health(f"127.0.0.1:{port}", of(ours, "feed"))


async def test_a_server_of_another_name_is_not_believed(ours: Path) -> None:
    """Its certificate has to be for the host that was asked for."""
    async with serving("127.0.0.2:0", lambda _: None, [], credentials=of(ours, "hub")) as port:
        with pytest.raises(grpc.aio.AioRpcError):
            await health(f"127.0.0.2:{port}", of(ours, "feed"))


def test_a_household_asks_with_its_credentials(ours: Path) -> None:
    """Without any it asks in the clear."""
    assert Household(None, of(ours, "client")).credentials.mutual
    assert not Household().credentials.mutual


async def test_a_replica_is_believed_by_the_name_it_was_found_by(tmp_path: Path) -> None:
    """At an address that its certificate does not have: for the name, and for no other."""
    make_certificates(tmp_path, ("engine-spread",), 30, force=False)
    client = of(tmp_path, "hub")
    async with serving("127.0.0.2:0", lambda _: None, [], credentials=of(tmp_path, "engine")) as port:
        address = f"127.0.0.2:{port}"
        assert await health(address, replace(client, peer="engine-spread")) == health_pb2.HealthCheckResponse.SERVING
        for other in (client, replace(client, peer="engine-fee")):
            with pytest.raises(grpc.aio.AioRpcError):
                await health(address, other)
