"""Which replica is asked, and how many, changes no bit of any decision: a property over streams and their cuts."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import pytest
from hub_probes import FeedClient, ScriptedExecutor, Tick, client_of, hub_of, market, settings, status_of, within
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from arbhub.processes import free_ports
from arbhub.settings.schema import Settings
from engines.server import run as run_engine

STATELESS = ("spread", "fee", "liquidity")
REPLICAS = 3
PRICES, SIZES = (98.0, 99.0, 99.5, 100.0, 100.5, 101.0, 103.0), (0.1, 0.7, 25.0)
VENUES, SYMBOLS = ("A", "B", "C"), ("BTC/USD", "ETH/USD")
Row = tuple[object, ...]


class TwoHubs:
    """Alike but for this: one has its engines inside, the other asks three processes' worth of servers for each.

    They have a loop of their own, as hypothesis calls from outside any.
    """

    def __init__(self) -> None:
        self._runner, self._stack, self._shutdown = asyncio.Runner(), contextlib.AsyncExitStack(), asyncio.Event()
        self.addresses = self._runner.run(self._start())

    async def _start(self) -> tuple[str, str]:
        executors = [await self._stack.enter_async_context(ScriptedExecutor().served()) for _ in range(2)]
        places = {name: [await self._engine(name) for _ in range(REPLICAS)] for name in STATELESS}
        stated = {name: {"place": place} for name, place in places.items()}
        alone = await self._stack.enter_async_context(hub_of(settings(executors[0], depth=5)))
        spread = await self._stack.enter_async_context(hub_of(settings(executors[1], stated, depth=5)))
        for address in (alone, spread):
            await status_of(address, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        return alone, spread

    async def _engine(self, name: str) -> str:
        """A real engine behind a socket of its own."""
        (port,), ready = free_ports(1), asyncio.Event()
        made = Settings.model_validate({"engines": {name: {"place": f"127.0.0.1:{port}"}}})
        served = asyncio.create_task(run_engine(made, [name], self._shutdown, lambda _: ready.set()))
        self._stack.push_async_callback(asyncio.wait, [served])
        self._stack.callback(self._shutdown.set)
        await within(ready.wait(), "an engine")
        return f"127.0.0.1:{port}"

    def decided(self, ticks: Sequence[Tick], cuts: Sequence[Sequence[int]]) -> list[list[Row]]:
        """What each hub makes of a stream that it gets cut in its own way."""
        return self._runner.run(self._both(ticks, cuts))

    async def _both(self, ticks: Sequence[Tick], cuts: Sequence[Sequence[int]]) -> list[list[Row]]:
        asked = zip(self.addresses, cuts, strict=True)
        return await asyncio.gather(*(_decided(address, ticks, cut) for address, cut in asked))

    def end(self) -> None:
        """End both, and their engines."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


async def _decided(address: str, ticks: Sequence[Tick], cut: Sequence[int]) -> list[Row]:
    """Every decision, all batches having been sent before the first is read."""
    async with client_of(address, market(VENUES, SYMBOLS)) as client:
        at, number = 0, 0
        while at < len(ticks):
            size = cut[number % len(cut)]
            await client.send(*ticks[at : at + size])
            at, number = at + size, number + 1
        for _ in range(client.batches):
            await client.decided()
        return _rows(client)


def _rows(client: FeedClient) -> list[Row]:
    """As texts where they are floats: NaN is to be NaN."""
    rows: list[Row] = []
    for d in client.columns:
        reasons = [d.reasons[code] for code in d.reason.tolist()]
        figures = (d.gross_edge_bps, d.fee_bps, d.slippage_bps, d.net_edge_bps, d.quantity, d.buy_limit, d.sell_limit)
        exact = (map(repr, column.tolist()) for column in figures)
        rows += zip(d.sequence.tolist(), d.approved.tolist(), reasons, *exact, strict=True)
    return sorted(rows)


@pytest.fixture(scope="module")
def hubs() -> Iterator[TwoHubs]:
    """For all examples: their books are those that the examples before left, on both alike."""
    hubs = TwoHubs()
    yield hubs
    hubs.end()


levels = st.lists(st.tuples(st.sampled_from(PRICES), st.sampled_from(SIZES)), max_size=4, unique_by=lambda at: at[0])


@st.composite
def ticks(draw: st.DrawFn) -> Tick:
    """A book of a few levels, best first, crossed and empty ones among them."""
    bids, asks = draw(levels), draw(levels)
    venue, symbol = draw(st.sampled_from(VENUES)), draw(st.sampled_from(SYMBOLS))
    return Tick(draw(st.integers(0, 20)), venue, sorted(bids, reverse=True), sorted(asks), symbol)


cuts = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=st.lists(ticks(), min_size=1, max_size=60), one=cuts, other=cuts)
def test_spreading_changes_no_decision(hubs: TwoHubs, stream: list[Tick], one: list[int], other: list[int]) -> None:
    """With engines inside and with replicas, however either stream is cut, the decisions are the same to the bit."""
    alone, spread = hubs.decided(stream, (one, other))
    assert len(alone) == len(stream)
    assert alone == spread
