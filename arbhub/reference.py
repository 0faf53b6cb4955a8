"""Reference data: which venues and instruments exist, their fees, lots, bounds, and whether they trade.

Feeds state it by name (`ReferenceData`); a `Universe` gives each name an id and keeps the figures as arrays
indexed by those ids. Ids are positions in append-only lists: once given, an id never changes its meaning.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
OPEN = "open"


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument on one venue. Sizes are in base currency, notionals in quote currency, fees in bps.

    `taker_bps` and `maker_bps` are None where the venue does not state a fee for this market: the venue's
    fee schedule is asked next, and if that is silent too the fee is unknown, never zero. `max_quantity` bounds
    one order; one that is not `active` is not traded.
    """

    venue: str
    symbol: str
    tick_size: float = 0.0
    lot_size: float = 0.0
    min_quantity: float = 0.0
    min_notional: float = 0.0
    maker_bps: float | None = None
    taker_bps: float | None = None
    active: bool = True
    max_quantity: float = math.inf


@dataclass(frozen=True, slots=True)
class FeeTier:
    """The fees from a 30-day traded volume (in the venue's own unit) upwards."""

    min_volume: float
    maker_bps: float
    taker_bps: float


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """A venue's fee tiers, ordered by `min_volume`."""

    venue: str
    tiers: tuple[FeeTier, ...]


@dataclass(frozen=True, slots=True)
class VenueState:
    """Whether a venue may be traded on: only where `state` is OPEN. One of which nothing is said is open."""

    venue: str
    state: str


@dataclass(frozen=True, slots=True)
class ReferenceData:
    """What a feed or a file knows of the market. Later statements of the same listing replace earlier ones.

    `venues` and `symbols` fix the order of ids where it matters (on the wire, ids are positions in them).
    """

    venues: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    listings: tuple[Listing, ...] = ()
    schedules: tuple[FeeSchedule, ...] = ()
    venue_states: tuple[VenueState, ...] = ()


def split_symbol(symbol: str) -> tuple[str, str]:
    """Return (base, quote) of a symbol such as "BTC/BRL"; raise ValueError where it is none."""
    base, slash, quote = symbol.partition("/")
    if not (base and slash and quote) or "/" in quote:
        raise ValueError(f'symbol {symbol!r} is not of the form "BASE/QUOTE"')
    return base, quote


