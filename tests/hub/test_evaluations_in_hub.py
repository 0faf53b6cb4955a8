"""Single evaluations in a whole hub: judged together they are decided as each would be alone, to the bit."""

import asyncio
from collections.abc import Sequence

import grpc
import pytest
import structlog
from hub_probes import (
    LONG_MS,
    SYMBOL,
    ScriptedExecutor,
    SlowEngine,
    cheap,
    client_of,
    hub_of,
    settings,
    status_of,
    within,
)
from hypothesis import given
from hypothesis import settings as effort
from reference.model import ModelSettings
from reference.model import Tick as ModelTick
from reference.pipeline import configuration, listings
from reference.streams import nasty_settings, nasty_streams

from arbhub.reference import ReferenceData
from arbhub.rows import Tick, decision_rows, tick_columns
from arbhub.service import channel
from arbhub.settings.schema import Settings
from arbhub.state import ACTIVE, LedgerValues, Snapshot
from arbhub.v1 import hub_pb2, hub_pb2_grpc
from engines.table import ENGINES
from hub import hub as hub_module
from hub.configured import Configured
from hub.hub import Hub
from hub.reasons import NET_EDGE_TOO_LOW
from hub.replies import Decided


def hub_for(ticks: Sequence[ModelTick], model: ModelSettings) -> Hub:
    """Its engines inside, and as if its executor were there; knows what occurs in the ticks."""
    given_hub = {name: getattr(model, name) for name in ("depth", "max_quote_age_ms", "min_net_edge_bps")}
    content = {"hub": given_hub | {"deadline_ms": LONG_MS}, "engines": configuration(model).engines.model_dump()}
    hub = Hub(Settings.model_validate(content), {name: engine() for name, engine in ENGINES.items()})
    venues, symbols = (dict.fromkeys(getattr(t, name) for t in ticks) for name in ("venue", "symbol"))
    hub.merge(ReferenceData(tuple(venues), tuple(symbols), listings(ticks, model)))
    hub.view.connected(Snapshot(1, True, LedgerValues(trading_state=ACTIVE)))
    hub.trades.link.up = True
    return hub


def row_of(hub: Hub, t: ModelTick) -> Tick:
    """As a server hands it over: the hub's ids, cut to its depth."""
    levels = [tuple(level[i] for level in side[: hub.books.depth]) for side in (t.bids, t.asks) for i in (0, 1)]
    bid_price, bid_size, ask_price, ask_size = levels
    symbol, venue = hub.universe.symbol_ids[t.symbol], hub.universe.venue_ids[t.venue]
    return Tick(t.ts_ns, symbol, venue, bid_price, bid_size, ask_price, ask_size, 0)


async def evaluated(hub: Hub, ticks: Sequence[Tick]) -> list[str]:
    """The decisions on ticks that are asked about at once; `repr` tells every float from every other."""
    answers: list[asyncio.Future[Decided]] = []
    for each in ticks:
        answers.append(asyncio.get_running_loop().create_future())
        hub.evaluate(each, answers[-1].set_result, None)
    decided = [decision_rows(answer) for answer in await within(asyncio.gather(*answers), "every decision")]
    return [repr(row) for rows in decided for row in rows]


@effort(max_examples=40, deadline=None)
@given(nasty_streams(finite=False), nasty_streams(extremes=True), nasty_settings())
async def test_nobodys_decision_depends_on_the_others(
    books: list[ModelTick], asked: list[ModelTick], model: ModelSettings
) -> None:
    """Any ticks on any books, a few or many: asked about at once or one at a time, the same to the bit."""
    hub = hub_for([*books, *asked], model)
    hub.submit(tick_columns([row_of(hub, t) for t in books]), lambda _: None)
    ticks = [row_of(hub, t) for t in asked]
    alone = [row for each in ticks for row in await evaluated(hub, [each])]
    assert await evaluated(hub, ticks) == alone
    assert hub.sequence == len(books)


async def test_what_waits_is_judged_by_what_it_came_under() -> None:
    """New settings, which would reject it, find it decided: its version is that of the time when it came."""
    book = ModelTick(1, "A", SYMBOL, [(99.0, 5.0)], [(100.0, 5.0)])
    offer = ModelTick(2, "B", SYMBOL, [(103.0, 5.0)], [(104.0, 5.0)])
    hub = hub_for([book, offer], ModelSettings(taker_bps={"A": 1.0, "B": 1.0}))
    hub.submit(tick_columns([row_of(hub, book)]), lambda _: None)
    stricter = hub.settings.model_copy(update={"hub": hub.settings.hub.model_copy(update={"min_net_edge_bps": 1e3})})
    answers: list[Decided] = []
    hub.evaluate(row_of(hub, offer), answers.append, None)
    assert not answers
    hub.adopt(stricter, Configured.of(stricter, "2"))
    (before,) = decision_rows(answers[0])
    (after,) = await evaluated(hub, [row_of(hub, offer)])
    assert before.approved
    assert f"reason={NET_EDGE_TOO_LOW}," in after


def request(ts_ns: int) -> hub_pb2.EvaluateRequest:
    """B buys at 103."""
    sides = {"bid_price": [103.0], "bid_size": [1.0], "ask_price": [104.0], "ask_size": [1.0]}
    return hub_pb2.EvaluateRequest(venue="B", symbol=SYMBOL, ts_ns=ts_ns, **sides)


async def test_an_engine_is_asked_about_all_that_wait_at_once() -> None:
    """Over the wire, against the books as they are by then; each caller has the answer to its own question."""
    slow = SlowEngine("spread")
    async with (
        slow.served() as place,
        ScriptedExecutor().served() as executor,
        hub_of(settings(executor, {"spread": {"place": place}})) as at,
        client_of(at) as client,
        channel(at) as wire,
    ):
        await status_of(at, lambda s: s.executor_up and s.engines[0].up, "everyone")
        await client.ask(cheap())
        stub = hub_pb2_grpc.HubStub(wire)
        first = stub.Evaluate(request(1))
        await slow.until(lambda: slow.kinds().count("batch") == 1, "the first question")
        others = [stub.Evaluate(request(n)) for n in (2, 3, 4)]
        await status_of(at, lambda _: True, "any")  # a round trip later they wait
        await client.ask(cheap()._replace(asks=[(101.0, 5.0)]))
        for _ in range(1000):
            slow.allowed.release()
        replies = await within(asyncio.gather(first, *others), "every answer")
        await slow.until(lambda: sum(len(t) for t in asked_times(slow)) == 4, "all questions")
    assert asked_times(slow) == [[1], [2, 3, 4]]
    edges = [round(reply.gross_edge_bps) for reply in replies]
    assert edges == [300, 198, 198, 198]


def asked_times(engine: SlowEngine) -> list[list[int]]:
    """The times of the ticks of each batch."""
    return [list(told.batch.opportunities.ts_ns) for told in engine.told if told.WhichOneof("frame") == "batch"]


async def test_a_bug_is_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a decision that nobody can make."""
    async with hub_of(settings()) as at, client_of(at) as client, channel(at) as wire:
        await client.ask(cheap())
        monkeypatch.setattr(hub_module, "peeked", None)
        with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
            await within(hub_pb2_grpc.HubStub(wire).Evaluate(request(1)), "the answer")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert [entry["event"] for entry in logs] == ["evaluations could not be judged"]
