"""Who of those with a say is asked in a round: every engine but those whose breaker is open.

An engine that cannot be reached is none of a breaker's business: its silence is decided at once anyway, and its link
finds out by itself when it is back. A breaker is for the engine that can be asked and does not answer. One that says
hello anew may have been mended, and is tried at once. A spared engine keeps its say: its silence is what it was.
"""

from collections.abc import Sequence

import structlog

from arbhub.settings.breaker import BreakerSettings
from hub.breaker import Breaker, State
from hub.seats import Place, Seat

log = structlog.get_logger()


class Admission:
    """Gives every seat its breaker, and keeps an eye on those that are not closed."""

    def __init__(self, settings: BreakerSettings, seats: Sequence[Seat]) -> None:
        self._seats = {seat.name: seat for seat in seats}
        self._tripped: set[str] = set()
        for seat in seats:
            seat.breaker = Breaker(settings)

    def arrange(self, voting: Sequence[Place], deadline_ms: float) -> None:
        """The places where an engine has a say, and the time that a round has, from the next one on."""
        self._everyone: tuple[Sequence[str], Sequence[Place]] = (), voting
        self._deadline_ns = int(deadline_ms * 1e6)

    def spared(self, now_ns: int, deadline_ns: int | None = None) -> tuple[Sequence[str], Sequence[Place]]:
        """The engines that a round of now does not wait for, and the places to ask; `deadline_ns` as for the round."""
        if not self._tripped:
            return self._everyone
        self._tripped = {name for name in self._tripped if not self._is_well(name)}
        probing = deadline_ns is None or 2 * deadline_ns >= self._deadline_ns  # a hurried round proves nothing
        names = [name for name in self._tripped if not (probing and self._seats[name].breaker.asks(now_ns))]
        _, voting = self._everyone
        return names, [place for place in voting if not set(place.names).issubset(names)]

    def failed(self, name: str, now_ns: int) -> None:
        """An engine was asked, had the time for it, and gave no answer."""
        breaker = self._seats[name].breaker
        breaker.failed(now_ns)
        if breaker.state is State.OPEN and name not in self._tripped:
            self._tripped.add(name)
            log.warning("an engine does not answer: it is not asked for a while", engine=name)

    def introduced(self, seat: Seat) -> None:
        """An engine has said hello."""
        seat.breaker.untried()

    def _is_well(self, name: str) -> bool:
        if self._seats[name].breaker.state is not State.CLOSED:
            return False
        log.info("an engine answers again", engine=name)
        return True
