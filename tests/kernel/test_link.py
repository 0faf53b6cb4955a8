"""The link over a real socket: its window, its bounds, and what it does about peers that stall, lie or die."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
import numpy as np
import pytest
import structlog

from arbhub.link import Link, LinkOptions, batch_rows
from arbhub.queueing import Chunk, Shed
from arbhub.service import serving

METHOD = "/arbhub.test.Echo/Say"
PATIENCE_S = 20.0


async def until(condition: Callable[[], object], changed: asyncio.Event) -> None:
    """Return as soon as the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            changed.clear()
            await changed.wait()


class ScriptedServer:
    """Says hello, keeps what it hears, by connection, and answers with what `answer` makes of it."""

    def __init__(self) -> None:
        self.heard: list[list[bytes]] = []
        self.changed = asyncio.Event()
        self.hello = b"hello"
        self.reads = True
        self.answer: Callable[[bytes], bytes | None] = lambda frame: frame if frame.startswith(b"batch") else None

    async def say(self, _: Any, context: Any) -> None:
        mine: list[bytes] = []
        self.heard.append(mine)
        self.changed.set()
        if self.hello:
            await context.write(self.hello)
        while self.reads and (frame := await context.read()) is not grpc.aio.EOF:
            mine.append(frame)
            self.changed.set()
            if (answer := self.answer(frame)) is not None:
                await context.write(answer)
        if not self.reads:
            await asyncio.Event().wait()

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition, self.changed)

    @contextlib.asynccontextmanager
    async def served(self, port: int = 0) -> AsyncIterator[str]:
        handler: Any = grpc.stream_stream_rpc_method_handler(self.say)
        handlers = grpc.method_handlers_generic_handler("arbhub.test.Echo", {"Say": handler})
        register = lambda server: server.add_generic_rpc_handlers((handlers,))  # noqa: E731
        async with serving(f"127.0.0.1:{port}", register, []) as got:
            yield f"127.0.0.1:{got}"


class ListeningPeer:
    """Payloads are texts, a batch is their names; keeps what it is told."""

    def __init__(self, address: str, **options: Any) -> None:
        self.changed = asyncio.Event()
        self.greetings = [b"greeting"]
        self.answers: list[bytes] = []
        self.lost: list[str] = []
        self.downs = 0
        self.unwanted: set[str] = set()
        self.on_hello: Callable[[], None] = lambda: None
        self.on_down: Callable[[], object] = lambda: None
        self.link: Link[str] = Link("peer", address, METHOD, self, LinkOptions(**options))

    def offer(self, name: str, *keys: int) -> list[Shed[str]] | None:
        return self.link.offer(name, np.array(keys or (len(name),), np.int64))

    def greeting(self) -> Iterable[bytes]:
        yield from self.greetings

    def encode(self, batch_id: int, chunks: list[Chunk[str]]) -> bytes:
        return b"batch %d " % batch_id + ",".join(chunk.payload for chunk in chunks).encode()

    def wanted(self, payload: str) -> bool:
        return payload not in self.unwanted

    def received(self, message: bytes) -> None:
        if message == b"hello":
            self.on_hello()
            self.link.ready()
        elif message.startswith(b"batch"):
            self.link.answered(int(message.split()[1]))
            self.answers.append(message)
        elif message == b"bug":
            raise ZeroDivisionError("a bug")
        else:
            raise ConnectionError(f"it said {message.decode()}")
        self.changed.set()

    def down(self, lost: list[Shed[str]]) -> None:
        self.lost += [shed.payload for shed in lost]
        self.downs += 1
        self.on_down()
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition, self.changed)


