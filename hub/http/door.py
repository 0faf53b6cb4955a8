"""Who may ask what over HTTP: the one place where a token is asked for, ahead of every route.

Without a door all routes are open, and it is for whoever binds the port to see that only this machine reaches it.
"""

from http import HTTPStatus
from ipaddress import ip_address
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.http.problems import problem

ALWAYS_OPEN = "/health"
ALWAYS_CLOSED = ("/admin/", "/api/")  # to whoever has no token; the rest is to all but this machine
SAID = {
    HTTPStatus.UNAUTHORIZED: "this needs a token: send it as 'Authorization: Bearer TOKEN'",
    HTTPStatus.FORBIDDEN: "this token is not allowed here",
    HTTPStatus.TOO_MANY_REQUESTS: "too many wrong tokens were sent: try again later",
}


class Door(Protocol):
    """Whoever knows the tokens."""

    def refusal(self, peer: str, authorization: str | None) -> HTTPStatus | None:
        """None lets in who sent this Authorization header from the address `peer`; otherwise 401, 403 or 429."""


class Guarded:
    """An application behind a door."""

    def __init__(self, app: ASGIApp, door: Door | None) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask at the door where the path is not open to whoever asks."""
        if self._door is not None and scope["type"] == "http":
            peer = (scope.get("client") or ("", 0))[0]
            if _is_closed(scope["path"], peer):
                status = self._door.refusal(peer, Headers(scope=scope).get("authorization"))
                if status is not None:
                    await _refused(status)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _is_closed(path: str, peer: str) -> bool:
    if path == ALWAYS_OPEN:
        return False
    return path.startswith(ALWAYS_CLOSED) or not _is_local(peer)


def _is_local(peer: str) -> bool:
    try:
        return ip_address(peer).is_loopback
    except ValueError:
        return False


def _refused(status: HTTPStatus) -> ASGIApp:
    answer = problem(status, SAID[status])
    if status is HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="arbhub"'
    return answer