@dataclass(slots=True)
class Universe:
    """Ids and figures of everything known. Arrays have shape (instruments, venues), float64.

    `listed` is False where the venue does not list the instrument. `base` and `quote` hold each instrument's asset
    ids, `base_ids` and `quote_ids` the same as arrays. `open`, of shape (venues,), says which venues may be traded on.
    `all_open`, `all_active` and `unbounded` spare who judges a look at tables that forbid nothing.
    """

    venues: list[str] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    assets: list[str] = field(default_factory=list)
    base: list[int] = field(default_factory=list)
    quote: list[int] = field(default_factory=list)
    venue_ids: dict[str, int] = field(default_factory=dict)
    symbol_ids: dict[str, int] = field(default_factory=dict)
    asset_ids: dict[str, int] = field(default_factory=dict)
    listings: dict[tuple[str, str], Listing] = field(default_factory=dict)
    schedules: dict[str, FeeSchedule] = field(default_factory=dict)
    venue_states: dict[str, VenueState] = field(default_factory=dict)
    base_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    quote_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    listed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    lot_size: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    min_quantity: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    min_notional: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    least_quantity: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """The greater of lot size and minimum quantity."""
    max_quantity: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    active: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    open: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    all_open: bool = True
    all_active: bool = True
    unbounded: bool = True

    def merge(self, data: ReferenceData) -> None:
        """Take `data` in: new names get new ids, known listings and schedules get new figures."""
        for venue in data.venues:
            self.add_venue(venue)
        for symbol in data.symbols:
            self.add_instrument(symbol)
        for listing in data.listings:
            self.add_venue(listing.venue)
            self.add_instrument(listing.symbol)
            self.listings[listing.venue, listing.symbol] = listing
        for schedule in data.schedules:
            self.add_venue(schedule.venue)
            self.schedules[schedule.venue] = schedule
        for state in data.venue_states:
            self.add_venue(state.venue)
            self.venue_states[state.venue] = state
        self._tabulate()

    def add_venue(self, venue: str) -> int:
        """Return the venue's id, given now if it had none."""
        if venue not in self.venue_ids:
            self.venue_ids[venue] = len(self.venues)
            self.venues.append(venue)
        return self.venue_ids[venue]

    def add_instrument(self, symbol: str) -> int:
        """Return the instrument's id, given now if it had none; ValueError for what is no symbol."""
        if symbol not in self.symbol_ids:
            base, quote = split_symbol(symbol)
            self.symbol_ids[symbol] = len(self.symbols)
            self.symbols.append(symbol)
            self.base.append(self._add_asset(base))
            self.quote.append(self._add_asset(quote))
        return self.symbol_ids[symbol]

    def data(self) -> ReferenceData:
        """Everything known, in an order from which another Universe derives the same ids."""
        return ReferenceData(
            tuple(self.venues),
            tuple(self.symbols),
            tuple(self.listings.values()),
            tuple(self.schedules.values()),
            tuple(self.venue_states.values()),
        )

    def _add_asset(self, asset: str) -> int:
        if asset not in self.asset_ids:
            self.asset_ids[asset] = len(self.assets)
            self.assets.append(asset)
        return self.asset_ids[asset]

    def _tabulate(self) -> None:
        shape = (len(self.symbols), len(self.venues))
        self.listed = np.zeros(shape, np.bool_)
        self.lot_size, self.min_quantity, self.min_notional = (
            np.zeros(shape),
            np.zeros(shape),
            np.zeros(shape),
        )
        self.max_quantity, self.active = np.full(shape, np.inf), np.ones(shape, np.bool_)
        for (venue, symbol), listing in self.listings.items():
            at = self.symbol_ids[symbol], self.venue_ids[venue]
            self.listed[at] = True
            self.active[at] = listing.active
            self.max_quantity[at] = listing.max_quantity
            self.lot_size[at] = listing.lot_size
            self.min_quantity[at] = listing.min_quantity
            self.min_notional[at] = listing.min_notional
        self.base_ids, self.quote_ids = np.array(self.base, np.int64), np.array(self.quote, np.int64)
        self.least_quantity = np.maximum(self.lot_size, self.min_quantity)
        closed = {state.venue for state in self.venue_states.values() if state.state != OPEN}
        self.open = np.array([venue not in closed for venue in self.venues], np.bool_)
        self.all_open, self.all_active = not closed, bool(self.active.all())
        self.unbounded = bool((self.max_quantity == np.inf).all())


def taker_table(universe: Universe, overrides: dict[str, float], volume_30d: dict[str, float]) -> Floats:
    """Taker fees in bps, shape (instruments, venues); NaN where the instrument or its fee is unknown.

    The first that is known counts: the override for the venue, the listing's own fee, the venue's tier for
    the 30-day volume given (0 where none is).
    """
    table = np.full((len(universe.symbols), len(universe.venues)), np.nan)
    for (venue, symbol), listing in universe.listings.items():
        fee = overrides.get(venue, listing.taker_bps)
        if fee is None:
            fee = tier_fee(universe.schedules.get(venue), volume_30d.get(venue, 0.0))
        if fee is not None:
            table[universe.symbol_ids[symbol], universe.venue_ids[venue]] = fee
    return table


def tier_fee(schedule: FeeSchedule | None, volume: float) -> float | None:
    """The taker fee of the highest tier that `volume` reaches, None where no tier applies."""
    reached = [tier for tier in schedule.tiers if tier.min_volume <= volume] if schedule else []
    return max(reached, key=lambda tier: tier.min_volume).taker_bps if reached else None
