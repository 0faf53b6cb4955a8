"""What the HTTP port bears of clients that mean it ill, or nothing: every wait for them ends, and the hub goes on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from http_probes import HttpClient, http_hub
from hub_probes import within

from hub.http import port

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def hub() -> AsyncIterator[HttpClient]:
    """A hub with an HTTP port."""
    async with http_hub() as client:
        yield client


async def connected(hub: HttpClient) -> Streams:
    """A connection that has said nothing yet."""
    host, _, number = hub.url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(number))


async def rest(streams: Streams) -> bytes:
    """What still comes until the hub cuts the connection."""
    reader, writer = streams
    try:
        return await within(reader.read(), "the end of the connection")
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: a\r\n",
        b"POST /v1/evaluate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["nothing", "half a header", "half a body"],
)
async def test_a_request_has_to_come_to_its_end(hub: HttpClient, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """Who does not finish asking is cut off."""
    monkeypatch.setattr(port, "ASKING_S", 0.1)
    streams = await connected(hub)
    streams[1].write(said)
    assert await rest(streams) == b""
    assert (await hub.get("/health")).status == 200


async def test_the_next_request_has_to_come_to_its_end_too(hub: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was answered once is given no more time than a new one."""
    monkeypatch.setattr(port, "ASKING_S", 0.1)
    streams = await connected(hub)
    streams[1].write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTT")
    said = await rest(streams)
    assert said.count(b"HTTP/1.1 200 OK") == 1


async def test_connections_beyond_a_number_are_not_taken(hub: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are cut at once, and there is room again when others have gone."""
    monkeypatch.setattr(port, "MAX_CONNECTIONS", 2)
    held = [await connected(hub) for _ in range(2)]
    assert await rest(await connected(hub)) == b""
    for reader, writer in held:  # which the others do not feel
        writer.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await within(reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    for _, writer in held:
        writer.close()
    while True:
        try:
            answer = await within(hub.get("/health"))
            break
        except OSError:  # the hub has not seen them go yet
            await asyncio.sleep(0)
    assert answer.status == 200


async def test_headers_have_a_bound(hub: HttpClient) -> None:
    """An endless header is refused as soon as it is too long."""
    streams = await connected(hub)
    streams[1].write(b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (port.MAX_HEADER_BYTES + 1))
    assert (await rest(streams)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("said", [b"\x00\xff\x16\x03", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
async def test_what_is_no_http(hub: HttpClient, said: bytes) -> None:
    """Is refused, and the connection ends."""
    streams = await connected(hub)
    streams[1].write(said + b"\r\n\r\n")
    assert (await rest(streams)).startswith(b"HTTP/1.1 4")
    assert (await hub.get("/health")).status == 200


async def test_requests_in_one_go_are_answered_one_by_one(hub: HttpClient) -> None:
    """However many stand in one packet."""
    streams = await connected(hub)
    streams[1].write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
    streams[1].write(b"GET /health HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n")
    assert (await rest(streams)).count(b'{"status":"alive"}') == 6
