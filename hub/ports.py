"""The ports for people, admin (gRPC) and HTTP: for this machine alone, unless callers prove who they are.

What guards them is made before anything listens, so that a hub that cannot be closed as configured does not start.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from arbhub.security.audit import Audit
from arbhub.security.bearer import Bearer, bearer_of
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.security.door import TokenDoor
from arbhub.security.exposure import require_closed
from arbhub.security.guard import guards
from arbhub.settings.schema import HubSettings
from hub.admin.acts import Admin
from hub.admin.server import administered
from hub.http.app import Backing
from hub.http.port import http_port
from hub.hub import Hub


@dataclass(frozen=True, slots=True)
class Closure:
    """How the ports are closed, and where acts and refusals are written down."""

    credentials: Credentials
    bearer: Bearer | None
    audit: Audit

    @classmethod
    def of(cls, settings: HubSettings, credentials: Credentials) -> "Closure":
        """As configured; ServiceError where that leaves a port open to others."""
        bearer = bearer_of(settings.token_file)
        if settings.admin_listen:
            require_closed("hub.admin_listen", settings.admin_listen, credentials, bearer)
        if settings.http_listen:  # which speaks no TLS
            require_closed("hub.http_listen", settings.http_listen, INSECURE, bearer)
        return cls(credentials, bearer, Audit(settings.audit_file))


@contextlib.asynccontextmanager
async def operated(
    hub: Hub, admin: Admin | None, backing: Backing, closure: Closure, shutdown: asyncio.Event
) -> AsyncIterator[None]:
    """Serve both ports, as far as there are such, for as long as the block runs."""
    bearer, audit = closure.bearer, closure.audit
    door = TokenDoor(bearer, audit) if bearer else None
    listen = hub.settings.hub.admin_listen
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(audit.close)
        if door:
            stack.push_async_callback(door.rest)
        if admin:
            admin_port = administered(admin, listen, closure.credentials, guards(bearer, audit))
            await stack.enter_async_context(admin_port)
        backing = replace(backing, admin=admin or backing.admin, door=door or backing.door)
        await stack.enter_async_context(http_port(hub, backing, shutdown))
        yield
