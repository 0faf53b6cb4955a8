"""/admin/reload-config: what an administrator is asked over HTTP, and how a refusal is answered."""

import asyncio
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from hub.admin.refused import AdminRefused
from hub.http.problems import ProblemError

RELOAD_S = 20.0


class Admin(Protocol):
    """Who puts configurations into force."""

    async def reload(self, toml: str | None, dry_run: bool, who: str) -> dict[str, Any]:
        """The text given, or (None) the configured file; what came of it. AdminRefused says why nothing did."""


class ReloadRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`toml`: a whole configuration; without it the hub reads its own file again."""

    toml: str | None = None
    dry_run: bool = False


async def reload(admin: Admin | None, body: bytes, who: str) -> dict[str, Any]:
    """What came of a reload that was asked for by `who`; ProblemError says why nothing did."""
    asked = _asked(body)
    if admin is None:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "no admin: this hub cannot change its configuration")
    try:
        async with asyncio.timeout(RELOAD_S):
            return await admin.reload(asked.toml, asked.dry_run, who)
    except AdminRefused as error:
        status = HTTPStatus.BAD_REQUEST if error.unusable else HTTPStatus.CONFLICT
        raise ProblemError(status, "refused: nothing has changed", error.reasons) from None
    except TimeoutError:
        raise ProblemError(HTTPStatus.GATEWAY_TIMEOUT, f"the reload was not over within {RELOAD_S:g} s") from None


def _asked(body: bytes) -> ReloadRequest:
    try:
        return msgspec.json.decode(body, type=ReloadRequest)
    except msgspec.ValidationError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body asks for no reload: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
