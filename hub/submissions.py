"""A batch under decision: as columns, or, where it is short, as rows. Both ask for the same and are decided the same.

Rows are for what nearly always happens: every engine has answered and nothing was shed. Otherwise, and at any doubt,
they are turned into columns, which know every case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arbhub.columns import Decisions, Ints, Opportunities, Ticks, Verdicts
from arbhub.rows import (
    MAX_ROWS,
    Answer,
    Opportunity,
    Tick,
    Verdict,
    decision_columns,
    opportunity_columns,
    opportunity_rows,
    tick_columns,
    verdict_columns,
    verdict_rows,
)
from hub import reasons
from hub.asof import OPPORTUNITY
from hub.book import Books, Resolved
from hub.policy import Ballot, Terms, decisions, fold
from hub.replies import Decided, Reply
from hub.rowbook import ResolvedRow, RowBooks
from hub.rowfold import decide
from hub.seats import Case

Said = Sequence[Ballot[Answer | None]]
"""Every engine's ballot, its answer in either form."""


@dataclass(slots=True)
class Submission:
    """Columns. `binding`: it came over the stream, so what is approved is traded.

    `connection` is the executor's at the time: only that one knows the books that the batch was judged by. `terms`
    are those of the configuration in force then, by which engines judge it too. `received_ns` is when it came in
    (monotonic); 0 where nobody has said.
    """

    ticks: Ticks
    first_sequence: int
    resolved: Resolved
    reply: Reply
    binding: bool
    connection: int
    terms: Terms
    received_ns: int = 0
    case: Case | None = None

    def asked(self) -> Opportunities:
        """What engines are asked about."""
        return self.resolved.opportunities

    def decided(self, said: Said, shed: Sequence[Ints], terms: Terms, names: Sequence[str]) -> Decisions:
        """A decision for every tick; `shed` has rows of what was asked, `names` the reasons by code."""
        return _decided(self.ticks, self.first_sequence, self.resolved, said, shed, terms, names)


@dataclass(slots=True)
class RowSubmission:
    """Rows; otherwise as a `Submission`."""

    ticks: list[Tick]
    first_sequence: int
    resolved: list[ResolvedRow]
    reply: Reply
    binding: bool
    connection: int
    terms: Terms
    received_ns: int = 0
    case: Case | None = None

    def asked(self) -> list[Opportunity]:
        """What engines are asked about."""
        return [row.opportunity for row in self.resolved if row.opportunity is not None]

    def decided(self, said: Said, shed: Sequence[Ints], terms: Terms, names: Sequence[str]) -> Decided:
        """A decision for every tick, as above."""
        ballots: list[Ballot[list[Verdict]]] = []
        if self.case is not None:
            if shed or any(ballot.verdicts is None for ballot in said):
                ticks = tick_columns(self.ticks)
                return _decided(ticks, self.first_sequence, resolved_columns(self.resolved), said, shed, terms, names)
            for ballot in said:
                answer = ballot.verdicts
                ballots.append(ballot.of(verdict_rows(answer) if isinstance(answer, Verdicts) else answer or []))
        return decide(self.ticks, self.first_sequence, self.resolved, ballots, terms)


def resolved_columns(rows: Sequence[ResolvedRow]) -> Resolved:
    """The same of rows as columns."""
    outcome = np.array([row.outcome for row in rows], np.int64)
    asked = [row.opportunity for row in rows if row.opportunity is not None]
    return Resolved(outcome, np.nonzero(outcome == OPPORTUNITY)[0], opportunity_columns(asked))


def _decided(
    ticks: Ticks,
    first_sequence: int,
    resolved: Resolved,
    said: Said,
    shed: Sequence[Ints],
    terms: Terms,
    names: Sequence[str],
) -> Decisions:
    ballots: list[Ballot[Verdicts | None]] = []
    for ballot in said:
        answer = ballot.verdicts
        ballots.append(ballot.of(verdict_columns(answer) if isinstance(answer, list) else answer))
    folded = fold(resolved.opportunities, ballots, terms)
    for rows in shed:
        folded.reason[rows] = reasons.SHED
    return decisions((ticks, first_sequence, resolved), folded, terms, names)


def peeked(
    books: Books, row_books: RowBooks, ticks: list[Tick], reply: Reply, connection: int, terms: Terms
) -> Submission | RowSubmission:
    """Ticks to be judged each as if it came alone, leaving the books as they are; nothing of it is binding."""
    rows = [_peeked(books, row_books, tick) for tick in ticks]
    if len(rows) <= MAX_ROWS:
        return RowSubmission(ticks, 0, rows, reply, False, connection, terms)
    return Submission(tick_columns(ticks), 0, resolved_columns(rows), reply, False, connection, terms)


def _peeked(books: Books, row_books: RowBooks, tick: Tick) -> ResolvedRow:
    """By columns where it has more levels than any book so far."""
    row = row_books.peek(tick)
    if row is None:
        resolved = books.peek(tick_columns([tick]), depth=True)
        (outcome,), asked = resolved.outcome.tolist(), opportunity_rows(resolved.opportunities)
        row = ResolvedRow(outcome, asked[0] if asked else None)
    return row


def approved_of(decided: Decided, names: Sequence[str]) -> Decisions | None:
    """The approved ones among them as columns, None where there are none."""
    if isinstance(decided, list):
        approved = [row for row in decided if row.approved]
        return decision_columns(approved, names) if approved else None
    return decided.take(np.nonzero(decided.approved)[0]) if decided.approved.any() else None


def rejected_in(answer: Answer) -> int:
    """How many verdicts of an answer are rejects."""
    if isinstance(answer, list):
        return sum(verdict.reason > 0 for verdict in answer)
    return int(np.count_nonzero(answer.reason))
