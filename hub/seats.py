"""Seats at the table: one an engine, whether it runs in this process (here) or behind a link (`hub.remote`).

A seat is asked about a case and tells its owner when verdicts are in, or that there will be none.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from arbhub.columns import Ints, Opportunities, Verdicts
from arbhub.engine import Engine, EngineConfiguration
from arbhub.queueing import keys
from arbhub.state import Report, Snapshot
from arbhub.wire import encode_depth, encode_opportunities
from hub.policy import sound
from hub.references import References

log = structlog.get_logger()


@dataclass(slots=True)
class Case:
    """What a round is about, encoded once for all who are asked over the wire. `keys` has one a row.

    `reason_codes` has, for each engine that answered, what its reason numbers meant when it did.
    """

    number: int
    opportunities: Opportunities
    keys: Ints
    reason_codes: dict[str, Ints] = field(default_factory=dict)
    _columns: bytes | None = None
    _depth: bytes | None = None

    @classmethod
    def of(cls, number: int, opportunities: Opportunities) -> "Case":
        """A case whose rows supersede older ones of the same instrument and pair of legs."""
        o = opportunities
        return cls(number, o, keys(o.instrument, o.buy_venue << 16 | o.sell_venue))

    def __len__(self) -> int:
        return len(self.keys)

    def cut(self, rows: Ints) -> "Case":
        """The same case with fewer rows."""
        return Case(self.number, self.opportunities.take(rows), self.keys[rows])

    def columns(self) -> bytes:
        """As OpportunityColumns."""
        if self._columns is None:
            self._columns = encode_opportunities(self.opportunities)
        return self._columns

    def depth(self) -> bytes:
        """As DepthColumns; empty where the case has no depth."""
        if self._depth is None:
            depth = self.opportunities.depth
            self._depth = encode_depth(depth) if depth else b""
        return self._depth


class Owner(Protocol):
    """Who is told what a seat has to say."""

    def verdicts(self, seat: "Seat", case: Case, verdicts: Verdicts) -> None:
        """An engine's answer to a case."""

    def no_answer(self, seat: "Seat", case: Case) -> None:
        """There will be no answer to a case."""

    def shed(self, case: Case, rows: Ints) -> None:
        """Rows of a case that were given up on the way."""

    def stated_reasons(self, seat: "Seat", reasons: Iterable[str]) -> None:
        """The engine has said why it may reject."""

    def still_open(self, case: Case) -> bool:
        """Whether anybody waits for the case."""

    def ledger(self) -> Snapshot | None:
        """The ledger's state as of now; None where it is not known."""


@dataclass(slots=True)
class Tally:
    """What a seat has done. Latencies from the asking to the answer, in nanoseconds, the latest only."""

    judged: int = 0
    rejected: int = 0
    timeouts: int = 0
    latency_ns: deque[int] = field(default_factory=lambda: deque(maxlen=4096))


class Seat(Protocol):
    """An engine as the hub sees it."""

    name: str
    place: str
    tally: Tally
    reason_codes: Ints

    @property
    def up(self) -> bool:
        """Whether it can be asked."""

    def reference(self, references: References) -> None:
        """Tell new reference data."""

    def snapshot(self, snapshot: Snapshot) -> None:
        """Tell the ledger's state anew."""

    def report(self, report: Report) -> None:
        """Tell an execution report, in order with the cases."""

    def ask(self, case: Case) -> None:
        """Ask about a case; the owner is told the outcome, at once or later."""


class LocalSeat:
    """An engine in this process: it answers before `ask` returns. One that fails to has given no answer."""

    up = True
    place = "in-process"
    reason_codes: Ints

    def __init__(self, engine: Engine, configuration: EngineConfiguration, owner: Owner) -> None:
        self.name, self.tally = engine.name, Tally()
        self._engine, self._owner = engine, owner
        self._failing = False
        engine.configure(configuration)

    def introduce(self) -> None:
        """Say the engine's reasons to the owner."""
        self._owner.stated_reasons(self, self._engine.reasons)

    def reference(self, references: References) -> None:
        """Hand the universe over."""
        self._engine.reference(references.universe)

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
        self.tally.latency_ns.append(time.monotonic_ns() - began)
        if answer is None:
            self._owner.no_answer(self, case)
        else:
            self._owner.verdicts(self, case, answer)

    def _judged(self, case: Case) -> Verdicts | None:
        """The verdicts, None where there are none; the log says once why, until the engine is well again."""
        try:
            answer = self._engine.judge(case.opportunities)
            if not sound(answer, len(case), len(self._engine.reasons)):
                raise ValueError("its verdicts are not one a row, or name what is no verdict or reason of its own")
        except Exception:
            if not self._failing:
                log.exception("engine failed", engine=self.name)
            self._failing = True
            return None
        self._failing = False
        return answer
