"""What an engine is to the hub, wherever it runs: control frames in, a verdict for every opportunity out.

An engine is pure with respect to ticks: `judge` depends on the opportunities' columns and on the control frames
so far, and changes nothing. It reads no clock, file or random number. So batches may be cut, dropped or shed
without two engines ever disagreeing about the past.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from arbhub.columns import APPROVE, REJECT, Bools, Floats, Ints, Opportunities, Verdicts
from arbhub.reference import Universe
from arbhub.rows import Answer, Opportunity, Verdict, opportunity_columns, verdict_rows
from arbhub.settings.engines import EnginesSettings
from arbhub.settings.risk import RiskSettings
from arbhub.settings.section import Section
from arbhub.state import Report, Snapshot


class EngineConfiguration(Section):
    """What an engine may read of the configuration."""

    engines: EnginesSettings = EnginesSettings()
    risk: RiskSettings = RiskSettings()


class Engine(ABC):
    """The base of every engine. The hub calls `configure`, `reference` and, where wanted, `snapshot` first."""

    name: str
    reasons: tuple[str, ...] = ()
    """Why it may reject; a verdict names one by its number, counted from 1."""
    wants_depth = False
    wants_state = False
    reads: tuple[str, ...] = ()
    """The columns of Opportunities that `judge` reads; none named: all. Elsewhere it may get no others."""

    def __init_subclass__(cls) -> None:
        """Who judges in another way does so of one row too, and reads what it likes: neither is inherited alone."""
        super().__init_subclass__()
        if "judge" in vars(cls) and "judge_row" not in vars(cls):
            cls.judge_row = Engine.judge_row  # type: ignore[method-assign]  # that is the point
        if "judge" in vars(cls) and "reads" not in vars(cls):
            cls.reads = ()

    @abstractmethod
    def configure(self, configuration: EngineConfiguration) -> None:
        """Take new settings; called again whenever they change."""

    def reference(self, universe: Universe) -> None:  # noqa: B027  # not every engine wants it
        """Take new reference data; the universe is the caller's and grows in place."""

    def snapshot(self, snapshot: Snapshot) -> None:  # noqa: B027  # not every engine wants it
        """Take the ledger's whole state; only where `wants_state`."""

    def report(self, report: Report) -> None:  # noqa: B027  # not every engine wants it
        """Take an execution report; only where `wants_state`."""

    def tried(self, configuration: EngineConfiguration, universe: Universe) -> None:
        """Raise what running with this configuration would; the engine itself feels nothing of it."""
        trial = type(self)()
        trial.configure(configuration)
        trial.reference(universe)

    @abstractmethod
    def judge(self, opportunities: Opportunities) -> Verdicts:
        """One verdict a row."""

    def judge_row(self, opportunity: Opportunity) -> Verdict | None:  # noqa: ARG002  # for those who can
        """What `judge` says, to the bit, of one row; None where only `judge` knows."""
        return None

    def judge_rows(self, rows: Sequence[Opportunity]) -> list[Verdict]:
        """What `judge` says of a few rows, at a fraction of its cost where `judge_row` knows."""
        judged = []
        try:
            for row in rows:
                verdict = self.judge_row(row)
                if verdict is None:
                    break
                judged.append(verdict)
            else:
                return judged
        except ZeroDivisionError:  # arrays make an infinity or a NaN of it
            pass
        return verdict_rows(self.judge(opportunity_columns(rows)))

    def answer(self, asked: Opportunities | list[Opportunity]) -> Answer:
        """What it says of a batch, in the form in which it is asked."""
        return self.judge_rows(asked) if isinstance(asked, list) else self.judge(asked)


def first_reason(n: int, rules: Sequence[Bools]) -> Ints:
    """The number of the first rule that holds of each row, counted from 1; 0 where none does.

    A rule without any rows holds nowhere.
    """
    reason = np.zeros(n, np.int64)
    for number in range(len(rules), 0, -1):
        rule = rules[number - 1]
        if np.count_nonzero(rule):  # mostly nowhere, and that is seen much faster than written
            reason[rule] = number
    return reason


def verdicts(reason: Ints, bps: Floats, quantity: Floats | None = None) -> Verdicts:
    """Reject where there is a reason, approve elsewhere; without `quantity` no cap."""
    cap = np.full(len(reason), np.inf) if quantity is None else quantity
    rejected = reason != 0
    verdict = np.full(len(reason), APPROVE, np.int64)
    if np.count_nonzero(rejected):
        verdict[rejected] = REJECT
    return Verdicts(verdict, reason, bps, cap)
