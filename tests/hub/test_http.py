"""The HTTP port over a real socket: what each route answers, and what it refuses."""

import asyncio
from typing import Any

import orjson
import pytest
from http_probes import (
    DEAR,
    DEAR_QUERY,
    JSON,
    LostTrades,
    OneTokenDoor,
    RecordedTrades,
    RecordingAdmin,
    RefusingAdmin,
    StuckTrades,
    http_hub,
    trading_hub,
)
from hub_probes import hub_of, market, settings, status_of

from arbhub.reference import ReferenceData
from arbhub.rows import Tick
from arbhub.service import ServiceError, channel
from arbhub.v1 import hub_pb2, hub_pb2_grpc
from engines.table import ENGINES
from hub.http import door
from hub.http.app import Backing
from hub.http.evaluate import evaluate, question_of
from hub.http.trades import MAX_WAITING
from hub.hub import Hub
from hub.replies import Reply

APPROVED = {
    "approved": True,
    "reason": None,
    "buy_venue": "A",
    "sell_venue": "B",
    "gross_edge_bps": 300.0,
    "quantity": 5.0,
    "buy_limit": 100.0,
    "sell_limit": 103.0,
}


async def test_it_is_alive_before_it_is_ready() -> None:
    """Liveness asks for nothing but the process; readiness says what is missing, until nothing is."""
    async with http_hub() as hub:
        assert (await hub.get("/health"))[:2] == (200, {"status": "alive"})
        answer = await hub.get("/ready")
        assert answer.status == 503
        assert answer.content == {
            "ready": False,
            "reasons": ["the executor is not connected: nothing is approved"],
            "details": [],
        }
    async with trading_hub() as hub:
        assert (await hub.get("/ready"))[:2] == (200, {"ready": True, "reasons": [], "details": []})


async def test_an_engine_that_is_down_is_named() -> None:
    """Readiness names the engine and its place."""
    async with http_hub(engines={"fee": {"place": "127.0.0.1:1"}}) as hub:
        reasons = (await hub.get("/ready")).content["reasons"]
        assert reasons[1:] == ["engine fee at 127.0.0.1:1 cannot be asked: its silence is a veto"]


async def test_a_body_is_decided_as_evaluate_does() -> None:
    """The decision is that of Hub.Evaluate on the same tick, under the names of the decisions file."""
    async with trading_hub() as hub:
        answer = await hub.post("/v1/evaluate", DEAR)
        assert answer.status == 200
        assert answer.content.items() >= APPROVED.items()
        assert answer.headers["X-Arbhub-Reason"] == "APPROVED"
        request = hub_pb2.EvaluateRequest(venue="B", symbol="BTC/USD", ts_ns=1_000_000)
        for name, value in (("bid_price", 103.0), ("bid_size", 5.0), ("ask_price", 104.0), ("ask_size", 5.0)):
            getattr(request, name).append(value)
        async with channel(hub.grpc) as wire:
            reply = await hub_pb2_grpc.HubStub(wire).Evaluate(request)
        same = [name for name in answer.content if name not in ("reason", "held_ns")]
        assert [answer.content[name] for name in same] == [getattr(reply, name) for name in same]


async def test_a_query_is_answered_by_its_status() -> None:
    """200 where it is approved, 403 where it is not, the reason in a header; a body that is rejected is 200 too."""
    async with trading_hub() as hub:
        answer = await hub.get(f"/v1/evaluate?{DEAR_QUERY}")
        assert (answer.status, answer.headers["X-Arbhub-Reason"]) == (200, "APPROVED")
        assert answer.content.items() >= APPROVED.items()
        silent = await hub.get("/v1/evaluate?venue=B&symbol=BTC/USD&ts_ns=1000000")
        assert (silent.status, silent.headers["X-Arbhub-Reason"]) == (403, "NO_COUNTERPART")
        assert silent.content["reason"] == "NO_COUNTERPART"
        assert silent.content["net_edge_bps"] is None
        rejected = await hub.post("/v1/evaluate", {**DEAR, "bids": []})
        assert (rejected.status, rejected.content["approved"]) == (200, False)


async def test_evaluations_leave_no_trace() -> None:
    """Neither the books nor the counts know of them."""
    async with trading_hub() as hub:
        before = await status_of(hub.grpc, lambda s: s.ticks, "ticks")
        await hub.post("/v1/evaluate", {**DEAR, "bids": [[1.0, 1.0]], "asks": [[2.0, 1.0]]})
        after = await status_of(hub.grpc, lambda s: s.ticks, "ticks")
        assert (after.ticks, [b.bid for b in after.books]) == (before.ticks, [b.bid for b in before.books])


