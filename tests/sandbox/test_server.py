"""The sandbox over real sockets, as ccxt.pro and plain HTTP clients see it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt.pro
import pytest
import structlog
from recordings import MARKETDATA

from arbhub.settings.sandbox import SandboxSettings
from sandbox.book import Book, decimal
from sandbox.server import Server, run

LIMIT_S = 20
SETTINGS = SandboxSettings(listen="127.0.0.1:0")
RECORDED = MARKETDATA / "binance-2024-08-08" / "spot_btcusdt.gz"


@asynccontextmanager
async def serving(settings: SandboxSettings = SETTINGS) -> AsyncIterator[tuple[Server, str]]:
    """A sandbox that moves when told; the address of its first venue."""
    server = Server(settings)
    port = await server.start()
    try:
        yield server, f"127.0.0.1:{port}/EX1"
    finally:
        await server.stop()


@asynccontextmanager
async def ccxt_client(address: str) -> AsyncIterator[Any]:
    """The unmodified ccxt.pro client of Binance, with the sandbox's addresses."""
    client = ccxt.pro.binance({"options": {"fetchMarkets": {"types": ["spot"]}, "watchOrderBookLimit": 100}})
    sockets = dict.fromkeys(client.urls["api"]["ws"], f"ws://{address}/ws")
    client.urls["api"] = dict.fromkeys(client.urls["api"], f"http://{address}/api/v3") | {"ws": sockets}
    try:
        yield client
    finally:
        await client.close()


def as_floats(book: Book, limit: int) -> list[list[list[float]]]:
    """A book as ccxt gives it."""
    sides = book.best_bids(limit), book.best_asks(limit)
    return [[[float(decimal(price)), float(decimal(size))] for price, size in side] for side in sides]


async def check_books_agree(server: Server, client: Any, updates: int, limit: int) -> None:
    """The client's book is the server's of the same number, at the snapshot and after every update."""
    book, history, seen = server.exchange.books["EX1", "BTC/USDT"], {}, []
    elapsed_ns = 60_000_000_000
    server.step(elapsed_ns)
    for _ in range(updates):
        number = book.last_id
        history[number] = as_floats(book, limit)
        got = await asyncio.wait_for(client.watch_order_book("BTC/USDT"), LIMIT_S)
        assert [got["bids"][:limit], got["asks"][:limit]] == history[got["nonce"]]
        seen.append(got["nonce"])
        while book.last_id == number:  # in steps so small that none makes two updates
            elapsed_ns += 10_000_000
            server.step(elapsed_ns)
    assert len(set(seen)) > updates // 2


async def test_ccxt_has_the_same_book() -> None:
    """The ccxt client's book equals the simulated one of the same update number, step after step."""
    async with serving() as (server, address), ccxt_client(address) as client:
        await check_books_agree(server, client, 10, 20)


@pytest.mark.skipif(not RECORDED.exists(), reason=f"no recorded market data at {RECORDED}")
async def test_ccxt_has_the_same_book_in_playback() -> None:
    """The ccxt client's book equals the one played back, begun in the middle of the recording."""
    content = {
        "listen": "127.0.0.1:0",
        "mode": "playback",
        "playback": {
            "files": {"BTC/USDT": RECORDED},
            "offsets": {"EX1": {"delay_ms": 500.0}},
        },
    }
    async with (
        serving(SandboxSettings.model_validate(content)) as (server, address),
        ccxt_client(address) as client,
    ):
        await check_books_agree(server, client, 20, 20)


async def test_rest_answers() -> None:
    """Ping, time, markets and depth answer as Binance does, each venue by itself."""
    async with serving() as (server, address), aiohttp.ClientSession() as session:

        async def get(path: str) -> Any:
            async with session.get(f"http://{address}/api/v3/{path}") as response:
                return response.status, await response.json()

        assert await get("ping") == (200, {})
        assert (await get("time"))[1]["serverTime"] > 1_700_000_000_000
        _, info = await get("exchangeInfo")
        market = info["symbols"][0]
        assert (market["symbol"], market["status"], market["baseAsset"]) == ("BTCUSDT", "TRADING", "BTC")
        filters = {filter_["filterType"]: filter_ for filter_ in market["filters"]}
        assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
        assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
        assert filters["NOTIONAL"]["minNotional"] == "5.00000000"
        _, book = await get("depth?symbol=BTCUSDT&limit=5")
        assert (len(book["bids"]), len(book["asks"])) == (5, 5)
        assert book["lastUpdateId"] == server.exchange.books["EX1", "BTC/USDT"].last_id
        assert await get("depth?symbol=XRPUSDT") == (400, {"code": -1121, "msg": "Invalid symbol."})
        assert (await get("depth?symbol=BTCUSDT&limit=many"))[0] == 400
        async with session.get(f"http://{address.replace('EX1', 'EX9')}/api/v3/ping") as response:
            assert response.status == 404


