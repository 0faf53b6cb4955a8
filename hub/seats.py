"""Seats at the table, one an engine, and the places where engines are asked.

An engine in this process (here) is a place of its own; a process that hosts engines behind a link (`hub.remote`) is
one place with several seats. A place is asked once about a case, and the owner is told for each of its seats when
verdicts are in, or that there will be none.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import structlog

from arbhub import rowwire, wire
from arbhub.columns import Ints, Opportunities
from arbhub.engine import Engine, EngineConfiguration
from arbhub.queueing import keys
from arbhub.reference import Universe
from arbhub.rows import Answer, Opportunity, opportunity_columns
from arbhub.state import Report, Snapshot
from hub import rowfold
from hub.breaker import Breaker
from hub.configured import Configured
from hub.references import References

log = structlog.get_logger()


class LateAnswer(NamedTuple):
    """Verdicts that came too late, what their reason numbers meant, and when they came (monotonic ns)."""

    verdicts: Answer
    reason_codes: Ints
    arrived_ns: int


@dataclass(slots=True)
class Case:
    """What a round is about, as columns or rows, encoded once for all who are asked over the wire.

    `keys` has one a row: newer rows supersede older ones of the same instrument and pair of legs.

    `reason_codes` has, for each engine that answered, what its reason numbers meant when it did. `late` has what came
    too late; None while there is nothing.
    """

    number: int
    opportunities: Opportunities | list[Opportunity]
    keys: Ints
    reason_codes: dict[str, Ints] = field(default_factory=dict)
    late: dict[str, LateAnswer] | None = None
    _columns: list[bytes] | None = None
    _depth: list[bytes] | None = None

    @classmethod
    def of(cls, number: int, asked: Opportunities | list[Opportunity]) -> "Case":
        """A case about what is asked."""
        if isinstance(asked, list):
            row_keys = [o.instrument << 32 | o.buy_venue << 16 | o.sell_venue for o in asked]
            return cls(number, asked, np.array(row_keys, np.int64))
        return cls(number, asked, keys(asked.instrument, asked.buy_venue << 16 | asked.sell_venue))

    def __len__(self) -> int:
        return len(self.keys)

    def cut(self, rows: Ints) -> "Case":
        """The same case with fewer rows."""
        asked = self.opportunities
        columns = opportunity_columns(asked) if isinstance(asked, list) else asked
        return Case(self.number, columns.take(rows), self.keys[rows])

    def columns(self, read: frozenset[str]) -> list[bytes]:
        """As OpportunityColumns in parts, those of rows whole: a few are not worth the choice."""
        asked = self.opportunities
        if isinstance(asked, list):
            self._columns = self._columns or [rowwire.encode_opportunities(asked)]
            return self._columns
        self._columns = self._columns or wire.opportunity_parts(asked)
        return wire.parts_of(self._columns, read)

    def depth(self) -> list[bytes]:
        """As DepthColumns in parts; empty where the case has no depth."""
        asked = self.opportunities
        if self._depth is None:
            if isinstance(asked, list):
                self._depth = [rowwire.encode_depth(asked)]
            else:
                self._depth = wire.depth_parts(asked.depth) if asked.depth else []
        return self._depth


class Owner(Protocol):
    """Who is told what a seat has to say."""

    def verdicts(self, seat: "Seat", case: Case, verdicts: Answer) -> None:
        """An engine's answer to a case."""

    def no_answer(self, seat: "Seat", case: Case) -> None:
        """It was asked about a case, and there will be no answer."""

    def away(self, seat: "Seat", case: Case) -> None:
        """It cannot be asked about a case."""

    def shed(self, case: Case, rows: Ints, engines: Sequence[str]) -> None:
        """Rows of a case that were given up on the way to these engines."""

    def stated_reasons(self, seat: "Seat", reasons: Iterable[str]) -> None:
        """The engine has said why it may reject."""

    def still_open(self, case: Case) -> bool:
        """Whether anybody waits for the case."""

    def due_ns(self, case: Case, engines: Sequence[str]) -> int:
        """Until when an answer of any of these engines is waited for (monotonic); 0: for ever, or not at all."""

    def ledger(self) -> Snapshot | None:
        """The ledger's state as of now; None where it is not known."""


