"""The engines asked one case at a time, waiting for every verdict: what a replay judges with.

No deadline and no clock: an engine that cannot be reached is an error, not a silence, because a replay that
left verdicts out would not be one.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from arbhub.columns import Ints, Opportunities, Verdicts
from arbhub.engine import Engine
from arbhub.link import LinkOptions, batch_rows
from arbhub.reference import Universe
from arbhub.rows import Answer, verdict_columns
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import ServiceError
from arbhub.settings.schema import Settings
from arbhub.state import Report, Snapshot
from hub.assembly import Assembly
from hub.configured import Configured
from hub.policy import Ballot
from hub.reasons import ReasonTable
from hub.references import References
from hub.seating import seated
from hub.seats import Case, LocalSeat, Place, Seat

CONNECT_S = 10.0
STALL_S = 60.0


class Panel:
    """Engines at their places. Use as an async context manager: it connects, and ends the links.

    Only engines with a say are connected and asked. `references` is what they know from the start; `pause_s` goes by
    between one place's connection and the next, for whoever must not be felt.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Mapping[str, Engine],
        reasons: ReasonTable,
        connect_s: float = CONNECT_S,
        credentials: Credentials = INSECURE,
        *,
        references: References | None = None,
        pause_s: float = 0.0,
    ) -> None:
        self._reasons, self._number, self._connect_s, self._pause_s = reasons, 0, connect_s, pause_s
        self._answers: dict[str, tuple[Verdicts, Ints]] = {}
        self._missing: str | None = None
        self._references = references or References()
        self._ledger: Snapshot | None = None
        self._wake = asyncio.Event()
        self._links: dict[Place, asyncio.Task[None] | None] = {}
        rows = batch_rows(settings.hub.max_batch_ticks, settings.hub.depth)
        configured = Configured.of(settings, settings.version())
        options = LinkOptions(1, rows, 1 << 30, STALL_S, credentials=credentials)
        self._all_places, self._all_seats = seated(settings, configured, engines, self, options)
        self._hosts = settings.engines.hosts()
        self._assemble(settings)

    async def __aenter__(self) -> "Panel":
        try:
            await self._connect()
        except ServiceError:
            await self.__aexit__()
            raise
        return self

    async def adopt(self, settings: Settings) -> None:
        """Judge by these settings from the next question on; places are as they were."""
        configured = Configured.of(settings, settings.version())
        for place in self._all_places:
            place.adopt(configured)
        self._assemble(settings)
        await self._connect()

    def _assemble(self, settings: Settings) -> None:
        assembly = Assembly.of(settings.engines, self._all_places)
        self._places, self.seats = assembly.voting, [s for s in self._all_seats if s.name in assembly.asked]

    async def _connect(self) -> None:
        """Connect the places that are asked and not connected yet."""
        for place in self._places:
            if place in self._links:
                continue
            place.reference(self._references)
            self._links[place] = None
            if isinstance(place, LocalSeat):
                place.introduce()
            else:
                self._links[place] = asyncio.create_task(place.run())
                await asyncio.sleep(self._pause_s)
        try:
            async with asyncio.timeout(self._connect_s):
                while not all(seat.up for seat in self.seats):
                    await self._woken()
        except TimeoutError:
            raise ServiceError(self._unreachable(next(seat for seat in self.seats if not seat.up))) from None

    def _unreachable(self, down: Seat) -> str:
        there = " ".join(self._hosts[down.place])
        return (
            f"engine {down.name} at {down.place} cannot be reached: start it with "
            f"'arbhub engine {there} --config FILE', or set engines.{down.name}.place to \"in-process\""
        )

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in self._links.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reference(self, universe: Universe) -> None:
        """Tell new reference data."""
        self._references.universe = universe
        self._references.changed()
        for place in self._places:
            place.reference(self._references)

    def snapshot(self, snapshot: Snapshot) -> None:
        """Tell the ledger's state."""
        self._ledger = snapshot
        for place in self._places:
            place.snapshot(snapshot)

    def report(self, report: Report) -> None:
        """Tell an execution report, in effect for whatever is asked next."""
        if any(self._links.values()) and self._ledger is not None:  # only who connects anew asks for it
            self._ledger = self._ledger.after(report.values)
        for place in self._places:
            place.report(report)

    async def ask(self, opportunities: Opportunities) -> list[Ballot[Verdicts | None]]:
        """Every engine's verdicts; ServiceError where one was lost on the way."""
        self._answers, self._missing = {}, None
        self._number += 1
        if len(opportunities):
            case = Case.of(self._number, opportunities)
            for place in self._places:
                place.ask(case)
            while len(self._answers) < len(self.seats):
                if self._missing:
                    raise ServiceError(f"engine {self._missing} was lost, or answered what was not asked")
                await self._woken()
        return [Ballot(s.name, *self._answer(s), self._reasons.timeout(s.name)) for s in self.seats]

    def _answer(self, seat: Seat) -> tuple[Verdicts | None, Ints]:
        """Its verdicts, with what their reasons meant when they came."""
        return self._answers.get(seat.name, (None, seat.reason_codes))

    async def _woken(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    # What seats say.

    def verdicts(self, seat: Seat, case: Case, verdicts: Answer) -> None:
        """An engine's answer."""
        if case.number == self._number and seat in self.seats:
            columns = verdict_columns(verdicts) if isinstance(verdicts, list) else verdicts
            self._answers[seat.name] = columns, seat.reason_codes
            self._wake.set()

    def no_answer(self, seat: Seat, case: Case) -> None:
        """An engine that was lost."""
        if case.number == self._number and seat in self.seats:
            self._missing = self._missing or seat.name
            self._wake.set()

    def away(self, seat: Seat, case: Case) -> None:
        """An engine that cannot be asked is as good as lost."""
        self.no_answer(seat, case)

    def shed(self, case: Case, rows: Ints, engines: Sequence[str]) -> None:
        """Cannot be: one case at a time fits any queue."""
        raise AssertionError(f"{len(rows)} rows of case {case.number} for {engines} were shed in a replay")

    def ledger(self) -> Snapshot | None:
        """The state as of now."""
        return self._ledger

    def stated_reasons(self, seat: Seat, stated: Iterable[str]) -> None:
        """What an engine may reject for; it is there now."""
        seat.reason_codes = self._reasons.engine(tuple(stated))
        asyncio.get_running_loop().call_soon(self._wake.set)

    def due_ns(self, case: Case, engines: Sequence[str]) -> int:  # noqa: ARG002  # whoever it is
        """A replay waits for ever."""
        return 0

    def still_open(self, case: Case) -> bool:
        """Whether the case is the one being asked."""
        return case.number == self._number
