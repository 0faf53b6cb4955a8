"""The whole configuration: every section, its defaults, and what must hold between sections."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, Strict, model_validator

from arbhub.columns import MAX_LEVELS
from arbhub.reference import FeeSchedule, FeeTier, Listing, ReferenceData, split_symbol
from arbhub.settings.breaker import BreakerSettings
from arbhub.settings.engines import EnginesSettings
from arbhub.settings.feed import FeedSettings
from arbhub.settings.notify import NotifySettings
from arbhub.settings.redis import RedisSettings
from arbhub.settings.risk import RiskSettings
from arbhub.settings.sandbox import SandboxSettings
from arbhub.settings.secret import SecretUrl
from arbhub.settings.section import Address, AddressOrNone, Amount, Count, File, HostPortOrNone, Limit, Section
from arbhub.settings.tls import TlsSettings
from arbhub.settings.traces import TracesSettings

DAY_MS = 86_400_000.0  # a time that is added to others has to end
Fee = Annotated[float, Field(allow_inf_nan=False)]


class HubSettings(Section):
    """[hub]: the deadline, what makes a book usable, and the bounds of its queues."""

    listen: Address = "127.0.0.1:7401"
    http_listen: HostPortOrNone = "127.0.0.1:7408"
    """Where health, metrics and the routes of docs/gateway.md are served; "": nowhere."""
    deadline_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    max_quote_age_ms: Limit = 10_000.0
    min_net_edge_bps: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    depth: Annotated[int, Field(ge=1, le=MAX_LEVELS)] = 20
    decision_ttl_ms: Annotated[float, Field(gt=0, le=DAY_MS)] = 1000.0
    """How long after its tick an approved decision may still be sent."""
    window: Annotated[int, Field(ge=1, le=16)] = 1
    """Batches on a link that may be unanswered."""
    max_batch_ticks: Annotated[int, Field(ge=1, le=65536)] = 4096
    max_queue_ticks: Count = 16384
    admin_listen: AddressOrNone = "127.0.0.1:7407"
    """Where `arbhub admin` finds the hub; empty: nowhere."""
    state_dir: str = ".arbhub"
    """A folder for the committed configurations and the trading state; empty: remembered until the hub ends."""
    rehearsal_ticks: Annotated[int, Field(ge=0, le=65536)] = 2000
    """About how many of the latest ticks are kept, for a new configuration to be tried on."""
    token_file: File | None = None
    """The bearer token that admin and HTTP callers need; without it these ports are for this machine alone."""
    audit_file: File | None = None
    """Where admin acts are written down, besides the log."""
    breaker: BreakerSettings = BreakerSettings()


class ExecutorSettings(Section):
    """[executor]: how approved decisions are traded and where that is written down."""

    listen: Address = "127.0.0.1:7406"
    trading_mode: Literal["paper", "live"] = "paper"
    latency_ms: Amount = 50.0
    ledger_url: SecretUrl = SecretUrl("sqlite:///arbhub-ledger.db")
    balances: Mapping[str, Mapping[str, Amount]] = {}
    """A table a venue, asset = amount. Empty: unlimited. A venue or asset not named beside others has nothing."""
    flatten_attempts: Count = 10
    """How often what a partial leg left open is traded back, each time at a new book, before it stays a position."""


class ListingSettings(Section):
    """[reference.listings.VENUE."BASE/QUOTE"]: what is known of an instrument on a venue."""

    tick_size: Amount = 0.0
    lot_size: Amount = 0.0
    min_quantity: Amount = 0.0
    min_notional: Amount = 0.0
    maker_bps: Fee | None = None
    taker_bps: Fee | None = None
    active: bool = True
    max_quantity: Limit = float("inf")
    """Of one order, in base currency."""


class TierSettings(Section):
    """One fee tier, from `min_volume` (30 days) upwards."""

    min_volume: Amount = 0.0
    maker_bps: Fee
    taker_bps: Fee


class ReferenceSettings(Section):
    """[reference]: reference data that no feed states, for replays and overrides."""

    listings: Mapping[str, Mapping[str, ListingSettings]] = {}
    tiers: Mapping[str, Annotated[tuple[TierSettings, ...], Strict(False)]] = {}

    def data(self) -> ReferenceData:
        """As reference data."""
        listings = [
            Listing(venue, symbol, **listing.model_dump())
            for venue, symbols in self.listings.items()
            for symbol, listing in symbols.items()
        ]
        schedules = [
            FeeSchedule(venue, tuple(FeeTier(**tier.model_dump()) for tier in tiers))
            for venue, tiers in self.tiers.items()
        ]
        return ReferenceData(listings=tuple(listings), schedules=tuple(schedules))


class Settings(Section):
    """The configuration file."""

    hub: HubSettings = HubSettings()
    engines: EnginesSettings = EnginesSettings()
    risk: RiskSettings = RiskSettings()
    executor: ExecutorSettings = ExecutorSettings()
    feed: FeedSettings = FeedSettings()
    sandbox: SandboxSettings = SandboxSettings()
    reference: ReferenceSettings = ReferenceSettings()
    redis: RedisSettings = RedisSettings()
    notify: NotifySettings = NotifySettings()
    tls: TlsSettings = TlsSettings()
    traces: TracesSettings = TracesSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        problems = list(self._contradictions())
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _contradictions(self) -> Iterator[str]:
        """Each as "dotted.key: what is allowed", the form the loader reports."""
        yield from self.engines.contradictions()
        for name, engine in self.engines.table().items():
            if engine.on_timeout != "veto":
                yield (
                    f'engines.{name}.on_timeout: is "{engine.on_timeout}", but a built-in engine that is silent '
                    f'must not let trades through: only "veto" is allowed'
                )
            if engine.budget_ms is not None and engine.budget_ms > self.hub.deadline_ms:
                yield (
                    f"engines.{name}.budget_ms: is {engine.budget_ms:g}, but an engine's budget must be at most "
                    f"the round's deadline, hub.deadline_ms = {self.hub.deadline_ms:g}"
                )
        if self.engines.risk.mode != "active":
            mode = self.engines.risk.mode
            yield f'engines.risk.mode: is "{mode}", but risk always has its say: only "active" is allowed'
        yield from self._unknown_equity()
        for venue, symbols in self.reference.listings.items():
            for symbol in symbols:
                try:
                    split_symbol(symbol)
                except ValueError as error:
                    yield f"reference.listings.{venue}: {error}"

    def _unknown_equity(self) -> Iterator[str]:
        """Where the starting equity is not known that risk.risk_limit is a fraction of."""
        if math.isinf(self.risk.risk_limit):
            return
        said = f"risk.risk_limit: is {self.risk.risk_limit:g}, a fraction of the starting equity, but executor.balances"
        held = {asset for assets in self.executor.balances.values() for asset, amount in assets.items() if amount > 0}
        if not self.executor.balances:
            yield f"{said} are unlimited: name what each venue starts with, or use inf here"
            return
        for quote in sorted(self._quote_assets() - held):
            yield f"{said} name no {quote}, which instruments of this configuration are traded in"

    def _quote_assets(self) -> set[str]:
        """Of every instrument that is named anywhere and is one."""
        symbols = {*self.feed.symbols, *(s for venue in self.feed.venues.values() for s in venue.symbols)}
        symbols |= {symbol for listed in self.reference.listings.values() for symbol in listed}
        return {symbol.partition("/")[2] for symbol in symbols if "/" in symbol}

    def decision_content(self) -> dict[str, Any]:
        """What decisions depend on: everything but places, addresses, deadlines and queues."""
        engines = {
            name: section.model_dump(exclude={"place", "on_timeout", "budget_ms"})
            for name, section in self.engines.table().items()
        }
        hub = self.hub.model_dump(include={"max_quote_age_ms", "min_net_edge_bps", "depth"})
        executor = self.executor.model_dump(include={"trading_mode", "latency_ms", "balances"})
        risk, reference = self.risk.model_dump(), self.reference.model_dump()
        return {"hub": hub, "engines": engines, "risk": risk, "executor": executor, "reference": reference}

    def version(self, number: int = 1) -> str:
        """A rising number and the hash of what decisions depend on, such as "1-5f0c9a1e"."""
        content = orjson.dumps(self.decision_content(), option=orjson.OPT_SORT_KEYS, default=str)
        # orjson writes inf as null, which no limit otherwise is: distinct settings stay distinct.
        return f"{number}-{hashlib.sha256(content).hexdigest()[:8]}"
