"""One tick put to the hub by somebody who waits for the decision: what the gRPC call and the HTTP route share."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from arbhub.rows import Decision, Tick, decision_rows
from hub.hub import Hub
from hub.replies import Decided

Levels = tuple[Sequence[float], Sequence[float]]
"""Prices and sizes of one side, best first."""


class UnknownNameError(ValueError):
    """A venue or a symbol that no reference data have named; the text says which."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, and the version of the configuration that it was made under."""

    decision: Decision
    version: str


def tick_of(hub: Hub, venue: str, symbol: str, ts_ns: int, bids: Levels, asks: Levels) -> Tick:
    """The tick in the hub's ids, no deeper than its books; `ts_ns` 0 is now. UnknownNameError as above."""
    u, depth = hub.universe, hub.books.depth
    for field, name, known in (("venue", venue, u.venue_ids), ("symbol", symbol, u.symbol_ids)):
        if name not in known:
            raise UnknownNameError(f"{field} {name!r} is not known to this hub")
    (bid_price, bid_size), (ask_price, ask_size) = ((tuple(p[:depth]), tuple(s[:depth])) for p, s in (bids, asks))
    instrument, number = u.symbol_ids[symbol], u.venue_ids[venue]
    return Tick(ts_ns or time.time_ns(), instrument, number, bid_price, bid_size, ask_price, ask_size, 0)


async def judged(hub: Hub, tick: Tick, deadline_ns: int | None) -> Judged | None:
    """The decision on a tick, within the deadline given and the hub's; None where a bug of ours kept it from any."""
    answer: asyncio.Future[Decided] = asyncio.get_running_loop().create_future()

    def reply(decided: Decided) -> None:
        if not answer.done():  # the caller may have gone
            answer.set_result(decided)

    version = hub.version  # that it is judged by, whatever is in force when it is answered
    hub.evaluate(tick, reply, deadline_ns)
    decided = decision_rows(await answer)
    return Judged(decided[0], version) if decided else None