class NotingHub(Hub):
    """Notes how long each evaluation may take, in ns."""

    def __init__(self) -> None:
        super().__init__(settings(), {name: engine() for name, engine in ENGINES.items()})
        u = market()
        self.merge(ReferenceData(tuple(u.venues), tuple(u.symbols)))
        self.allowed_ns: list[int | None] = []

    def evaluate(self, tick: Tick, reply: Reply, deadline_ns: int | None) -> None:
        self.allowed_ns.append(deadline_ns)
        super().evaluate(tick, reply, deadline_ns)


async def test_the_caller_may_have_less_time() -> None:
    """The caller's deadline is the round's; without one it is the hub's own."""
    hub = NotingHub()
    for deadline in ({"deadline_ms": 5}, {"deadline_ms": 0.25}, {}):
        decided = await evaluate(hub, question_of(orjson.dumps({**DEAR, **deadline})))
        assert decided.reason == "NO_COUNTERPART"
    assert hub.allowed_ns == [5_000_000, 250_000, None]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"venue": "Z"}, 404, "venue 'Z' is not known to this hub"),
        ({"symbol": "Z/Z"}, 404, "symbol 'Z/Z' is not known to this hub"),
        ({"venue": ""}, 400, "length >= 1 - at `$.venue`"),
        ({"bids": [[1.0]]}, 400, "length 2, got 1 - at `$.bids[0]`"),
        ({"bids": [["1", "2"]]}, 400, "got `str` - at `$.bids[0][0]`"),
        ({"bids": [[1.0, 1.0]] * 1001}, 400, "length <= 1000 - at `$.bids`"),
        ({"asks": None}, 400, "got `null` - at `$.asks`"),
        ({"ts_ns": 1 << 62}, 400, "<= 4611686018427387903 - at `$.ts_ns`"),
        ({"ts_ns": -1}, 400, ">= 0 - at `$.ts_ns`"),
        ({"deadline_ms": 0}, 400, "> 0.0 - at `$.deadline_ms`"),
        ({"colour": 1}, 400, "unknown field `colour`"),
    ],
)
async def test_a_tick_that_is_none(change: dict[str, Any], status: int, said: str) -> None:
    """Refused as a problem with one sentence that names the field."""
    async with trading_hub() as hub:
        answer = await hub.post("/v1/evaluate", {**DEAR, **change})
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert said in answer.content["detail"]
        assert answer.content["status"] == status


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("symbol=BTC/USD", 400, "missing required field `venue`"),
        ("venue=Z&symbol=BTC/USD", 404, "venue 'Z' is not known to this hub"),
        ("venue=A&symbol=BTC/USD&bid=1", 400, "bid and bid_size go together"),
        ("venue=A&symbol=BTC/USD&ask=1&ask_size=cheap", 400, "at `$.ask_size`"),
        ("venue=A&venue=B&symbol=BTC/USD", 400, "names a parameter twice"),
        ("venue=A&symbol=BTC/USD&depth=3", 400, "unknown field `depth`"),
        ("venue=A&symbol=BTC/USD&deadline_ms=nan", 400, "at `$.deadline_ms`"),
    ],
)
async def test_a_query_that_is_no_tick(query: str, status: int, said: str) -> None:
    """Refused likewise."""
    async with trading_hub() as hub:
        answer = await hub.get(f"/v1/evaluate?{query}")
        assert answer.status == status
        assert said in answer.content["detail"]


async def test_numbers_that_are_none_are_no_approval() -> None:
    """A price that is not a number makes no book: rejected, as over gRPC."""
    async with trading_hub() as hub:
        answer = await hub.get(f"/v1/evaluate?{DEAR_QUERY.replace('bid=103', 'bid=nan')}")
        assert (answer.status, answer.headers["X-Arbhub-Reason"]) == (403, "NO_COUNTERPART")


async def test_a_time_may_be_written_with_a_point() -> None:
    """JSON knows one kind of number; half a nanosecond is none all the same."""
    async with trading_hub() as hub:
        assert (await hub.post("/v1/evaluate", {**DEAR, "ts_ns": 1e6})).content["approved"] is True
        assert (await hub.post("/v1/evaluate", {**DEAR, "ts_ns": 0.5})).status == 400


async def test_what_is_no_json_or_too_much() -> None:
    """Bodies that cannot be read are refused, and so are those that are too long, before they are all here."""
    async with http_hub() as hub:
        for body in (b"", b"{", b"\xff\xfe", b"[" * 10_000, b'{"venue": 1e999}'):
            for path in ("/v1/evaluate", "/admin/reload-config"):
                assert (await hub.ask("POST", path, data=body, headers=JSON)).status == 400
        assert (await hub.ask("POST", "/v1/evaluate", data=b"{}")).status == 415
        answer = await hub.ask("POST", "/v1/evaluate", data=b" " * 300_000, headers=JSON)
        assert (answer.status, answer.content["detail"]) == (413, "the body has more than 262144 bytes")


