"""The `[sandbox]` section: which venues the local exchange plays, and what moves their books."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from arbhub.reference import split_symbol
from arbhub.settings.section import Amount, HostPort, Names, Section

# What the wire shows of prices and sizes are eight decimals, so nothing below that can be told apart.
Step = Annotated[float, Field(ge=1e-8, allow_inf_nan=False)]


class InstrumentSettings(Section):
    """One instrument, listed alike on every venue. `price` is where a simulation starts."""

    price: Step = 100.0
    tick_size: Step = 0.01
    lot_size: Step = 0.00001
    min_notional: Amount = 5.0


class SimulationSettings(Section):
    """A common random walk, and a deviation of each venue from it that keeps returning to zero."""

    volatility_bps: Amount = 3.0
    """Standard deviation of the common price over one second."""
    edge_bps: Amount = 12.0
    """Standard deviation of a venue's deviation: edges between two venues are about this size."""
    edge_half_life_ms: Step = 2000.0
    """How fast a deviation, and with it an edge, goes away."""
    spread_bps: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Distance of the best ask from the best bid, before rounding to levels."""
    level_gap_bps: Annotated[float, Field(gt=0, le=100)] = 0.5
    """Distance between levels, of the start price."""
    level_notional: Step = 2000.0
    """About how much lies on a level, in quote currency."""
    levels: Annotated[int, Field(ge=1, le=1000)] = 40


class OffsetSettings(Section):
    """How one venue's playback differs from the recording."""

    delay_ms: Amount = 0.0
    price_bps: Annotated[float, Field(gt=-5000, lt=5000)] = 0.0
    """Added to every price, in bps of the recording's first mid-price, rounded to the tick."""


class PlaybackSettings(Section):
    """Raw recordings of Binance's combined stream, played on every venue with an offset each."""

    files: Mapping[str, Annotated[Path, Strict(False)]] = {}
    """A recording for each symbol."""
    offsets: Mapping[str, OffsetSettings] = {}
    """For each venue; one that is not named here has none."""
    loop: bool = True
    """At the end of the recording, begin again; false: fall silent, with the last book standing."""


_INSTRUMENTS = {
    "BTC/USDT": InstrumentSettings(price=60_000.0, tick_size=0.01, lot_size=0.00001),
    "ETH/USDT": InstrumentSettings(price=2_700.0, tick_size=0.01, lot_size=0.0001),
}


class SandboxSettings(Section):
    """A local exchange of several venues, each under its own path, such as http://HOST:PORT/EX1/api/v3."""

    listen: HostPort = "127.0.0.1:7409"
    venues: Names = ("EX1", "EX2", "EX3")
    instruments: Mapping[str, InstrumentSettings] = _INSTRUMENTS
    mode: Literal["simulated", "playback"] = "simulated"
    interval_ms: Annotated[float, Field(ge=1, le=60_000)] = 100.0
    """How often the books move and updates are sent."""
    seed: Annotated[int, Field(ge=0)] = 1
    simulation: SimulationSettings = SimulationSettings()
    playback: PlaybackSettings = PlaybackSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for symbol in self.instruments:
            split_symbol(symbol)
        if not self.venues or any(not name or "/" in name for name in self.venues):
            raise ValueError("venues: at least one name, none of them empty or with a / in it")
        if len(set(self.venues)) < len(self.venues):
            raise ValueError("venues: each name at most once")
        if not self.instruments:
            raise ValueError("instruments: at least one")
        if self.mode == "playback" and not self.playback.files:
            raise ValueError('mode = "playback" needs playback.files: a recording for at least one symbol')
        self._check_names("playback.files", self.playback.files, self.instruments)
        self._check_names("playback.offsets", self.playback.offsets, self.venues)
        return self

    @staticmethod
    def _check_names(key: str, names: Mapping[str, object], known: "Mapping[str, object] | Names") -> None:
        for name in names:
            if name not in known:
                raise ValueError(f"{key}: {name} is not known, allowed are {', '.join(known)}")
