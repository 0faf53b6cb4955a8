"""The registry against a real redis-server, one that is gone, one that stands still, and what is no Redis at all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from redis_server import RedisServer, redis_server

from arbhub.catalogue import BadEntryError, Correction, RegistryDownError
from arbhub.reference import VenueState
from arbhub.registry import WRITTEN_AT_ONCE, Following, Registry, say
from arbhub.settings.redis import RedisSettings

PATIENCE_S = 20.0
MANY = 3 * WRITTEN_AT_ONCE + 1


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A redis-server of this test."""
    async with redis_server(tmp_path) as started:
        yield started


@pytest.fixture
async def registry(server: RedisServer) -> AsyncIterator[Registry]:
    """A registry in it."""
    made = Registry(RedisSettings(url=server.url, key_prefix="test:"))
    yield made
    await made.close()


async def all_of(registry: Registry, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """The entries that there are."""
    return {key: value async for some in registry.entries(keys) for key, value in some.items()}


async def test_what_was_stated_is_there(registry: Registry, server: RedisServer) -> None:
    """All of it, however many commands it takes, under keys in order; other people's keys are not among it."""
    stated = {f"test:{number:04}".encode(): f"{number}".encode() for number in range(MANY)}
    await server.do("SET", "foreign", "1")
    await registry.state(stated)
    keys = await registry.keys()
    assert keys == sorted(stated)
    assert await all_of(registry, [*keys, b"test:none"]) == stated
    assert not await registry.missing(keys)
    assert await registry.missing([*keys, b"test:none"])
    assert await all_of(registry, []) == {}
    assert not await registry.missing([])


async def test_an_operator_is_heard_in_one_call(registry: Registry, server: RedisServer) -> None:
    """All of it is written and told, or, where one word makes no sense, none."""
    settings, halted = RedisSettings(url=server.url, key_prefix="test:"), VenueState("A", "halted")
    async with registry.followed() as following:
        with pytest.raises(BadEntryError, match="test:venue:B: "):
            await say(settings, halted, VenueState("B", ""))
        assert await registry.keys() == []
        await say(settings, halted, Correction("A", "B/C", {"taker_bps": 7.5}))
        assert await following.news() == [b"test:venue:A", b"test:correction:A:B/C"]
    assert len(await registry.keys()) == 2


async def test_values_that_are_none_come_as_what_cannot_be_read(registry: Registry, server: RedisServer) -> None:
    """A list is no text, and of a giant only the beginning comes: either is refused, and the rest is there."""
    await server.do("RPUSH", "test:venue:A", "1")
    await server.do("SET", "test:venue:B", "[" + "1," * 500_000 + "1]")
    key, value = registry.catalogue.entry(VenueState("C", "open"))
    await registry.state({key: value})
    found = await all_of(registry, await registry.keys())
    assert found[key] == value
    for bad in (b"test:venue:A", b"test:venue:B"):
        assert len(found[bad]) < 100_000
        with pytest.raises(ValueError, match=bad.decode()):
            registry.catalogue.fact(bad, found[bad])


async def test_changes_are_told(registry: Registry, server: RedisServer) -> None:
    """Who follows hears of every key, in one message a command, from writers and from redis-cli."""
    async with registry.followed() as following:
        assert await following.news() == []  # a quiet while
        await registry.state({b"test:a": b"1", b"test:b": b"2"})
        assert await following.news() == [b"test:a", b"test:b"]
        await server.do("PUBLISH", "test:changed", "test:c")
        assert await following.news() == [b"test:c"]
        await server.do("PUBLISH", "test:changed", "other:d")
        assert await following.news() == []


async def lost(following: Following) -> None:
    """Follow until that is over: it raises RegistryDownError, or returns where everything is to be read again."""
    async with asyncio.timeout(PATIENCE_S):
        while await following.news() is not None:
            pass


async def subscribed_and_lost(registry: Registry) -> None:
    """The same with a subscription of its own."""
    async with registry.followed() as following:
        await lost(following)


async def test_a_connection_that_was_cut_is_noticed(registry: Registry, server: RedisServer) -> None:
    """Nothing that was published meanwhile is missed for want of a sign."""
    async with registry.followed() as following:
        await server.do("CLIENT", "KILL", "TYPE", "pubsub")
        with pytest.raises(RegistryDownError):
            await lost(following)


async def test_a_server_that_stands_still_is_down(registry: Registry, server: RedisServer) -> None:
    """No call waits longer than its bound, and the same registry works once the server goes on."""
    async with registry.followed() as following:
        server.halt()
        with pytest.raises(RegistryDownError, match="no answer within"):
            await lost(following)
    with pytest.raises(RegistryDownError, match=str(server.port)):
        await registry.keys()
    server.go_on()
    assert await registry.keys() == []


async def test_a_server_that_is_killed_is_down(registry: Registry, server: RedisServer) -> None:
    """Whatever is asked of it; once it runs again the same registry works."""
    async with registry.followed() as following:
        await server.kill()
        with pytest.raises(RegistryDownError, match=str(server.port)):
            await lost(following)
    with pytest.raises(RegistryDownError, match=str(server.port)):
        await registry.state({b"test:a": b"1"})
    await server.start()
    await registry.state({b"test:a": b"1"})
    assert await registry.keys() == [b"test:a"]


async def test_a_password_is_not_told(tmp_path: Path) -> None:
    """Neither by the settings, nor by what is said when it is wrong; with the right one it works."""
    async with redis_server(tmp_path, "correcthorse") as server:
        right = Registry(RedisSettings(url=server.url))
        assert await right.keys() == []
        await right.close()
        settings = RedisSettings(url=server.url.replace("correcthorse", "wronghorse"))
        wrong = Registry(settings)
        with pytest.raises(RegistryDownError) as caught:
            await wrong.keys()
        assert "horse" not in f"{caught.value}{settings!r}{settings}{wrong.place}"
        assert str(server.port) in str(caught.value)


NO_REDIS = [b"", b"HTTP/1.1 400 Bad\r\n\r\n", b"\x00" * 64, b":1\r\n" * 64, b"*-7\r\n$x\r\n", b"$9\r\nx"]


@pytest.mark.parametrize("answer", NO_REDIS)
async def test_what_is_no_redis_is_down(answer: bytes) -> None:
    """Whatever answers at that address: every call fails as it does without a server, and in bounded time."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(answer)
            if not answer:
                break
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE_S):
        port = server.sockets[0].getsockname()[1]
        registry = Registry(RedisSettings(url=f"redis://127.0.0.1:{port}"))
        with pytest.raises(RegistryDownError):
            await registry.keys()
        with pytest.raises(RegistryDownError):
            await registry.state({b"test:a": b"1"})
        with pytest.raises(RegistryDownError):
            await all_of(registry, [b"test:a"])
        with pytest.raises(RegistryDownError):
            await subscribed_and_lost(registry)
        await registry.close()


async def test_a_password_may_stand_in_a_file(tmp_path: Path) -> None:
    """A Redis that takes no stranger takes who has it; what is shown of either has no password."""
    file = tmp_path / "password"
    file.write_text("correcthorse\n")
    file.chmod(0o640)
    async with redis_server(tmp_path, "correcthorse") as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        stranger, known = Registry(RedisSettings(url=url)), Registry(RedisSettings(url=url, password_file=file))
        with pytest.raises(RegistryDownError):
            await stranger.keys()
        await known.state({b"arbhub:a": b"1"})
        assert await known.keys() == [b"arbhub:a"]
        for registry in (stranger, known):
            await registry.close()
    assert "correcthorse" not in f"{known.place}{RedisSettings(url=url, password_file=file)!r}"
