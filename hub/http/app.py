"""The HTTP routes of a hub. What they read and decide is elsewhere; status codes are made in `hub.http` only.

/health  /ready  /metrics  /openapi.json    for whoever keeps the hub running
/v1/evaluate                                a verdict for a gateway that decides itself: docs/gateway.md
/api/logs/trades                            the ledger, newest first
/admin/reload-config                        the configured file, or another one, put into force
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.http.admin import Admin, reload
from hub.http.door import Door, Guarded
from hub.http.evaluate import answered, evaluate, question_in, question_of
from hub.http.openapi import document
from hub.http.problems import ON_ERROR, ProblemError
from hub.http.trades import TradeLog, TradePages
from hub.hub import Hub
from hub.metrics.collector import HubCollector, exposition
from hub.pulse import Pulse
from hub.readiness import details, unready

MAX_TICK_BYTES = 256 << 10
MAX_CONFIGURATION_BYTES = 1 << 20
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Backing:
    """What a hub's routes reach beyond the hub: whoever starts it has them, or has not (None)."""

    trades: TradeLog | None = None
    admin: Admin | None = None
    door: Door | None = None


class Routes:
    """The handlers. `shutdown` is set when the hub begins to end."""

    def __init__(self, hub: Hub, pulse: Pulse, backing: Backing, shutdown: asyncio.Event) -> None:
        self._hub, self._backing, self._shutdown = hub, backing, shutdown
        self._collector, self._document = HubCollector(hub, pulse), orjson.dumps(document())
        self.trades = TradePages(backing.trades)

    def application(self) -> Starlette:
        """All of them, behind the door."""
        routes = [
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
            Route("/v1/evaluate", self.evaluate, methods=["GET", "POST"]),
            Route("/api/logs/trades", self.logs_trades),
            Route("/admin/reload-config", self.reload, methods=["POST"]),
        ]
        return Starlette(
            routes=routes, middleware=[Middleware(Guarded, self._backing.door)], exception_handlers=ON_ERROR
        )

    async def health(self, _: Request) -> Response:
        """Liveness: the loop turns."""
        return _json({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        """Readiness: whether ticks can be approved, 503 and why not."""
        reasons = ["the hub is shutting down"] if self._shutdown.is_set() else unready(self._hub)
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return _json({"ready": not reasons, "reasons": reasons, "details": details(self._hub)}, status)

    async def metrics(self, _: Request) -> Response:
        """Everything counted, for Prometheus."""
        text = await exposition(self._collector)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def openapi(self, _: Request) -> Response:
        """This interface, described."""
        return Response(self._document, media_type=JSON)

    async def evaluate(self, request: Request) -> Response:
        """The decision on a tick; asked by a query, 403 stands for a reject."""
        if request.method == "POST":
            question = question_of(await _body(request, MAX_TICK_BYTES))
        else:
            question = question_in(request.query_params.multi_items())
        return answered(await evaluate(self._hub, question), by_status=request.method != "POST")

    async def logs_trades(self, request: Request) -> Response:
        """A page of the ledger."""
        return _json(await self.trades.page(request.query_params.multi_items()))

    async def reload(self, request: Request) -> Response:
        """A configuration put into force, or only tried."""
        body = await _body(request, MAX_CONFIGURATION_BYTES)
        who = f"HTTP from {request.client.host if request.client else 'unknown'}"
        return _json(await reload(self._backing.admin, body, who))


def _json(content: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(content, default=str), status, media_type=JSON)


async def _body(request: Request, limit: int) -> bytes:
    """A JSON body of at most `limit` bytes. Its type has to be said: a page in a browser cannot say it unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body should be JSON, with Content-Type: {JSON}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {limit} bytes")
    return bytes(body)
