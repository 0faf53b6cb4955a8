"""A real redis-server of a test's own, which can be killed, stopped and started again at the same port."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from arbhub.processes import free_ports

PATIENCE_S = 20.0


class RedisServer:
    """It keeps nothing on disk: what is started again is empty."""

    def __init__(self, directory: Path, password: str = "") -> None:
        self.directory, self.password = directory, password
        (self.port,) = free_ports(1)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it is, for [redis]."""
        return (
            f"redis://:{self.password}@127.0.0.1:{self.port}/0" if self.password else f"redis://127.0.0.1:{self.port}/0"
        )

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "dir": str(self.directory)}
        if self.password:
            options["requirepass"] = self.password
        # Whatever ends the tests ends it too.
        words = ["--pdeathsig", "KILL", _program(), *(w for k, v in options.items() for w in (f"--{k}", v))]
        self._process = await asyncio.create_subprocess_exec(
            "setpriv", *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(PATIENCE_S):
            while not await self._answers():
                assert self._process.returncode is None, "redis-server ended at once"

    async def kill(self) -> None:
        """End it without a word."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def halt(self) -> None:
        """Let it accept everything and answer nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of that."""
        self._signal(signal.SIGCONT)

    async def do(self, *words: Any) -> Any:
        """What an operator types into redis-cli."""
        async with Redis.from_url(self.url) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py's

    async def _answers(self) -> bool:
        try:
            return bool(await self.do("PING"))
        except (RedisError, OSError):
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def _program() -> str:
    """Debian's; without it the test is skipped, but never in CI."""
    found = shutil.which("redis-server")
    if found is None:
        assert "CI" not in os.environ, "CI must have redis-server"
        pytest.skip("redis-server is not installed")
    return found


@contextlib.asynccontextmanager
async def redis_server(directory: Path, password: str = "") -> AsyncIterator[RedisServer]:
    """One that runs for the block."""
    server = RedisServer(directory, password)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
