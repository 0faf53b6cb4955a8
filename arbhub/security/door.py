"""The bearer token in front of an HTTP port: the same check and trail as in front of a gRPC port, as HTTP statuses."""

import asyncio
from http import HTTPStatus

from arbhub.security.audit import Audit
from arbhub.security.bearer import Access, Bearer

STATUSES = {Access.WRONG: HTTPStatus.UNAUTHORIZED, Access.LIMITED: HTTPStatus.TOO_MANY_REQUESTS}


class TokenDoor:
    """Says who is not let in. Its refusals are written down without holding up the answer; `rest` waits for them."""

    def __init__(self, bearer: Bearer, audit: Audit) -> None:
        self._bearer, self._audit = bearer, audit
        self._under_way: set[asyncio.Task[None]] = set()

    def refusal(self, peer: str, authorization: str | None) -> HTTPStatus | None:
        """None lets in who sent this Authorization header from the address `peer`; otherwise 401 or 429."""
        access = self._bearer.check(authorization, peer)
        if access is Access.WRONG:  # attempts beyond the rate are counted, not written down one by one
            said = self._audit.record(
                who=f"from {peer}", what="HTTP", outcome="refused: no valid token", unheard=self._bearer.limited
            )
            task = asyncio.get_running_loop().create_task(said)
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return STATUSES.get(access)

    async def rest(self) -> None:
        """Until every refusal so far is written down."""
        await asyncio.gather(*self._under_way)
