"""The `[feed]` section: where ticks come from, and whether they are recorded."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, Strict, model_validator

from arbhub.reference import split_symbol
from arbhub.settings.secret import SecretUrl
from arbhub.settings.section import Address, Amount, File, Limit, Section


def _symbol(value: str) -> str:
    split_symbol(value)
    return value


Symbols = Annotated[tuple[Annotated[str, AfterValidator(_symbol)], ...], Strict(False)]
Duration = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class FeedVenue(Section):
    """One live venue. Several venues may be of the same exchange with different addresses."""

    exchange: Annotated[str, Field(min_length=1)]
    """The ccxt id, such as "binance"."""
    rest_url: SecretUrl | None = None
    """Stands in for every REST address of the exchange, version path included."""
    ws_url: SecretUrl | None = None
    """Stands in for every websocket address of the exchange."""
    symbols: Symbols = ()
    """Instruments of this venue; empty: those of the feed."""
    options: Annotated[Mapping[str, Any], Field(repr=False)] = {}
    """Handed to ccxt as its `options`; there may be keys among them."""


class BackoffSettings(Section):
    """How long a broken stream waits before the next try: from `first_ms`, doubling, up to `max_ms`."""

    first_ms: Duration = 100.0
    max_ms: Duration = 10_000.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.first_ms > self.max_ms:
            raise ValueError(f"first_ms ({self.first_ms:g}) is more than max_ms ({self.max_ms:g})")
        return self


class RecordSettings(Section):
    """Recording of everything the feed sees, as captures in a directory."""

    directory: File
    max_bytes: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024
    """Size on disk at which the next file is begun."""
    max_seconds: Duration = 3600.0
    """Span of time, by the updates' clock, at which the next file is begun."""
    flush_seconds: Amount = 1.0
    """What a killed process loses at most."""


class FeedSettings(Section):
    """Where ticks come from: `venues` through ccxt, or `captures` played back."""

    listen: Address = "127.0.0.1:7400"
    """Where the feed answers health checks."""
    source: Literal["ccxt", "replay"] = "ccxt"
    symbols: Symbols = ()
    venues: Mapping[str, FeedVenue] = {}
    silent_after_ms: Duration = 10_000.0
    """A stream without an update for this long is published as an empty book."""
    max_feed_delay_ms: Limit = float("inf")
    """A book this much older by its venue's own clock goes out as an empty one."""
    reload_markets_s: Duration = 3600.0
    keep_alive_ms: Duration = 10_000.0
    """Websocket pings at least this often: two unanswered ones break the connection."""
    backoff: BackoffSettings = BackoffSettings()
    captures: Annotated[tuple[File, ...], Strict(False)] = ()
    pace: Annotated[float, Field(gt=0)] = 1.0
    """Speed of a replay: 2 is twice as fast as recorded, inf as fast as possible."""
    restamp: bool = True
    """Whether a replay stamps updates with the present time; false keeps the recorded times."""
    skip_bad: bool = False
    record: RecordSettings | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "replay" and not self.captures:
            raise ValueError('source = "replay" needs captures: a list of at least one file')
        if self.source == "replay" and self.venues:
            raise ValueError('source = "replay" allows no venues: they are read from the captures')
        if self.source == "ccxt" and self.captures:
            raise ValueError('source = "ccxt" allows no captures: use source = "replay" to play them')
        bare = [name for name, venue in self.venues.items() if not (venue.symbols or self.symbols)]
        if bare:
            raise ValueError(f"venues.{bare[0]}: no symbols: name them there or in the feed's own symbols")
        if "" in self.venues:
            raise ValueError("venues: a venue's name is at least one character")
        return self