@contextlib.asynccontextmanager
async def running(peer: ListeningPeer) -> AsyncIterator[None]:
    """Its link runs, and ends without noise."""
    task = asyncio.create_task(peer.link.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


Connected = Callable[..., Awaitable[tuple[ScriptedServer, ListeningPeer]]]


@pytest.fixture
async def connected() -> AsyncIterator[Connected]:
    """Makes a server and a peer that is up."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(**options: Any) -> tuple[ScriptedServer, ListeningPeer]:
            server = ScriptedServer()
            peer = ListeningPeer(await stack.enter_async_context(server.served()), **options)
            await stack.enter_async_context(running(peer))
            await peer.until(lambda: peer.link.up)
            return server, peer

        yield make


@pytest.mark.parametrize("window", [1, 2])
async def test_the_window_holds(connected: Connected, window: int) -> None:
    """No more batches than the window allows are unanswered; the rest goes out together, once one is answered."""
    server, peer = await connected(window=window, stall_s=PATIENCE_S)
    server.answer = lambda _: None
    sent = [f"batch {number} {name}".encode() for number, name in enumerate("ab"[:window], 1)]
    for number, name in enumerate("abcd"):
        peer.offer(name)
        await server.until(lambda: len(server.heard[0]) == 1 + min(number + 1, window))  # noqa: B023
    peer.link.control(b"last")
    assert server.heard[0] == [b"greeting", *sent]
    peer.link.answered(window)
    await server.until(lambda: b"last" in server.heard[0])
    rest = f"batch {window + 1} {','.join('abcd'[window:])}".encode()
    assert server.heard[0] == [b"greeting", *sent, rest, b"last"]


async def test_control_frames_keep_their_place(connected: Connected) -> None:
    """Between the rows they were put, never joined across, although the window is closed in between."""
    server, peer = await connected(max_batch_rows=2)
    for name in ("a", "b", "c"):
        peer.offer(name)
    peer.link.control(b"one")
    peer.link.control(b"two")
    peer.offer("d")
    await peer.until(lambda: len(peer.answers) == 3)
    assert server.heard[0] == [b"greeting", b"batch 1 a,b", b"batch 2 c", b"one", b"two", b"batch 3 d"]


async def test_what_is_not_wanted_any_more_is_not_sent_and_holds_up_nothing(connected: Connected) -> None:
    """Payloads decided in the queue are dropped; the control frame behind them goes out all the same."""
    server, peer = await connected(stall_s=PATIENCE_S)
    peer.offer("a")
    peer.offer("b")
    peer.link.control(b"after")
    peer.unwanted = {"a", "b"}
    await server.until(lambda: len(server.heard[0]) == 2)
    assert server.heard[0] == [b"greeting", b"after"]
    assert peer.lost == []


async def test_control_frames_between_greeting_and_hello_are_not_lost() -> None:
    """Reference data that grow before the peer has introduced itself come after the greeting, before any batch."""
    server = ScriptedServer()
    server.hello = b""
    server.answer = lambda frame: b"hello" if frame == b"more" else frame if frame.startswith(b"batch") else None
    async with server.served() as at:
        peer = ListeningPeer(at)
        peer.on_hello = lambda: peer.link.control(b"snapshot")
        async with running(peer):
            await server.until(lambda: server.heard and server.heard[0])
            assert peer.offer("a") is None
            peer.link.control(b"more")
            await peer.until(lambda: peer.link.up)
            peer.offer("b")
            await peer.until(lambda: peer.answers)
    assert server.heard == [[b"greeting", b"more", b"snapshot", b"batch 1 b"]]


async def test_the_queue_is_bounded(connected: Connected) -> None:
    """What is shed is returned to whoever offered, superseded rows first; without a connection nothing is queued."""
    server, peer = await connected(max_queue_rows=4, stall_s=PATIENCE_S)
    server.answer = lambda _: None
    peer.offer("first", 0)
    await server.until(lambda: len(server.heard[0]) == 2)
    for number in range(4):
        assert peer.offer(f"row{number}", number % 3) == []
    shed = peer.offer("row4", 5) or []
    assert [(gone.payload, gone.rows.tolist()) for gone in shed] == [("row0", [0])]
    assert peer.link.queue.rows == 4
    peer.link.answered(1)
    await server.until(lambda: len(server.heard[0]) == 3)
    assert server.heard[0][-1] == b"batch 2 row1,row2,row3,row4"


async def test_a_stall_opens_the_stream_anew(connected: Connected) -> None:
    """A batch that stays unanswered: what was under way and what was queued is lost, and the next stream is clean."""
    server, peer = await connected(stall_s=0.2)
    server.answer = lambda _: None
    with structlog.testing.capture_logs() as logs:
        peer.offer("a")
        await server.until(lambda: len(server.heard[0]) == 2)
        peer.offer("b")
        peer.link.control(b"late")
        server.answer = lambda frame: frame if frame.startswith(b"batch") else None
        await peer.until(lambda: peer.downs == 1)
        assert peer.lost == ["a", "b"]
        await peer.until(lambda: peer.link.up)
    peer.offer("c")
    await peer.until(lambda: peer.answers)
    assert server.heard[1] == [b"greeting", b"batch 2 c"]
    assert [entry["reason"] for entry in logs if entry["log_level"] == "warning"] == [
        "a batch was not answered within 0.2 s"
    ]


async def test_a_peer_that_does_not_read_is_given_up(connected: Connected) -> None:
    """Control frames too large for anyone's buffers: the write does not end, so the stream does."""
    async with contextlib.AsyncExitStack() as stack:
        server = ScriptedServer()
        server.reads = False
        peer = ListeningPeer(await stack.enter_async_context(server.served()), stall_s=0.2)
        await stack.enter_async_context(running(peer))
        await peer.until(lambda: peer.link.up)
        with structlog.testing.capture_logs() as logs:
            for _ in range(10):
                peer.link.control(b"x" * 4_000_000)
            await peer.until(lambda: peer.downs == 1)
            await server.until(lambda: len(server.heard) == 2)
            assert len(peer.link.queue) <= 1
    assert "a frame was not read within 0.2 s" in [entry.get("reason") for entry in logs]


async def test_a_peer_that_does_not_introduce_itself_is_given_up() -> None:
    """It accepts the stream and says nothing: tried again and again, and said once."""
    server = ScriptedServer()
    server.hello = b""
    with structlog.testing.capture_logs() as logs:
        async with server.served() as at:
            peer = ListeningPeer(at, stall_s=0.1, greeting_s=0.1)
            async with running(peer):
                await server.until(lambda: len(server.heard) == 3)
                server.hello = b"hello"
                await peer.until(lambda: peer.link.up)
    assert [entry["reason"] for entry in logs if entry["log_level"] == "warning"][:1] == [
        "it did not introduce itself within 0.1 s"
    ]
    assert len(logs) <= 3  # that, connected, and perhaps the server's end


async def test_a_peer_that_restarts_on_its_port_is_found() -> None:
    """What was under way is lost at once, nothing is queued in between, and then it goes on."""
    server = ScriptedServer()
    server.answer = lambda _: None
    with structlog.testing.capture_logs() as logs:
        async with contextlib.AsyncExitStack() as stack:
            life = contextlib.AsyncExitStack()
            at = await life.enter_async_context(server.served())
            peer = ListeningPeer(at, stall_s=PATIENCE_S)
            await stack.enter_async_context(running(peer))
            await peer.until(lambda: peer.link.up)
            peer.offer("a")
            await server.until(lambda: len(server.heard[0]) == 2)
            await life.aclose()
            await peer.until(lambda: peer.lost == ["a"])
            assert peer.offer("b") is None
            peer.link.control(b"to nobody")
            downs = peer.downs
            await peer.until(lambda: peer.downs > downs + 3)
            server.answer = lambda frame: frame if frame.startswith(b"batch") else None
            await stack.enter_async_context(server.served(int(at.rpartition(":")[2])))
            await peer.until(lambda: peer.link.up)
            peer.offer("c")
            await peer.until(lambda: peer.answers)
            assert server.heard[-1] == [b"greeting", b"batch 2 c"]
    assert 1 <= len([entry for entry in logs if entry["log_level"] == "warning"]) <= 3


@pytest.mark.parametrize(
    ("said", "level", "event"), [(b"nonsense", "warning", "not connected"), (b"bug", "error", "link failed")]
)
async def test_what_a_peer_may_not_say_ends_the_stream(
    connected: Connected, said: bytes, level: str, event: str
) -> None:
    """Nonsense is one line in the log; a bug of ours is one with its traceback; the link goes on."""
    server, peer = await connected()
    server.answer = lambda _: said
    with structlog.testing.capture_logs() as logs:
        peer.offer("a")
        await peer.until(lambda: peer.downs == 1)
        server.answer = lambda frame: frame if frame.startswith(b"batch") else None
        await peer.until(lambda: peer.link.up)
    assert peer.lost == ["a"]
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [(level, event), ("info", "connected")]


async def test_a_peer_that_ends_the_stream_is_connected_anew(connected: Connected) -> None:
    """Its reason is in the log."""
    server, peer = await connected()

    def refuse(_: bytes) -> bytes | None:
        raise ZeroDivisionError("the peer's bug")

    server.answer = refuse
    with structlog.testing.capture_logs() as logs:
        peer.offer("a")
        await peer.until(lambda: peer.lost == ["a"])
        await peer.until(lambda: peer.link.up)
    # gRPC may notice that the stream was reset before it has read why.
    assert logs[0]["reason"].startswith(("UNKNOWN", "INTERNAL"))


@pytest.mark.parametrize(
    ("rows", "depth", "expected"), [(4096, 1, 4096), (4096, 20, 2604), (4096, 1000, 62), (1, 1, 1)]
)
def test_a_batch_stays_below_what_grpc_takes(rows: int, depth: int, expected: int) -> None:
    """The deeper the books, the fewer rows."""
    assert batch_rows(rows, depth) == expected