async def test_streams_bare_and_combined() -> None:
    """Both endpoints send what was subscribed, and only that; the combined one says of which stream it is."""
    async with serving() as (server, address), aiohttp.ClientSession() as session:
        for path in ("ws", "ws/0", "stream", "stream/17"):
            async with session.ws_connect(f"http://{address}/{path}") as socket:
                await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 3})
                assert await socket.receive_json(timeout=LIMIT_S) == {"result": None, "id": 3}
                server.step(server.exchange.books["EX1", "BTC/USDT"].last_id * 1_000_000_000)
                message = await socket.receive_json(timeout=LIMIT_S)
                if path.startswith("stream"):
                    assert message["stream"] == "btcusdt@depth@100ms"
                    message = message["data"]
                assert (message["e"], message["s"]) == ("depthUpdate", "BTCUSDT")
                await socket.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 4})
                assert await socket.receive_json(timeout=LIMIT_S) == {"result": None, "id": 4}
                await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 5})
                assert await socket.receive_json(timeout=LIMIT_S) == {"result": [], "id": 5}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("subscribe!", "malformed"),
        ("{}", "missing required field `method`"),
        ('{"method": "SUBSCRIBE", "params": "all", "id": 1}', "Expected `array`"),
        ('{"method": "SUBSCRIBE", "params": ["xrpusdt@depth"], "id": 1}', "unknown stream xrpusdt@depth"),
        ('{"method": "BUY", "params": [], "id": 1}', "unknown method BUY"),
    ],
)
async def test_bad_requests_are_answered(text: str, reason: str) -> None:
    """A websocket request that makes no sense is answered with an error, and the connection stays."""
    async with (
        serving() as (_, address),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{address}/ws") as socket,
    ):
        await socket.send_str(text)
        answer = await socket.receive_json(timeout=LIMIT_S)
        assert answer["error"]["code"] == 2
        assert reason in answer["error"]["msg"]
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 5})
        assert (await socket.receive_json(timeout=LIMIT_S))["result"] == []


async def test_faults_over_http() -> None:
    """A fault is posted to a venue: drop closes its connections and no other venue's."""
    async with serving() as (server, address), aiohttp.ClientSession() as session:
        other = address.replace("EX1", "EX2")
        async with (
            session.ws_connect(f"http://{address}/ws") as dropped,
            session.ws_connect(f"http://{other}/ws") as kept,
        ):
            async with session.post(f"http://{address}/fault/drop") as response:
                assert response.status == 200
            message = await dropped.receive(timeout=LIMIT_S)
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
            await kept.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
            assert (await kept.receive_json(timeout=LIMIT_S))["id"] == 1
        async with session.post(f"http://{address}/fault/halt") as response:
            assert response.status == 200
        assert server.exchange.exchange_info("EX1", 0)["symbols"][0]["status"] == "BREAK"
        async with session.post(f"http://{address}/fault/earthquake") as response:
            assert response.status == 404
            assert "drop, skip, silence, halt, resume" in (await response.json())["msg"]


async def test_a_client_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves its messages unread is disconnected instead of held in memory; others go on."""
    monkeypatch.setattr("sandbox.server._QUEUE", 20)
    content = {"listen": "127.0.0.1:0", "venues": ["EX1"], "simulation": {"levels": 1000}}
    async with (
        serving(SandboxSettings.model_validate(content)) as (server, address),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{address}/ws") as asleep,
        session.ws_connect(f"http://{address}/ws") as awake,
    ):
        for socket in (asleep, awake):
            await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": 1})
            await socket.receive_json(timeout=LIMIT_S)
        with structlog.testing.capture_logs() as logs:
            for step in range(1, 2_000):
                server.step(step * 1_000_000_000)
                last = await awake.receive_json(timeout=LIMIT_S)
                if logs:
                    break
        assert [entry["event"] for entry in logs] == ["sandbox drops a client that does not read"]
        assert last["u"] == server.exchange.books["EX1", "BTC/USDT"].last_id


async def test_run_serves_until_told_to_stop() -> None:
    """Run tells its port, moves the books by itself, and when told to stop closes connections and returns."""
    shutdown, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(SETTINGS, shutdown, ready.set_result))
    port = await asyncio.wait_for(ready, LIMIT_S)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}/EX3/ws") as socket,
    ):
        await socket.send_json({"method": "SUBSCRIBE", "params": ["ethusdt@depth"], "id": 1})
        await socket.receive(timeout=LIMIT_S)
        numbers = [(await socket.receive_json(timeout=LIMIT_S))["u"] for _ in range(3)]
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        shutdown.set()
        while not socket.closed:
            await socket.receive(timeout=LIMIT_S)
        await asyncio.wait_for(task, LIMIT_S)


async def test_a_port_in_use_is_a_sentence() -> None:
    """A second sandbox on the same port says that it cannot listen there."""
    async with serving() as (_, address):
        listen = address.partition("/")[0]
        with pytest.raises(OSError, match=f"the sandbox cannot listen on {listen}: .*in use"):
            await run(SandboxSettings(listen=listen), asyncio.Event())
