"""The end of a link that is in a hurry: nothing is left behind, and the loop has nothing to complain of later."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from log_records import of_another_loop
from test_link import PATIENCE_S, ListeningPeer

NOBODY = "127.0.0.1:1"


@contextlib.contextmanager
def complaints() -> Iterator[list[dict[str, Any]]]:
    """What the loop complains of within the block."""
    heard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    try:
        yield heard
    finally:
        loop.set_exception_handler(None)


def parts_of(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """The tasks of links that were not there before."""
    return {task for task in asyncio.all_tasks() - before if "Link." in str(task.get_coro())}


async def test_a_link_ended_amid_a_failed_attempt_leaves_nothing_behind() -> None:
    """What the attempt's parts raised was taken from them."""
    with complaints() as noise:
        for _ in range(5):
            peer = ListeningPeer(NOBODY)
            running = asyncio.create_task(peer.link.run())
            peer.on_down = running.cancel
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(running, PATIENCE_S)
        del peer, running
        gc.collect()
        await asyncio.sleep(0)
    assert [context for context in noise if not of_another_loop(context)] == []


async def test_an_end_that_is_itself_cut_short_leaves_no_part_behind() -> None:
    """Cancelled again while it waits for its parts to end, wherever it is: they end all the same."""
    with complaints() as noise:
        for turns in range(12):
            before = asyncio.all_tasks()
            peer = ListeningPeer(NOBODY)
            running = asyncio.create_task(peer.link.run())
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])
            if parts := parts_of(before):
                await asyncio.wait(parts)
            del parts, running, peer
            gc.collect()
    assert noise == []
