"""How the HTTP port says no: an RFC 9457 problem with one sentence for whoever can mend it."""

from http import HTTPStatus
from typing import Any

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

PROBLEM_TYPE = "application/problem+json"

log = structlog.get_logger()


class ProblemError(Exception):
    """A request that is not answered as it was meant. `reasons`: where there are several, each a sentence."""

    def __init__(self, status: HTTPStatus, detail: str, reasons: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.reasons = status, detail, reasons


def problem(status: int, detail: str, reasons: list[str] | None = None) -> Response:
    """The answer; `reasons` only where there are any."""
    title = HTTPStatus(status).phrase
    content: dict[str, Any] = {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
    if reasons is not None:
        content["reasons"] = reasons
    return Response(orjson.dumps(content), status, media_type=PROBLEM_TYPE)


def on_error(request: Request, error: Exception) -> Response:
    """The answer to what a handler or the routing raised. Whatever was not meant as an answer is a bug of ours."""
    if isinstance(error, ProblemError):
        return problem(error.status, error.detail, error.reasons)
    if isinstance(error, HTTPException):
        return _unrouted(request, error)
    if isinstance(error, ClientDisconnect):  # nobody reads this
        return problem(HTTPStatus.BAD_REQUEST, "the request ended before it was whole")
    log.error("a request could not be answered", path=request.url.path, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the hub failed to answer; its log says why")


def _unrouted(request: Request, error: HTTPException) -> Response:
    said = {
        HTTPStatus.NOT_FOUND: f"there is nothing at {request.url.path}: /openapi.json lists what there is",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not for {request.url.path}",
    }
    answer = problem(error.status_code, said.get(HTTPStatus(error.status_code), error.detail))
    answer.headers.update(error.headers or {})
    return answer


ON_ERROR = dict.fromkeys((ProblemError, HTTPException, ClientDisconnect, Exception), on_error)
