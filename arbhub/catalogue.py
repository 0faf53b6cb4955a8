"""Reference data as entries of a store of keys and values: one entry a listing, fee schedule, venue state or
correction. Pure: the store itself is `arbhub.registry`.

    PREFIXlisting:VENUE:SYMBOL      what a feed's market load says of an instrument on a venue
    PREFIXschedule:VENUE            its fee tiers
    PREFIXvenue:VENUE               whether it may be traded on: an operator's word
    PREFIXcorrection:VENUE:SYMBOL   an operator's figures over the feed's; one without any takes an earlier one back

Values are JSON and name what they are about; a value under another's key is refused. Names in keys are
percent-encoded but for "/", so no two entries share a key.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from arbhub.reference import FeeSchedule, FeeTier, Listing, VenueState, split_symbol

MAX_VALUE_BYTES = 1 << 16
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Entry = tuple[bytes, bytes]
"""(key, value)"""


class BadEntryError(ValueError):
    """An entry that cannot be used; the text names its key and says why."""


class RegistryDownError(Exception):
    """The store cannot be reached, or refuses; the text says where and why, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Figures of a listing that count instead of what feeds state, by the names of Listing's fields."""

    venue: str
    symbol: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def of(self, listing: Listing) -> Listing:
        """The listing as corrected."""
        return replace(listing, **self.figures)


Fact = Listing | FeeSchedule | VenueState | Correction


class _Listing(msgspec.Struct, omit_defaults=True):
    venue: Name
    symbol: Name
    tick_size: Amount
    lot_size: Amount
    min_quantity: Amount
    min_notional: Amount
    active: bool
    maker_bps: float | None = None
    taker_bps: float | None = None
    max_quantity: Amount | None = None

    def fact(self) -> Listing:
        figures = msgspec.structs.asdict(self)
        return Listing(**figures | {"max_quantity": math.inf if self.max_quantity is None else self.max_quantity})


class _Tier(msgspec.Struct):
    min_volume: Amount
    maker_bps: float
    taker_bps: float


class _Schedule(msgspec.Struct):
    venue: Name
    tiers: Annotated[list[_Tier], msgspec.Meta(max_length=256)]

    def fact(self) -> FeeSchedule:
        return FeeSchedule(self.venue, tuple(FeeTier(t.min_volume, t.maker_bps, t.taker_bps) for t in self.tiers))


class _State(msgspec.Struct):
    venue: Name
    state: Name

    def fact(self) -> VenueState:
        return VenueState(self.venue, self.state)


class _Correction(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Unlike elsewhere a field that is not known is a typing error, and no newer writer's."""

    venue: Name
    symbol: Name
    tick_size: Amount | None = None
    lot_size: Amount | None = None
    min_quantity: Amount | None = None
    min_notional: Amount | None = None
    active: bool | None = None
    maker_bps: float | None = None
    taker_bps: float | None = None
    max_quantity: Amount | None = None

    def fact(self) -> Correction:
        figures = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return Correction(figures.pop("venue"), figures.pop("symbol"), figures)


_KINDS: dict[str, type[_Listing] | type[_Schedule] | type[_State] | type[_Correction]] = {
    "listing": _Listing,
    "schedule": _Schedule,
    "venue": _State,
    "correction": _Correction,
}


class Catalogue:
    """Keys and values of entries whose keys begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()
        self.channel = f"{prefix}changed"

    def entry(self, fact: Fact) -> Entry:
        """The key and the value that say it; BadEntryError where nobody could read the same from them."""
        key, value = self._key(fact), msgspec.json.encode(_stated(fact))
        if self.fact(key, value) != fact:  # JSON has no infinity and no NaN
            raise BadEntryError(f"{shown(key)}: a figure is not a finite number")
        return key, value

    def fact(self, key: bytes, value: bytes) -> Fact:
        """What an entry says; BadEntryError where that is nothing."""
        kind = key.removeprefix(self.prefix).partition(b":")[0].decode(errors="replace")
        if not key.startswith(self.prefix) or kind not in _KINDS:
            raise BadEntryError(f"{shown(key)}: no kind of entry; there are {', '.join(_KINDS)}")
        try:
            fact = msgspec.json.decode(value, type=_KINDS[kind]).fact()
            if isinstance(fact, Listing | Correction):
                split_symbol(fact.symbol)
        except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
            raise BadEntryError(f"{shown(key)}: {error}") from None
        if self._key(fact) != key:
            raise BadEntryError(f"{shown(key)}: the value belongs under {shown(self._key(fact))}")
        return fact

    def _key(self, fact: Fact) -> bytes:
        return self.prefix + ":".join(quote(part, safe="/") for part in _path(fact)).encode()


def _path(fact: Fact) -> Iterator[str]:
    kinds = {Listing: "listing", FeeSchedule: "schedule", VenueState: "venue", Correction: "correction"}
    yield kinds[type(fact)]
    yield fact.venue
    if isinstance(fact, Listing | Correction):
        yield fact.symbol


def _stated(fact: Fact) -> msgspec.Struct | Mapping[str, Any]:
    """What stands in the value; no figure is written as what JSON cannot say."""
    if isinstance(fact, Listing):
        figures = asdict(fact)
        return _Listing(**figures | {"max_quantity": None if fact.max_quantity == math.inf else fact.max_quantity})
    if isinstance(fact, Correction):
        return {"venue": fact.venue, "symbol": fact.symbol, **fact.figures}
    return asdict(fact)


def shown(key: bytes) -> str:
    """A key for a person to read."""
    return key.decode(errors="backslashreplace")[:200]
