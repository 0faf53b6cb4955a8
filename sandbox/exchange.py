"""The exchange without its sockets: several venues, their books, what is asked of them and what goes wrong.

Sans-I/O: time is an argument, answers are values, updates are returned for the server to send. A fault of a
venue hides updates from its clients; the books go on moving and the snapshots stay true, as on a real
exchange whose messages are lost. Hence a client that ignores the gap shows a wrong book, and a test can tell.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import msgspec

from arbhub.settings.sandbox import SandboxSettings
from sandbox.book import Book, Change
from sandbox.playback import Playback
from sandbox.protocol import (
    DEFAULT_DEPTH,
    MAX_DEPTH,
    depth_snapshot,
    depth_update,
    exchange_info,
    market_id,
    stream_names,
)
from sandbox.simulation import Simulation

Fault = Literal["drop", "skip", "silence", "halt", "resume"]
"""drop: close all connections; skip: lose the next update of each instrument; silence: lose all updates from
now on; halt: give the markets the status BREAK; resume: end silence and halt."""
FAULTS: tuple[str, ...] = get_args(Fault)


class Source(Protocol):
    """What moves the books."""

    books: dict[tuple[str, str], Book]

    def advance(self, elapsed_ns: int) -> Iterator[Change]:
        """What changes by then; each is applied to its book before the next is taken."""


@dataclass(frozen=True, slots=True)
class Update:
    """A message for everyone on `venue` who subscribed one of `streams`."""

    venue: str
    streams: tuple[str, ...]
    data: bytes


class Request(msgspec.Struct):
    """What a client sends over the websocket."""

    method: str
    params: list[str] = msgspec.field(default_factory=list)
    id: int | str | None = None


@dataclass(slots=True)
class _Venue:
    symbols: dict[str, str]
    """The symbol of each market id."""
    streams: frozenset[str]
    silent: bool = False
    halted: bool = False
    skips: set[str] = field(default_factory=set)


class Exchange:
    """All venues of the sandbox."""

    def __init__(self, settings: SandboxSettings) -> None:
        playback = settings.mode == "playback"
        self._source: Source = Playback(settings) if playback else Simulation(settings)
        self.books = self._source.books
        listed = [symbol for symbol in settings.instruments if (settings.venues[0], symbol) in self.books]
        self._instruments = {symbol: settings.instruments[symbol] for symbol in listed}
        self._venues = {
            name: _Venue(
                {market_id(symbol): symbol for symbol in listed},
                frozenset(stream for symbol in listed for stream in stream_names(symbol)),
            )
            for name in settings.venues
        }

    def knows(self, venue: str) -> bool:
        """Whether there is such a venue."""
        return venue in self._venues

    def advance(self, elapsed_ns: int, now_ms: int) -> list[Update]:
        """Move the books on to `elapsed_ns` after the start; return what subscribers are to be sent."""
        updates = []
        for change in self._source.advance(elapsed_ns):
            first_id, last_id = self.books[change.venue, change.symbol].apply(change)
            if self._passes(self._venues[change.venue], change):
                data = depth_update(change, first_id, last_id, now_ms)
                updates.append(Update(change.venue, stream_names(change.symbol), data))
        return updates

    @staticmethod
    def _passes(venue: _Venue, change: Change) -> bool:
        skipped = change.symbol in venue.skips
        venue.skips.discard(change.symbol)
        return bool(change.bids or change.asks) and not (venue.silent or skipped)

    def exchange_info(self, venue: str, now_ms: int) -> dict[str, Any]:
        """The markets of a venue."""
        return exchange_info(self._instruments, self._venues[venue].halted, now_ms)

    def depth(self, venue: str, market: str, limit: str) -> dict[str, Any]:
        """The book of a market as of now; ValueError for what the venue would refuse."""
        symbol = self._venues[venue].symbols.get(market)
        if symbol is None:
            raise ValueError("Invalid symbol.")
        if limit and not limit.isdecimal():
            raise ValueError("Illegal characters found in parameter 'limit'.")
        count = min(int(limit or DEFAULT_DEPTH), MAX_DEPTH)
        return depth_snapshot(self.books[venue, symbol], count or DEFAULT_DEPTH)

    def request(self, venue: str, text: str, subscribed: set[str]) -> dict[str, Any]:
        """Carry out what a client asks over the websocket: changes `subscribed`, returns the answer."""
        try:
            request = msgspec.json.decode(text, type=Request)
        except msgspec.MsgspecError as error:
            return {"error": {"code": 2, "msg": f"Invalid request: {error}"}}
        unknown = [name for name in request.params if name not in self._venues[venue].streams]
        if request.method == "LIST_SUBSCRIPTIONS":
            return {"result": sorted(subscribed), "id": request.id}
        if request.method not in ("SUBSCRIBE", "UNSUBSCRIBE") or unknown:
            what = f"unknown stream {unknown[0]}" if unknown else f"unknown method {request.method}"
            return {"error": {"code": 2, "msg": f"Invalid request: {what}"}, "id": request.id}
        if request.method == "SUBSCRIBE":
            subscribed.update(request.params)
        else:
            subscribed.difference_update(request.params)
        return {"result": None, "id": request.id}

    def fault(self, venue: str, fault: str) -> None:
        """Let something go wrong at a venue, or right again; dropping connections is the server's part."""
        state = self._venues[venue]
        if fault == "skip":
            state.skips.update(self._instruments)
        elif fault == "silence":
            state.silent = True
        elif fault == "halt":
            state.halted = True
        elif fault == "resume":
            state.silent = state.halted = False
            state.skips.clear()
