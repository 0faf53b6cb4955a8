"""Engines behind real sockets, slow, silent, lost or the wrong ones: one decision a tick all the same."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
import structlog
from hub_probes import (
    LONG_MS,
    SYMBOL,
    BrokenEngine,
    FakeEngine,
    ScriptedExecutor,
    SilentEngine,
    SlowEngine,
    approval,
    cheap,
    client_of,
    dear,
    hub_of,
    market,
    settings,
    status_of,
    within,
)
from judging import judged_by

from arbhub.control import encode_report, encode_values
from arbhub.rows import MAX_ROWS
from arbhub.settings.schema import Settings
from arbhub.state import ACTIVE, EXECUTED, LedgerValues, Report
from arbhub.v1 import engine_pb2
from arbhub.wire import OPPORTUNITY_NAMES
from engines.server import run as run_engine
from engines.table import ENGINES

APPROVED = ""
TIMEOUT = "ENGINE_TIMEOUT:spread"
NONE = "NO_COUNTERPART"


async def test_a_silent_engine_times_out_at_the_deadline() -> None:
    """It accepts and never answers: every opportunity is decided by the hub's clock, others as ever."""
    async with judged_by(SilentEngine("spread"), deadline_ms=30.0) as client:
        for _ in range(5):
            assert await client.ask(cheap(), dear()) in ([NONE, TIMEOUT], [TIMEOUT, TIMEOUT])
        assert math.isnan(client.columns[-1].net_edge_bps[-1])


async def test_an_engines_budget_ends_before_the_deadline() -> None:
    """With a budget of its own, its silence is decided although the round has a minute."""
    async with judged_by(SilentEngine("spread"), budget_ms=20.0, deadline_ms=LONG_MS) as client:
        assert await client.ask(cheap(), dear()) == [NONE, TIMEOUT]


async def test_late_verdicts_change_nothing_later() -> None:
    """What a slow engine says of a round that is decided has no effect on those that follow."""
    slow = SlowEngine("spread")
    slow.verdicts = lambda rows: replace(  # type: ignore[method-assign]  # rejects the first batch, approves others
        approval(rows, 300.0), verdict=np.full(rows, 2), reason=np.ones(rows, np.int64)
    )
    async with judged_by(slow, budget_ms=30.0) as client:
        assert await client.ask(cheap(), dear()) == [NONE, TIMEOUT]
        slow.verdicts = lambda rows: approval(rows, 300.0)  # type: ignore[method-assign]
        for _ in range(1000):
            slow.allowed.release()
        await client.ask_until(APPROVED)
        assert await client.ask(dear(2)) == [APPROVED]
        assert "NO" not in {d.reasons[r] for d in client.columns for r in d.reason}


async def test_a_slow_engine_is_not_asked_what_is_decided_already() -> None:
    """While it works on one case others time out in its queue: when it is free it gets the new ones only."""
    slow = SlowEngine("spread")
    async with judged_by(slow, budget_ms=30.0) as client:
        for number in range(6):
            await client.ask(cheap(number), dear(number))
        assert slow.kinds().count("batch") == 1
        for _ in range(1000):
            slow.allowed.release()
        await client.ask_until("NET_EDGE_TOO_LOW")
        asked = [sequence for r in slow.told for sequence in r.batch.opportunities.sequence]
        assert asked[:1] == [1]
        assert not {3, 5, 7, 9} & set(asked)


async def test_cases_that_wait_go_out_together() -> None:
    """While the window is closed cases collect; each gets its own part of the one answer."""
    slow = SlowEngine("spread")
    slow.verdicts = lambda rows: replace(approval(rows), bps=np.arange(300.0, 300.0 + rows))  # type: ignore[method-assign]
    async with judged_by(slow) as client:
        await client.send(cheap(), dear())
        await slow.until(lambda: "batch" in slow.kinds(), "the first")
        for number in range(2, 5):
            await client.send(cheap(number), dear(number))
        await client.send()  # answered at once: then the others have been taken in
        while (await client.decided())[0].batch_id != 5:
            pass
        for _ in range(2):
            slow.allowed.release()
        got = [await client.decided() for _ in range(4)]
    assert [batch.batch_id for batch, _ in got] == [1, 2, 3, 4]
    assert slow.kinds().count("batch") == 2
    edges = [d.net_edge_bps[-1] + d.fee_bps[-1] + d.slippage_bps[-1] for d in client.columns[-4:]]
    assert edges == pytest.approx([300.0, 301.0, 303.0, 305.0])


