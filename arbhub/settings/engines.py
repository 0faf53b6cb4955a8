"""[engines.*]: one section an engine, in the order in which verdicts are folded.

Engines whose `place` is the same, to the letter, share processes and a stream each from the hub. A place that is a
list, or whose host name has several addresses, is one of replicas: a process each, among which the hub spreads what it
asks. Only engines that need no ledger's state may have them.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from arbhub.settings.section import Amount, Limit, Positive, Section, _address

IN_PROCESS = "in-process"
MAX_REPLICAS = 64  # that a list may name: every one of them takes a stream of the hub


def _place(text: str) -> str:
    if text == IN_PROCESS:
        return text
    try:
        return _address(text)
    except ValueError as error:
        raise ValueError(str(error).replace("should be", f'should be "{IN_PROCESS}",', 1)) from None


def _replicas(place: Any) -> str | tuple[str, ...]:
    """A list of one is its one. Checked here, as pydantic would complain once for each type that it may be."""
    if isinstance(place, str):
        return _place(place)
    if not (isinstance(place, list | tuple) and all(isinstance(address, str) for address in place)):
        raise ValueError(f'should be "{IN_PROCESS}", "HOST:PORT", or a list of addresses, one a replica')
    if not 1 <= len(place) <= MAX_REPLICAS:
        raise ValueError(f"should be a list of 1 to {MAX_REPLICAS} addresses, one a replica")
    twice = [address for address in place if place.count(address) > 1]
    if twice:
        raise ValueError(f"should be a list of different addresses, but {twice[0]} is there more than once")
    for address in place:
        _address(address)
    return tuple(place) if len(place) > 1 else place[0]


def is_name(address: str) -> bool:
    """Whether an address has a host name that may stand for several machines."""
    if address == IN_PROCESS or address.startswith("unix:"):
        return False
    host = address.rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost"
    return False


class EngineSettings(Section):
    """What every engine has: where it runs, how long it may take and what its silence means."""

    stateless: ClassVar[bool] = False
    """Whether its verdicts need none of the ledger's state, so that it may have replicas."""
    place: Annotated[str | tuple[str, ...], BeforeValidator(_replicas)] = IN_PROCESS
    on_timeout: Literal["veto", "abstain"] = "veto"
    budget_ms: Annotated[float, Field(gt=0)] | None = None
    """Its own deadline within the round's; none: the round's."""
    mode: Literal["active", "shadow", "off"] = "active"
    """shadow: it is asked and counted, but nobody waits for it and its verdict has no say; off: it is not asked."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it runs, as stated: one address, or one a replica."""
        return (self.place,) if isinstance(self.place, str) else self.place

    @property
    def where(self) -> str:
        """The same as a text, by which places are told apart."""
        return ", ".join(self.addresses)


class SpreadSettings(EngineSettings):
    """[engines.spread]: what makes a gross edge believable."""

    stateless: ClassVar[bool] = True
    max_gross_edge_bps: Limit = float("inf")
    max_leg_skew_ms: Limit = float("inf")
    min_edge_age_ms: Amount = 0.0


class FeeSettings(EngineSettings):
    """[engines.fee]: taker fees by venue, over what reference data say, and the volumes that choose tiers."""

    stateless: ClassVar[bool] = True
    taker_bps: Mapping[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    volume_30d: Mapping[str, Amount] = {}


class LiquiditySettings(EngineSettings):
    """[engines.liquidity]: how much to look for, in quote currency."""

    stateless: ClassVar[bool] = True
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
        """The engines of each place outside the hub's process, in the order of the fold; all of them in a process."""
        hosts: dict[str, tuple[str, ...]] = {}
        for name, section in self.table().items():
            if section.place != IN_PROCESS:
                hosts[section.where] = (*hosts.get(section.where, ()), name)
        return hosts

    def may_have_replicas(self, where: str) -> bool:
        """Whether none of the engines of a place needs state."""
        table = self.table()
        return all(table[name].stateless for name in self.hosts()[where])

    def contradictions(self) -> Iterator[str]:
        """What must not be of replicas, each as "dotted.key: what is allowed"."""
        holders: dict[str, tuple[str, str]] = {}
        for name, section in self.table().items():
            key, replicas = f"engines.{name}.place", len(section.addresses)
            if replicas > 1 and not section.stateless:
                yield (
                    f"{key}: is a list of {replicas}, but {name} judges by the ledger's state and has one replica "
                    f'only: one "HOST:PORT" is allowed'
                )
            for address in section.addresses if section.place != IN_PROCESS else ():
                holder, where = holders.setdefault(address, (name, section.where))
                if where != section.where:
                    yield (
                        f"{key}: has {address} as engines.{holder}.place has, but not the same list: engines that "
                        f"share a process share all of them"
                    )
