"""/v1/evaluate: one tick as JSON or as a query, judged as `Hub.Evaluate` does, and its decision as JSON.

The tick is what a capture's line is. As a query it has one level a side. It updates no book and reaches no executor.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import orjson
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from arbhub.columns import MAX_LEVELS, MAX_TS_NS, NO_VENUE
from arbhub.rows import Tick
from hub.http.problems import ProblemError
from hub.hub import Hub
from hub.single import Judged, UnknownNameError, judged, tick_of

MAX_DEADLINE_MS = 60_000
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Level = tuple[float, float]
Levels = Annotated[tuple[Level, ...], Meta(max_length=MAX_LEVELS)]
TimeNs = Annotated[int, Meta(ge=0, le=MAX_TS_NS, description="Nanoseconds since 1970; 0: now.")]
DeadlineMs = Annotated[
    float, Meta(gt=0, le=MAX_DEADLINE_MS, description="How long the caller waits; the hub's deadline at most.")
]


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """A tick: levels are [price, size], best first; an empty side is a venue gone silent."""

    venue: Name
    symbol: Name
    bids: Levels
    asks: Levels
    ts_ns: TimeNs = 0
    deadline_ms: DeadlineMs | UnsetType = UNSET


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """A tick of one level a side; a side without a price is empty."""

    venue: Name
    symbol: Name
    bid: float | UnsetType = UNSET
    bid_size: float | UnsetType = UNSET
    ask: float | UnsetType = UNSET
    ask_size: float | UnsetType = UNSET
    ts_ns: TimeNs = 0
    deadline_ms: DeadlineMs | UnsetType = UNSET

    def question(self) -> Question:
        """The same as a body would say it."""
        bids, asks = _side("bid", self.bid, self.bid_size), _side("ask", self.ask, self.ask_size)
        return Question(self.venue, self.symbol, bids, asks, self.ts_ns, self.deadline_ms)


EXAMPLE = {"venue": "EX1", "symbol": "BTC/USDT", "bids": [[99.0, 5.0]], "asks": [[100.0, 4.0], [100.5, 9.0]]}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A decision; null where a value has no meaning. The names and units of the decisions file."""

    approved: bool
    reason: str | None
    buy_venue: str | None
    sell_venue: str | None
    gross_edge_bps: float | None
    fee_bps: float | None
    slippage_bps: float | None
    net_edge_bps: float | None
    quantity: float | None
    buy_limit: float | None
    sell_limit: float | None
    config_version: str
    held_ns: int


def question_of(body: bytes) -> Question:
    """The tick of a request's body; ProblemError says what is wrong with it."""
    try:
        content = orjson.loads(body)
        if isinstance(content, dict) and isinstance(time_ns := content.get("ts_ns"), float) and time_ns.is_integer():
            content["ts_ns"] = int(time_ns)  # JSON knows one kind of number
        return msgspec.convert(content, Question)
    except orjson.JSONDecodeError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
    except msgspec.ValidationError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is no tick: {error}") from None


def question_in(query: Sequence[tuple[str, str]]) -> Question:
    """The tick of a request's query; ProblemError says what is wrong with it."""
    values = dict(query)
    if len(values) < len(query):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the query names a parameter twice")
    try:
        return msgspec.convert(values, Query, strict=False).question()
    except msgspec.ValidationError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the query is no tick: {error}") from None


async def evaluate(hub: Hub, question: Question) -> Evaluation:
    """The hub's decision on a tick, within the caller's deadline and the hub's."""
    received_ns = time.monotonic_ns()
    deadline_ms = question.deadline_ms
    deadline_ns = None if deadline_ms is UNSET else int(deadline_ms * 1e6)
    found = await judged(hub, _tick(hub, question), deadline_ns)
    if found is None:
        raise ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "the tick could not be judged; the hub's log says why")
    return _evaluation(hub, found, time.monotonic_ns() - received_ns)


def answered(evaluation: Evaluation, *, by_status: bool) -> Response:
    """As a response; `by_status`: 403 where it is rejected, for whoever looks at nothing else."""
    rejected = by_status and not evaluation.approved
    headers: Mapping[str, str] = {
        "X-Arbhub-Reason": quote(evaluation.reason or "APPROVED", safe=":"),  # engines may call theirs anything
        "X-Arbhub-Config-Version": evaluation.config_version,
    }
    status = HTTPStatus.FORBIDDEN if rejected else HTTPStatus.OK
    return Response(orjson.dumps(evaluation), status, headers, "application/json")


def _side(name: str, price: float | UnsetType, size: float | UnsetType) -> tuple[Level, ...]:
    if price is UNSET and size is UNSET:
        return ()
    if price is UNSET or size is UNSET:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the query is no tick: {name} and {name}_size go together")
    return ((price, size),)


def _tick(hub: Hub, q: Question) -> Tick:
    bids, asks = _columns(q.bids), _columns(q.asks)
    try:
        return tick_of(hub, q.venue, q.symbol, q.ts_ns, bids, asks)
    except UnknownNameError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from None


def _columns(levels: Sequence[Level]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(price for price, _ in levels), tuple(size for _, size in levels)


def _evaluation(hub: Hub, found: Judged, held_ns: int) -> Evaluation:
    d = found.decision

    def venue(number: int) -> str | None:
        return None if number == NO_VENUE else hub.universe.venues[number]

    def known(value: Any) -> float | None:
        return value if math.isfinite(value) else None

    return Evaluation(
        d.approved,
        hub.reasons.names[d.reason] or None,
        venue(d.buy_venue),
        venue(d.sell_venue),
        known(d.gross_edge_bps),
        known(d.fee_bps),
        known(d.slippage_bps),
        known(d.net_edge_bps),
        known(d.quantity),
        known(d.buy_limit),
        known(d.sell_limit),
        found.version,
        held_ns,
    )