async def test_an_engine_is_sent_what_it_reads() -> None:
    """Of long batches only the columns that an engine names; one that names none gets them all."""
    picky, curious = FakeEngine("spread", reads=("sell_bid",)), FakeEngine("fee")
    async with judged_by(picky, curious) as client:
        await client.send(*(tick for _ in range(2 * MAX_ROWS) for tick in (cheap(), dear())))
        await client.decided()
    sent = [fake.told[-1].batch.opportunities for fake in (picky, curious)]
    columns = [{field.name for field, _ in message.ListFields()} for message in sent]
    assert columns == [{"sequence", "sell_bid"}, set(OPPORTUNITY_NAMES)]
    assert len(sent[0].sell_bid) == len(sent[1].candidate) > MAX_ROWS


async def test_short_and_long_cases_that_wait_go_out_together() -> None:
    """A few rows joined with many: of all of them the columns that the engine reads, and no others."""
    slow = SlowEngine("spread")
    slow.reads = ("sell_bid",)
    async with judged_by(slow) as client:
        await client.send(cheap(), dear())
        await slow.until(lambda: "batch" in slow.kinds(), "the first")
        await client.send(cheap(1), dear(1))
        await client.send(*[dear(2)] * 2 * MAX_ROWS)
        await client.send()  # answered at once: then the others have been taken in
        while (await client.decided())[0].batch_id != 4:
            pass
        for _ in range(2):
            slow.allowed.release()
        for _ in range(3):
            await client.decided()
    sent = slow.told[-1].batch.opportunities
    assert {field.name for field, _ in sent.ListFields()} == {"sequence", "sell_bid"}
    assert len(sent.sequence) == len(sent.sell_bid) == 2 + 2 * MAX_ROWS


Answers = Callable[[BrokenEngine, int, int], list[bytes]]


def saying(**columns: Any) -> Answers:
    """An answer whose columns are these."""

    def answers(engine: BrokenEngine, batch_id: int, rows: int) -> list[bytes]:
        given = {name: value(rows) if callable(value) else np.full(rows, value) for name, value in columns.items()}
        return [engine.reply(batch_id, replace(approval(rows, 300.0), **given))]

    return answers


