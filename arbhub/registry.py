"""The catalogue in a Redis: entries are stated, read, and followed as they change.

Whoever states entries publishes their keys on one channel; whoever follows subscribes, reads everything once, and
from then on reads what is named. Pub/sub and not client tracking: a key that is named is read anew, so a message
that comes late or twice does no harm; one message tells of a whole market load where tracking tells of each key;
every Redis and every proxy before one can do it, and an operator can say it with redis-cli. What neither has is
memory: after a lost connection everything is read again.

Every call is bounded in time, and raises RegistryDownError where Redis does not answer as it should. Only this module
imports redis, and it is imported only where a url is configured.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from arbhub.catalogue import MAX_VALUE_BYTES, Catalogue, Fact, RegistryDownError
from arbhub.security.secretfile import read_secret
from arbhub.settings.redis import RedisSettings

REPLY_S = 1.0  # for a reply, and for a connection
QUIET_S = 1.0  # without news for this long, a follower asks whether the connection still stands
MAX_KEYS = 1 << 18  # of one registry; what is beyond them is not read
# What comes back is parsed in the event loop of whoever asked: a little at a time, so that its ticks pass between.
READ_AT_ONCE = 16
WRITTEN_AT_ONCE = 64
KEYS_AT_ONCE = 512


class Registry:
    """One Redis. No connection is made before the first call; a call after `close` makes a new one.

    ServiceError where the file with the password cannot be used.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.place, self.catalogue = settings.place, Catalogue(settings.key_prefix)
        # redis-py would try again by itself, several times and for seconds: here whoever calls decides.
        self._redis: Redis = Redis.from_url(
            settings.url,
            password=_password(settings),
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=REPLY_S,
            socket_connect_timeout=REPLY_S,
        )

    async def state(self, entries: Mapping[bytes, bytes]) -> None:
        """Write entries and tell who follows; in part only where RegistryDownError is raised."""
        for keys in _cut(list(entries), WRITTEN_AT_ONCE):
            async with self.reached():
                together = self._redis.pipeline(transaction=True)
                together.mset({key: entries[key] for key in keys})
                together.publish(self.catalogue.channel, b"\n".join(keys))
                await together.execute()

    async def keys(self) -> list[bytes]:
        """The keys of all entries, sorted."""
        found: set[bytes] = set()
        cursor = -1
        while cursor and len(found) < MAX_KEYS:
            async with self.reached():
                cursor, page = await self._redis.scan(
                    max(cursor, 0), match=self.catalogue.prefix + b"*", count=KEYS_AT_ONCE
                )
            found.update(key for key in page if isinstance(key, bytes))  # as all are: nothing is decoded
        return sorted(found)[:MAX_KEYS]

    async def entries(self, keys: Sequence[bytes]) -> AsyncIterator[dict[bytes, bytes]]:
        """Those of them that there are, a few at a time; what is no text, or too long, comes as no JSON."""
        for some in _cut(keys, READ_AT_ONCE):
            async with self.reached():
                together = self._redis.pipeline(transaction=False)
                for key in some:
                    together.getrange(key, 0, MAX_VALUE_BYTES)
                values = [_value(answer) for answer in await together.execute(raise_on_error=False)]
            yield {key: value for key, value in zip(some, values, strict=True) if value}

    async def missing(self, keys: Sequence[bytes]) -> bool:
        """Whether one of them is not there."""
        for some in _cut(keys, KEYS_AT_ONCE):
            async with self.reached():
                if await self._redis.exists(*some) < len(some):
                    return True
        return False

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator["Following"]:
        """Be told of changes for as long as the block runs; those before it are to be read by `entries`."""
        channel = self._redis.pubsub()
        try:
            async with self.reached():
                await channel.subscribe(self.catalogue.channel)
                while (await channel.get_message(timeout=REPLY_S) or {}).get("type") != "subscribe":
                    pass
            yield Following(self, channel)
        finally:
            with contextlib.suppress(RegistryDownError):
                async with self.reached():
                    await channel.aclose()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Give up every connection."""
        with contextlib.suppress(RegistryDownError):
            async with self.reached():
                await self._redis.aclose()

    @contextlib.asynccontextmanager
    async def reached(self, within_s: float = REPLY_S) -> AsyncIterator[None]:
        """Bound what the block asks of Redis; RegistryDownError where it fails."""
        try:
            async with asyncio.timeout(within_s):
                yield
        except TimeoutError:
            raise RegistryDownError(f"{self.place}: no answer within {within_s:g} s") from None
        except (RedisError, OSError) as error:
            raise RegistryDownError(f"{self.place}: {error}") from None
        except Exception as error:  # redis-py trips over what is no Redis in many ways
            raise RegistryDownError(f"{self.place}: answers as no Redis does: {error!r}") from None


class Following:
    """A subscription that stands."""

    def __init__(self, registry: Registry, channel: PubSub) -> None:
        self._registry, self._channel = registry, channel

    async def news(self) -> list[bytes] | None:
        """The keys of what has changed, none of them after a quiet while; None where it may be all of them."""
        said = await self._next(QUIET_S)
        if said is None:
            async with self._registry.reached():
                await self._channel.ping()  # a connection may be dead without a sign
            said = await self._next(REPLY_S)
        if said is None:
            raise RegistryDownError(f"{self._registry.place}: no answer within {REPLY_S:g} s")
        kind, keys = said
        return None if kind == "subscribe" else keys  # redis-py has made the connection anew by itself

    async def _next(self, within_s: float) -> tuple[str, list[bytes]] | None:
        """The kind of the next message, and what it names."""
        async with self._registry.reached(within_s + REPLY_S):
            said = await self._channel.get_message(timeout=within_s)
            if said is None:
                return None
            keys = said["data"].split(b"\n") if said["type"] == "message" else []
            return said["type"], [key for key in keys if key.startswith(self._registry.catalogue.prefix)]


async def say(settings: RedisSettings, *facts: Fact) -> None:
    """An operator's words, such as a venue's state or a correction: checked, written and told to every hub.

    BadEntryError, and nothing is written, where one makes no sense; RegistryDownError where Redis did not take them.
    """
    registry = Registry(settings)
    try:
        await registry.state(dict(registry.catalogue.entry(fact) for fact in facts))
    finally:
        await registry.close()


def _password(settings: RedisSettings) -> str | None:
    file = settings.password_file
    return None if file is None else read_secret("redis.password_file", file).decode("utf-8", "replace").strip()


def _cut(keys: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _value(answer: Any) -> bytes:
    """An answer to one of several questions: of a key that holds no text, why."""
    if isinstance(answer, bytes):
        return answer
    if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
        return str(answer).encode()
    raise answer if isinstance(answer, Exception) else RedisError(f"{answer!r} is no value")
