"""The end of a link that is in a hurry."""

import asyncio
import gc
from collections.abc import Iterable
from typing import Any

from arbhub.link import Link, LinkOptions
from arbhub.processes import free_ports
from arbhub.queueing import Chunk, Shed


class NobodyThere:
    """What a link asks of a peer object that it never reaches."""

    def greeting(self) -> Iterable[bytes]:
        """Something to write, which fails."""
        yield b"hello"

    def encode(self, batch_id: int, chunks: list[Chunk[None]]) -> bytes:
        """Nothing is ever offered."""
        raise AssertionError(batch_id, chunks)

    def wanted(self, _: None) -> bool:
        """Nothing is."""
        return False

    def received(self, message: bytes) -> None:
        """Nobody says anything."""
        raise AssertionError(message)

    def down(self, lost: list[Shed[None]]) -> None:
        """Nothing was under way."""
        assert not lost


async def test_an_end_that_is_itself_cut_short_leaves_no_failure_unseen() -> None:
    """Cancelled again while it waits for its parts to end: none is left, and asyncio has nothing to complain of."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        for turns in range(12):
            before = asyncio.all_tasks()
            link: Link[None] = Link("nobody", f"127.0.0.1:{free_ports(1)[0]}", "/No/One", NobodyThere(), LinkOptions())
            run = asyncio.create_task(link.run())
            for _ in range(turns):
                await asyncio.sleep(0)
            run.cancel()
            await asyncio.sleep(0)
            run.cancel()
            await asyncio.wait([run])
            if parts := parts_of(before):
                await asyncio.wait(parts)
            del parts, run, link
            gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert complaints == []


def parts_of(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """The tasks of links that were not there before."""
    return {task for task in asyncio.all_tasks() - before if "Link." in str(task.get_coro())}