def ragged(engine: BrokenEngine, batch_id: int, rows: int) -> list[bytes]:
    """Columns of different lengths."""
    reply = engine_pb2.EngineReply.FromString(engine.reply(batch_id, approval(rows)))
    del reply.batch.verdicts[0].bps[:]
    return [reply.SerializeToString()]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (lambda e, b, rows: [e.reply(b, approval(rows + 1))], TIMEOUT),
        (lambda e, b, rows: [e.reply(b, approval(rows - 1))], TIMEOUT),
        (lambda e, b, rows: [e.reply(b, approval(0))], TIMEOUT),
        (ragged, TIMEOUT),
        (saying(verdict=0), TIMEOUT),
        (saying(verdict=7), TIMEOUT),
        (saying(verdict=2), TIMEOUT),  # a reject without a reason
        (saying(verdict=2, reason=2), TIMEOUT),  # a reason it never stated
        (saying(reason=9), TIMEOUT),
        (saying(buy_limit=math.nan, sell_limit=103.0), TIMEOUT),
        (saying(buy_limit=100.0, sell_limit=0.0), TIMEOUT),
        (saying(buy_limit=math.inf, sell_limit=103.0), TIMEOUT),
        (saying(verdict=2, reason=1), "NO"),
        (saying(bps=math.nan), "NET_EDGE_TOO_LOW"),
        (saying(bps=math.inf), "NET_EDGE_TOO_LOW"),
        (saying(quantity=math.nan), "QUANTITY_TOO_SMALL"),
        (saying(quantity=-1.0), "QUANTITY_TOO_SMALL"),
        (saying(), APPROVED),
        (lambda e, b, rows: [e.reply(b, approval(rows, 300.0))] * 3, APPROVED),
        (lambda e, b, rows: [e.reply(b + 7, approval(rows)), e.reply(b, approval(rows, 300.0))], APPROVED),
    ],
)
async def test_an_answer_that_is_none_is_no_approval(answers: Answers, reason: str) -> None:
    """Wrong rows, unknown verdicts and reasons, no numbers: a reject; twice or for another batch: without effect."""
    broken = BrokenEngine("spread", answers)
    async with judged_by(broken) as client:
        for number in range(3):
            assert (await client.ask(cheap(number), dear(number)))[-1] == reason
        assert broken.connections == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff garbage",
        b"",
        engine_pb2.EngineReply(hello=engine_pb2.EngineHello(name="spread")).SerializeToString(),
    ],
)
async def test_an_engine_that_speaks_garbage_is_cut_off_at_once(frame: bytes) -> None:
    """Bytes that are no reply: nobody waits for its answer, and it is tried again, said once in a line."""
    broken = BrokenEngine("spread", lambda *_: [frame])
    with structlog.testing.capture_logs() as logs:
        async with judged_by(broken) as client:
            assert (await client.ask(cheap(), dear()))[-1] == TIMEOUT
            await broken.until(lambda: broken.connections == 2, "another try")
            broken.answers = saying()
            await client.ask_until(APPROVED)
    lost = [entry for entry in logs if entry["event"] == "not connected" and entry["peer"] == "spread"]
    assert len([entry for entry in lost if "it sent what no such peer sends" in entry["reason"]]) == 1
    assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_an_answer_for_another_batch_only_is_a_stall() -> None:
    """The batch stays unanswered: the stream is opened anew after the link's patience, and then it works."""
    broken = BrokenEngine("spread", lambda e, b, rows: [e.reply(b + 1, approval(rows))])
    async with judged_by(broken) as client:
        await client.send(cheap(), dear())
        await broken.until(lambda: broken.connections == 2, "another try")
        assert (await client.decided())[1][-1].reason == TIMEOUT
        broken.answers = saying()
        await client.ask_until(APPROVED)


async def test_an_engine_that_dies_and_comes_back() -> None:
    """While it is away every opportunity is a timeout at once, though the deadline is far; then approvals again."""
    engine = BrokenEngine("spread", saying())
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        life = contextlib.AsyncExitStack()
        place = await life.enter_async_context(engine.served())
        at = await stack.enter_async_context(hub_of(settings(executor, {"spread": {"place": place}})))
        client = await stack.enter_async_context(client_of(at))
        await client.ask_until(APPROVED)
        engine.answers = lambda *_: []
        await client.send(cheap(), dear())
        await client.send(cheap(), dear())
        await life.aclose()
        for _ in range(2):  # what was asked and what was queued
            assert (await client.decided())[1][-1].reason == TIMEOUT
        await status_of(at, lambda s: not s.engines[0].up, "the engine's end")
        for _ in range(3):
            assert (await client.ask(cheap(), dear()))[-1] == TIMEOUT
        engine.answers = saying()
        await stack.enter_async_context(engine.served(int(place.rpartition(":")[2])))
        await client.ask_until(APPROVED)


async def test_the_wrong_engine_in_a_place_is_said_and_not_asked() -> None:
    """Its name differs: one line in the log however often it is tried, and its silence for every opportunity."""
    wrong = FakeEngine("fee")
    with structlog.testing.capture_logs() as logs:
        async with contextlib.AsyncExitStack() as stack:
            executor = await stack.enter_async_context(ScriptedExecutor().served())
            place = await stack.enter_async_context(wrong.served())
            at = await stack.enter_async_context(hub_of(settings(executor, {"spread": {"place": place}})))
            await wrong.until(lambda: wrong.connections == 3, "three tries")
            await status_of(at, lambda s: s.executor_up, "the executor")
            client = await stack.enter_async_context(client_of(at))
            assert await client.ask(cheap(), dear()) == [NONE, TIMEOUT]
    lines = [entry["reason"] for entry in logs if entry.get("peer") == "spread"]
    assert lines == [f"{place} is the engine 'fee', not 'spread'"]
    assert "batch" not in wrong.kinds()