async def test_paths_and_methods_that_are_none() -> None:
    """404 and 405 are problems with a sentence too, and 405 says what is allowed."""
    async with http_hub() as hub:
        assert (await hub.get("/nothing")).content["detail"].startswith("there is nothing at /nothing")
        answer = await hub.ask("DELETE", "/v1/evaluate")
        assert (answer.status, answer.content["detail"]) == (405, "DELETE is not for /v1/evaluate")
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_trades_come_in_pages() -> None:
    """Each page names the one after it, until there is none."""
    async with http_hub(Backing(RecordedTrades(5))) as hub:
        first = (await hub.get("/api/logs/trades?limit=3")).content
        assert [trade["id"] for trade in first["trades"]] == ["1-4", "1-3", "1-2"]
        second = (await hub.get(f"/api/logs/trades?limit=3&before={first['next']}")).content
        assert [trade["id"] for trade in second["trades"]] == ["1-1", "1-0"]
        assert second["next"] is None
        for wrong in ("limit=0", "limit=201", "limit=x", "before=1", "before=-1-2", "after=1-2", "limit=1&limit=2"):
            assert (await hub.get(f"/api/logs/trades?{wrong}")).status == 400


async def test_a_ledger_that_cannot_be_read() -> None:
    """Is said with its reason; so is that there is none at all."""
    async with http_hub(Backing(LostTrades())) as hub:
        answer = await hub.get("/api/logs/trades")
        assert (answer.status, answer.content["detail"]) == (503, "ledger sqlite:///nowhere.db: there is no such file")
    async with http_hub() as hub:
        assert (await hub.get("/api/logs/trades")).content["detail"] == "no ledger is known to this hub"


async def test_a_ledger_that_stands_still_holds_up_nobody() -> None:
    """While it is read the hub answers, and those who ask for it beyond a few are turned away."""
    trades = StuckTrades()
    async with http_hub(Backing(trades)) as hub:
        waiting = [asyncio.create_task(hub.get("/api/logs/trades")) for _ in range(MAX_WAITING + 1)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status for task in done] == [503]
        assert (await hub.get("/health")).status == 200
        trades.allowed.set()
        assert sorted(answer.status for answer in await asyncio.gather(*waiting)) == [200] * MAX_WAITING + [503]


async def test_a_reload_is_handed_on() -> None:
    """With what was asked and by whom; without a text it is of the hub's own file."""
    admin = RecordingAdmin()
    async with http_hub(Backing(admin=admin)) as hub:
        assert (await hub.post("/admin/reload-config", {})).content == {"version": "2-abc"}
        await hub.post("/admin/reload-config", {"toml": "[hub]", "dry_run": True})
        assert admin.asked == [(None, False, "HTTP from 127.0.0.1"), ("[hub]", True, "HTTP from 127.0.0.1")]
        assert (await hub.post("/admin/reload-config", {"dry_run": 1})).status == 400


async def test_a_reload_that_is_refused() -> None:
    """Says why, and without an admin that there is none."""
    async with http_hub(Backing(admin=RefusingAdmin())) as hub:
        answer = await hub.post("/admin/reload-config", {})
        assert answer.status == 409
        assert answer.content["reasons"] == ["hub.depth: cannot change while it runs", "engine fee: no"]
    async with http_hub() as hub:
        assert (await hub.post("/admin/reload-config", {})).content["detail"].startswith("no admin")


async def test_behind_a_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes or tells of trades needs the token, for others than this machine everything but liveness does."""
    closed = {"/api/logs/trades": 401, "/health": 200, "/metrics": 200, "/ready": 503}
    async with http_hub(Backing(RecordedTrades(1), RecordingAdmin(), OneTokenDoor())) as hub:
        assert {path: (await hub.get(path)).status for path in closed} == closed
        answer = await hub.post("/admin/reload-config", {})
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="arbhub"')
        token = {"Authorization": "Bearer right"}
        assert (await hub.get("/api/logs/trades", headers=token)).status == 200
        assert (await hub.post("/admin/reload-config", {}, headers=token)).status == 200
        monkeypatch.setattr(door, "_is_local", lambda _: False)
        assert {path: (await hub.get(path)).status for path in closed} == {
            path: 200 if path == "/health" else 401 for path in closed
        }
        assert (await hub.get("/metrics", headers=token)).status == 200


async def test_a_port_that_is_taken() -> None:
    """The hub says which one, and does not start without it."""
    async with http_hub() as hub:
        at = hub.url.removeprefix("http://")
        with pytest.raises(ServiceError, match=f"cannot listen on {at} .hub.http_listen.: "):
            async with hub_of(settings(http_listen=at)):
                pass
