"""/api/logs/trades: pages of the ledger, read beside the event loop, and only so many at a time.

The hub knows no ledger: whoever starts it hands a reader in.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

from arbhub.service import ServiceError
from hub.http.problems import ProblemError

READ_S = 4.0  # at most; whatever reads on beyond that is not waited for
MAX_WAITING = 4
Id = Annotated[str, Meta(pattern="^[0-9]{1,18}-[0-9]{1,18}$", description="A trade's id: EPOCH-SEQUENCE.")]


class PageQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many trades, and (without: the newest) those before which one."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    before: Id | UnsetType = UNSET


class TradeLog(Protocol):
    """A ledger that can be read."""

    def page(self, limit: int, before: tuple[int, int] | None) -> Sequence[Mapping[str, Any]]:
        """Up to `limit` trades older than `before` (epoch, sequence), newest first, each with its `id`, as JSON values.

        ServiceError: the ledger cannot be read, and why.
        """


class TradePages:
    """A log's pages, one after the other in a thread of its own. `close` when done."""

    def __init__(self, log: TradeLog | None) -> None:
        self._log, self._waiting = log, 0
        self._thread = ThreadPoolExecutor(1, "trades")

    async def page(self, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """The page a query asks for, and as `next` what to name as `before` to get the one after it; null: none."""
        asked = _asked(query)
        if self._log is None:
            raise _unavailable("no ledger is known to this hub")
        if self._waiting >= MAX_WAITING:
            raise _unavailable("the ledger is being read by too many already: try again")
        self._waiting += 1
        try:
            read = asyncio.get_running_loop().run_in_executor(self._thread, self._log.page, asked.limit, _before(asked))
            trades = await asyncio.wait_for(read, READ_S)
        except ServiceError as error:
            raise _unavailable(str(error)) from None
        except TimeoutError:
            raise _unavailable(f"the ledger did not answer within {READ_S:g} s") from None
        finally:
            self._waiting -= 1
        return {"trades": trades, "next": trades[-1]["id"] if len(trades) == asked.limit else None}

    def close(self) -> None:
        """Begin no more reads; one under way is left to end by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _asked(query: Sequence[tuple[str, str]]) -> PageQuery:
    values = dict(query)
    if len(values) < len(query):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the query names a parameter twice")
    try:
        return msgspec.convert(values, PageQuery, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the query asks for no page: {error}") from None


def _before(asked: PageQuery) -> tuple[int, int] | None:
    if asked.before is UNSET:
        return None
    epoch, _, sequence = asked.before.partition("-")
    return int(epoch), int(sequence)


def _unavailable(why: str) -> ProblemError:
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, why)