def report(number: int, quantity: float) -> Report:
    """A decision executed; the position on A is this now."""
    values = LedgerValues(positions={("A", SYMBOL): (quantity, 100.0)})
    return Report(EXECUTED, 1, number, 0, SYMBOL, values=values)


async def test_a_restarted_engine_gets_the_state_as_it_is() -> None:
    """Snapshot with every report since in it before any question; then reports, in order with the questions."""
    risk = FakeEngine("risk", wants_state=True)
    script = ScriptedExecutor(LedgerValues(positions={("B", SYMBOL): (7.0, 100.0)}, trading_state=ACTIVE))
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(script.served())
        life = contextlib.AsyncExitStack()
        place = await life.enter_async_context(risk.served())
        at = await stack.enter_async_context(hub_of(settings(executor, {"risk": {"place": place}})))
        await status_of(at, lambda s: s.executor_up and s.engines[3].up, "everyone")
        client = await stack.enter_async_context(client_of(at))
        for number in range(3):
            await script.say(report=encode_report(report(number, float(number))))
        await risk.until(lambda: risk.kinds().count("report") == 3, "the reports")
        assert (await client.ask(cheap(), dear()))[-1] == APPROVED
        first = list(risk.told)
        await life.aclose()
        await status_of(at, lambda s: not s.engines[3].up, "the engine's end")
        await script.say(report=encode_report(report(3, 3.0)))
        await status_of(at, lambda s: s.positions and max(p.quantity for p in s.positions) == 7, "the report")
        risk.told.clear()
        await stack.enter_async_context(risk.served(int(place.rpartition(":")[2])))
        await client.ask_until(APPROVED)
        await script.say(report=encode_report(report(4, 4.0)))
        await risk.until(lambda: risk.kinds()[-1] == "report", "the last report")
    order = [r.WhichOneof("frame") or "" for r in first]
    assert sorted(order[:2]) == ["configuration", "reference"]
    assert [k for k in order if k != "reference"] == [
        "configuration",
        "snapshot",
        "report",
        "report",
        "report",
        "batch",
    ]
    kinds = risk.kinds()
    assert kinds[:3] == ["configuration", "reference", "snapshot"]
    assert set(kinds[3:-1]) == {"batch"}
    held = {(p.venue, p.symbol): p.quantity for p in risk.told[2].snapshot.values.positions}
    assert held == {("A", SYMBOL): 3.0, ("B", SYMBOL): 7.0}
    assert risk.told[2].snapshot.epoch == 1
    assert risk.told[-1].report.values == encode_values(report(4, 4.0).values)