@dataclass(slots=True)
class Tally:
    """What an engine has done. Latencies from the asking to the answer, in nanoseconds, the latest of `answers`."""

    answers: int = 0
    judged: int = 0
    rejected: int = 0
    timeouts: int = 0
    skipped: int = 0
    """Of the timeouts: what it said it did not judge, its time being up when it got to it."""
    unasked: int = 0
    """Of the timeouts: what it was not asked about, its breaker being open."""
    latency_ns: deque[int] = field(default_factory=lambda: deque(maxlen=4096))


class Seat(Protocol):
    """An engine as the hub sees it."""

    name: str
    place: str
    tally: Tally
    reason_codes: Ints
    breaker: Breaker

    @property
    def up(self) -> bool:
        """Whether it can be asked."""


class Place(Protocol):
    """Where engines run: what is told and asked there is told to and asked of all of them at once."""

    names: tuple[str, ...]
    """The engines there."""
    shadow: bool
    """Whether nobody waits for any of them."""

    async def run(self) -> None:
        """Keep the connections that it needs, until cancelled."""

    def adopt(self, configured: Configured) -> None:
        """Have them judge by a configuration whatever is asked from here on."""

    def reference(self, references: References) -> None:
        """Tell new reference data."""

    def snapshot(self, snapshot: Snapshot) -> None:
        """Tell the ledger's state anew."""

    def report(self, report: Report) -> None:
        """Tell an execution report, in order with the cases."""

    def ask(self, case: Case) -> None:
        """Ask about a case; the owner is told the outcome for each seat, at once or later."""


class LocalSeat:
    """An engine in this process: it answers before `ask` returns. One that fails to has given no answer."""

    up = True
    shadow = False
    place = "in-process"
    reason_codes: Ints
    breaker: Breaker

    def __init__(self, engine: Engine, configuration: EngineConfiguration, owner: Owner) -> None:
        self.name, self.tally = engine.name, Tally()
        self.names: tuple[str, ...] = (engine.name,)
        self._engine, self._owner = engine, owner
        self._failing = self.lost = False
        self._universe = Universe()
        engine.configure(configuration)

    def fresh(self) -> Engine:
        """Another engine of this kind, which knows nothing."""
        return type(self._engine)()

    def tried(self, configuration: EngineConfiguration) -> str:
        """Why the engine could not run with a configuration; empty: it could."""
        try:
            self._engine.tried(configuration, self._universe)
        except Exception as error:
            return str(error) or type(error).__name__
        return ""

    def adopt(self, configured: Configured) -> None:
        """Run with it from here on; an engine that fails to gives no answers until it does."""
        try:
            self._engine.configure(configured.engines)
            self.lost = False
        except Exception:
            log.exception("engine failed to take its configuration", engine=self.name)
            self.lost = True

    async def run(self) -> None:
        """It needs none."""

    def introduce(self) -> None:
        """Say the engine's reasons to the owner."""
        self._owner.stated_reasons(self, self._engine.reasons)

    def reference(self, references: References) -> None:
        """Hand the universe over."""
        self._universe = references.universe
        self._engine.reference(self._universe)

    def snapshot(self, snapshot: Snapshot) -> None:
        """Hand the state over where it is wanted."""
        if self._engine.wants_state:
            self._engine.snapshot(snapshot)

    def report(self, report: Report) -> None:
        """Hand the report over where it is wanted."""
        if self._engine.wants_state:
            self._engine.report(report)

    def ask(self, case: Case) -> None:
        """Judge now."""
        began = time.monotonic_ns()
        answer = self._judged(case)
        self.tally.answers += 1
        self.tally.latency_ns.append(time.monotonic_ns() - began)
        if answer is None:
            self._owner.no_answer(self, case)
        else:
            self._owner.verdicts(self, case, answer)

    def _judged(self, case: Case) -> Answer | None:
        """The verdicts, None where there are none; the log says once why, until the engine is well again."""
        if self.lost:
            return None
        try:
            answer = self._engine.answer(case.opportunities)
            if not rowfold.is_answer(answer, len(case), len(self._engine.reasons)):
                raise ValueError("its verdicts are not one a row, or name what is no verdict or reason of its own")
        except Exception:
            if not self._failing:
                log.exception("engine failed", engine=self.name)
            self._failing = True
            return None
        self._failing = False
        return answer
