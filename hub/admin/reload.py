"""A new configuration in two steps: offered to everybody who is connected, then in force everywhere, or nowhere.

    offer ──every peer accepts──▶ rehearse ──▶ (written down) ──▶ commit, in one step of the event loop
      └── one refuses, or is silent ──▶ withdraw: nothing has changed

A peer that is down is not asked: the greeting of its next stream has whatever is in force then. Of an engine with
replicas each is a peer.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from arbhub.settings.schema import Settings
from hub.configured import Configured, Offering, Reason
from hub.hub import Hub
from hub.replicas import ReplicaSet, hosts_of
from hub.seats import LocalSeat

ANSWER_S = 1.0


class RefusedOfferError(Exception):
    """Why an offer cannot come into force: a sentence for each who does not take it."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(slots=True)
class Proposal:
    """One configuration on its way into force. `absent` are those who were down when it was offered."""

    hub: Hub
    settings: Settings
    version: str
    absent: list[str] = field(default_factory=list)
    _configured: Configured = field(init=False)

    def __post_init__(self) -> None:
        self._configured = Configured.of(self.settings, self.version)

    async def offer(self, answer_s: float = ANSWER_S) -> None:
        """Ask everybody who is connected; RefusedOfferError where one refuses or says nothing for so long."""
        asked: dict[str, asyncio.Future[Reason]] = {}
        reasons = [f"engine {s.name}: {why}" for s in self._locals() if (why := s.tried(self._configured.engines))]
        for name, up, offering, send in self._peers():
            if up:
                asked[name] = offering.offer(self._configured, send)
            else:
                self.absent.append(name)
        self.absent += [_named(p.names) for p in self.hub.places if isinstance(p, ReplicaSet) and not p.hosts]
        if asked:
            await asyncio.wait(asked.values(), timeout=answer_s)
        for name, answer in asked.items():
            if not answer.done():
                reasons.append(f"{name}: did not answer within {answer_s:g} s")
            elif answer.result() is None:
                self.absent.append(name)
            elif answer.result():
                reasons.append(f"{name}: {answer.result()}")
        if reasons:
            raise RefusedOfferError(reasons)

    def commit(self) -> None:
        """In force from here on, for every tick to come and for none that came before."""
        self.hub.adopt(self.settings, self._configured)

    def withdraw(self) -> None:
        """It never comes into force."""
        for _, up, offering, send in self._peers():
            if up:
                offering.withdraw(send)

    def _locals(self) -> Iterator[LocalSeat]:
        return (place for place in self.hub.places if isinstance(place, LocalSeat))

    def _peers(self) -> Iterator[tuple[str, bool, Offering, Callable[[bytes], None]]]:
        for host in hosts_of(self.hub.places):
            yield f"{_named(host.names)}{host.replica}", host.link.up, host.configuration, host.link.urgent
        trades = self.hub.trades
        yield "executor", trades.up, trades.configuration, trades.link.urgent


def _named(engines: Sequence[str]) -> str:
    return f"engine {' and '.join(engines)}"