async def test_reasons_mean_what_they_meant_when_they_were_given() -> None:
    """An engine that comes back with other reasons, within a round that it has answered, changes none of that."""
    spread, fee = FakeEngine("spread"), SlowEngine("fee")
    spread.verdicts = lambda rows: replace(  # type: ignore[method-assign]
        approval(rows), verdict=np.full(rows, 2), reason=np.ones(rows, np.int64)
    )
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        life = contextlib.AsyncExitStack()
        place = await life.enter_async_context(spread.served())
        slow = await stack.enter_async_context(fee.served())
        made = settings(executor, {"spread": {"place": place}, "fee": {"place": slow}})
        at = await stack.enter_async_context(hub_of(made))
        await status_of(at, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        client = await stack.enter_async_context(client_of(at))
        await client.send(cheap(), dear())
        await status_of(at, lambda s: s.engines[0].judged == 1, "the reject")
        await life.aclose()
        spread.hello = lambda: engine_pb2.EngineReply(  # type: ignore[method-assign]
            hello=engine_pb2.EngineHello(name="spread")
        ).SerializeToString()
        await stack.enter_async_context(spread.served(int(place.rpartition(":")[2])))
        await spread.until(lambda: spread.connections == 2, "the engine")
        await status_of(at, lambda s: s.engines[0].up, "the engine")
        fee.allowed.release()
        assert (await client.decided())[1][-1].reason == "NO"


async def test_many_clients_among_engines_that_fail_in_every_way() -> None:
    """Slow, silent, lying and dying at once: each batch of each client gets exactly one decision a tick."""
    slow, silent = SlowEngine("spread"), SilentEngine("fee")
    mad = BrokenEngine("liquidity", saying())
    lies: list[Answers] = [saying(), saying(verdict=9), lambda *_: [b"\xff"], lambda *_: [], ragged]
    chosen = np.random.default_rng(3)

    def any_lie(engine: BrokenEngine, batch_id: int, rows: int) -> list[bytes]:
        return lies[chosen.integers(len(lies))](engine, batch_id, rows)

    mad.answers = any_lie

    async def feed(address: str, number: int) -> list[int]:
        async with client_of(address, market(symbols=(f"C{number}/USD", SYMBOL))) as client:
            rows = [tick(n, symbol) for n, symbol in enumerate((SYMBOL, f"C{number}/USD")) for tick in (cheap, dear)]
            for _ in range(30):
                await client.send(*rows)
                slow.allowed.release()
            got = [await client.decided() for _ in range(30)]
        assert sorted(batch.batch_id for batch, _ in got) == list(range(1, 31))
        assert all(len(decided) == 4 for _, decided in got)
        assert not any(row.approved for _, decided in got for row in decided)
        return [row.sequence for _, decided in got for row in decided]

    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        places = {f.name: {"place": await stack.enter_async_context(f.served())} for f in (slow, silent, mad)}
        at = await stack.enter_async_context(hub_of(settings(executor, places, deadline_ms=20.0, max_queue_ticks=16)))
        await status_of(at, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        everyone = await within(asyncio.gather(*(feed(at, number) for number in range(4))), "all decisions")
        assert sorted(s for mine in everyone for s in mine) == list(range(480))
        status = await status_of(at, lambda s: s.ticks == 480, "all")
        assert sum(status.rejected.values()) == 480


async def test_a_full_queue_sheds_and_says_so() -> None:
    """Behind an engine that stands still the oldest superseded opportunities are shed, each decided once."""
    slow = SlowEngine("spread")
    async with judged_by(slow, max_queue_ticks=4) as client:
        await client.send(cheap(), dear())
        await slow.until(lambda: "batch" in slow.kinds(), "the question")
        for number in range(1, 9):
            await client.send(dear(number))
        await client.send()
        seen = {}
        while (got := await client.decided())[0].batch_id != 10:
            seen[got[0].batch_id] = got[1][-1].reason
        assert set(seen.values()) == {"SHED"}
        assert sorted(seen) == list(range(2, 2 + len(seen)))  # the oldest
        for _ in range(20):
            slow.allowed.release()
        rest = [await client.decided() for _ in range(9 - len(seen))]
        assert sorted([*seen, *(batch.batch_id for batch, _ in rest)]) == list(range(1, 10))
        assert {decided[-1].reason for _, decided in rest} == {"NET_EDGE_TOO_LOW"}


@contextlib.asynccontextmanager
async def engines_served(*hosts: Sequence[str]) -> AsyncIterator[dict[str, dict[str, str]]]:
    """Real engines, those of each host served together; their sections."""
    shutdown, ports, served = asyncio.Event(), {}, []
    for names in hosts:
        made = Settings.model_validate({"engines": {name: {"place": "127.0.0.1:0"} for name in names}})
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        served.append(asyncio.create_task(run_engine(made, names, shutdown, port.set_result)))
        ports.update(dict.fromkeys(names, await within(port)))
    try:
        yield {name: {"place": f"127.0.0.1:{port}"} for name, port in ports.items()}
    finally:
        shutdown.set()
        await asyncio.gather(*served)


@pytest.mark.parametrize(
    "remote",
    [
        (),
        (("risk",),),
        (("spread",), ("liquidity",)),
        tuple((name,) for name in ENGINES),
        (tuple(ENGINES),),
        (("spread", "risk"), ("fee", "liquidity")),
        (("fee", "risk"),),
    ],
)
async def test_places_do_not_matter(remote: tuple[tuple[str, ...], ...]) -> None:
    """Engines inside, apart, on one host or mixed: the same decisions, to the bit."""
    chosen = np.random.default_rng(5)
    rows = []
    for number in range(120):
        bid = 100.0 + chosen.integers(-20, 20) / 8
        levels = [(bid - step / 8, 0.1 + chosen.random()) for step in range(3)]
        asks = [(bid + 1 / 16 + step / 8, 0.1 + chosen.random()) for step in range(3)]
        rows.append(cheap(number)._replace(venue="AB"[chosen.integers(2)], bids=levels, asks=asks))
    async with contextlib.AsyncExitStack() as stack:
        executor = await stack.enter_async_context(ScriptedExecutor().served())
        places = await stack.enter_async_context(engines_served(*remote))
        at = await stack.enter_async_context(hub_of(settings(executor, places)))
        await status_of(at, lambda s: s.executor_up and all(e.up for e in s.engines), "everyone")
        client = await stack.enter_async_context(client_of(at))
        for start in range(0, len(rows), 10):
            await client.ask(*rows[start : start + 10])
    reasons = [d.reasons[code] for d in client.columns for code in d.reason.tolist()]
    edges = [repr(edge) for d in client.columns for edge in d.net_edge_bps.tolist()]
    quantities = [repr(quantity) for d in client.columns for quantity in d.quantity.tolist()]
    told = EXPECTED.setdefault("decisions", (reasons, edges, quantities))
    assert (reasons, edges, quantities) == told
    assert reasons.count(APPROVED) > 10


EXPECTED: dict[str, tuple[list[str], list[str], list[str]]] = {}
"""What the first of the places above decided."""


async def test_a_restarted_risk_engine_knows_nothing_without_the_ledger() -> None:
    """The real risk engine rejects STATE_UNKNOWN as long as the executor has not been heard of."""
    executor = ScriptedExecutor()
    async with engines_served(["risk"]) as places, executor.served() as at_executor:
        async with hub_of(settings(at_executor, places)) as at:
            await status_of(at, lambda s: s.executor_up and s.engines[3].up, "everyone")
            async with client_of(at) as client:
                assert (await client.ask(cheap(), dear()))[-1] == APPROVED
        wire: grpc.aio.Channel
        from arbhub.engine import EngineConfiguration
        from arbhub.service import channel
        from arbhub.v1 import engine_pb2_grpc

        async with channel(places["risk"]["place"]) as wire:
            call: Any = engine_pb2_grpc.EngineStub(wire).Evaluate()
            hello = (await within(call.read())).hello
            content = EngineConfiguration().model_dump_json().encode()
            await call.write(engine_pb2.EngineRequest(configuration=engine_pb2.Configuration(settings_json=content)))
            from arbhub.control import encode_reference

            await call.write(engine_pb2.EngineRequest(reference=encode_reference(market())))
            batch = engine_pb2.OpportunityBatch(batch_id=1)
            o = batch.opportunities
            for column in ("sequence", "ts_ns", "instrument", "candidate", "buy_venue", "buy_ts_ns", "sell_ts_ns"):
                getattr(o, column).append(0)
            o.edge_since_ns.append(0)
            o.sell_venue.append(1)
            for column in ("buy_ask", "buy_ask_size", "sell_bid", "sell_bid_size"):
                getattr(o, column).append(100.0)
            await call.write(engine_pb2.EngineRequest(batch=batch))
            verdicts = (await within(call.read())).batch.verdicts[0]
            assert hello.reasons[verdicts.reason[0] - 1] == "STATE_UNKNOWN"
            call.cancel()
