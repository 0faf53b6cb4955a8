"""[engines.*]: one section an engine, in the order in which verdicts are folded.

Engines whose `place` is the same HOST:PORT, to the letter, share one process and one stream from the hub.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from arbhub.settings.section import Amount, Limit, Positive, Section, _address

IN_PROCESS = "in-process"


def _place(text: str) -> str:
    if text == IN_PROCESS:
        return text
    try:
        return _address(text)
    except ValueError as error:
        raise ValueError(str(error).replace("should be", f'should be "{IN_PROCESS}",', 1)) from None


class EngineSettings(Section):
    """What every engine has: where it runs, how long it may take and what its silence means."""

    place: Annotated[str, AfterValidator(_place)] = IN_PROCESS
    on_timeout: Literal["veto", "abstain"] = "veto"
    budget_ms: Annotated[float, Field(gt=0)] | None = None
    """Its own deadline within the round's; none: the round's."""
    mode: Literal["active", "shadow", "off"] = "active"
    """shadow: it is asked and counted, but nobody waits for it and its verdict has no say; off: it is not asked."""


class SpreadSettings(EngineSettings):
    """[engines.spread]: what makes a gross edge believable."""

    max_gross_edge_bps: Limit = float("inf")
    max_leg_skew_ms: Limit = float("inf")
    min_edge_age_ms: Amount = 0.0


class FeeSettings(EngineSettings):
    """[engines.fee]: taker fees by venue, over what reference data say, and the volumes that choose tiers."""

    taker_bps: Mapping[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    volume_30d: Mapping[str, Amount] = {}


class LiquiditySettings(EngineSettings):
    """[engines.liquidity]: how much to look for, in quote currency."""

    max_notional: Positive = 5000.0


class RiskEngineSettings(EngineSettings):
    """[engines.risk]: only its place; the limits are in [risk], which the executor's gate shares."""


class EnginesSettings(Section):
    """[engines]: the order of the fields is the order of the fold."""

    spread: SpreadSettings = SpreadSettings()
    fee: FeeSettings = FeeSettings()
    liquidity: LiquiditySettings = LiquiditySettings()
    risk: RiskEngineSettings = RiskEngineSettings()

    def table(self) -> dict[str, EngineSettings]:
        """Every engine's section by name, in the order of the fold."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def voting(self) -> tuple[str, ...]:
        """The engines whose verdict counts, in the order of the fold."""
        return tuple(name for name, section in self.table().items() if section.mode == "active")

    def hosts(self) -> dict[str, tuple[str, ...]]:
        """The engines of each place outside the hub's process, in the order of the fold: one process a place."""
        hosts: dict[str, tuple[str, ...]] = {}
        for name, section in self.table().items():
            if section.place != IN_PROCESS:
                hosts[section.place] = (*hosts.get(section.place, ()), name)
        return hosts
