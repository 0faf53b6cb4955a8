"""What the deadline costs: verdicts that come after their round was decided, and what would have been with them.

The latest rounds that were decided without an answer are kept for a while. When what they lacked has come, or their
time here is up, they are folded once more, with it, between other work; the difference is counted, and nothing else
is done with it. Rounds that are not traded on anyway are not kept: single evaluations, and while trading is restricted.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from arbhub.columns import Decisions, Ints
from arbhub.reference import Universe
from arbhub.rows import Answer
from hub.policy import Ballot, Terms
from hub.replies import Decided
from hub.rounds import Arrival, Round
from hub.seats import Case, LateAnswer, Seat
from hub.statistics import LateTally
from hub.submissions import RowSubmission, Submission, approved_of

KEPT_S = 2.0  # links give an engine up that has not answered for half as long
MAX_ROUNDS = 256
MAX_TICKS = 16384  # of all rounds that are kept

log = structlog.get_logger()


@dataclass(slots=True)
class _Kept:
    """A round that lacked answers: what it was decided from, and which decisions were approvals."""

    submission: Submission | RowSubmission
    ballots: list[Ballot[Answer | None]]
    shed: list[Ints]
    terms: Terms
    approved: Ints
    """Sequences."""
    missing: set[str]
    until_ns: int


class LateVerdicts:
    """Counts into `tally`. `names` has the reasons by code."""

    def __init__(self, tally: LateTally, names: Sequence[str], universe: Universe) -> None:
        self._tally, self._names, self._universe = tally, names, universe
        self._kept: dict[int, _Kept] = {}
        self._ticks = 0
        self._tidying = False

    def __len__(self) -> int:
        return len(self._kept)

    def keep(
        self,
        round_: Round[Submission | RowSubmission],
        ballots: list[Ballot[Answer | None]],
        terms: Terms,
        decided: Decided,
    ) -> None:
        """A round that was decided without every answer."""
        s, approved = round_.payload, approved_of(decided, self._names)
        late = (s.case.late if s.case else None) or {}
        self._kept[round_.number] = kept = _Kept(
            s,
            ballots,
            round_.shed,
            terms,
            np.zeros(0, np.int64) if approved is None else approved.sequence,
            set(round_.asked - round_.answers.keys() - late.keys()),
            time.monotonic_ns() + int(KEPT_S * 1e9),
        )
        self._ticks += len(s.ticks)
        while len(self._kept) > MAX_ROUNDS or self._ticks > MAX_TICKS:
            self._release(next(iter(self._kept)))
        if not kept.missing:
            self._release(round_.number)
        self._tidy_later()

    def arrived(self, seat: Seat, case: Case, verdicts: Answer, arrival: Arrival) -> Arrival:
        """Verdicts that did not count, and why; the reason that is true of them now."""
        kept = self._kept.get(case.number)
        if arrival is not Arrival.LATE and (kept is None or kept.submission.case is not case):
            return arrival
        if case.late is None:
            case.late = {}
        if seat.name in case.late or seat.name in case.reason_codes:
            return Arrival.DUPLICATE
        if kept is not None and seat.name not in kept.missing:
            return arrival
        if len(verdicts) != len(case):
            return Arrival.MALFORMED
        case.late[seat.name] = LateAnswer(verdicts, seat.reason_codes, time.monotonic_ns())
        self._tally.verdicts[seat.name] += len(verdicts)
        if kept is not None:
            kept.missing.discard(seat.name)
            if not kept.missing:
                self._release(case.number)
        return Arrival.LATE

    def _release(self, number: int) -> None:
        """Keep a round no longer; if anything was late in it, it is folded once more when there is time."""
        kept = self._kept.pop(number)
        self._ticks -= len(kept.submission.ticks)
        if kept.submission.case is not None and kept.submission.case.late:
            asyncio.get_running_loop().call_soon(self._compare, kept)

    def _tidy_later(self) -> None:
        if self._kept and not self._tidying:
            self._tidying = True
            asyncio.get_running_loop().call_later(KEPT_S, self._tidy)

    def _tidy(self) -> None:
        self._tidying, now_ns = False, time.monotonic_ns()
        for number in [number for number, kept in self._kept.items() if kept.until_ns <= now_ns]:
            self._release(number)
        self._tidy_later()

    def _compare(self, kept: _Kept) -> None:
        try:
            late = (kept.submission.case.late if kept.submission.case else None) or {}
            ballots = [
                b._replace(verdicts=late[b.engine].verdicts, reason_codes=late[b.engine].reason_codes)
                if b.engine in late
                else b
                for b in kept.ballots
            ]
            decided = kept.submission.decided(ballots, kept.shed, kept.terms, self._names)
            self._count(kept, approved_of(decided, self._names))
        except Exception:
            log.exception("late verdicts could not be compared", ticks=len(kept.submission.ticks))

    def _count(self, kept: _Kept, approved: Decisions | None) -> None:
        t, u = self._tally, self._universe
        t.rounds += 1
        sequences = np.zeros(0, np.int64) if approved is None else approved.sequence
        t.would_reject += int(np.count_nonzero(~np.isin(kept.approved, sequences)))
        if approved is None:
            return
        forgone = approved.take(np.nonzero(~np.isin(sequences, kept.approved))[0])
        t.would_approve += len(forgone)
        t.forgone_bps += float(forgone.net_edge_bps.sum())
        worth = forgone.net_edge_bps / 1e4 * forgone.quantity * forgone.buy_ask
        for instrument, value in zip(forgone.instrument.tolist(), worth.tolist(), strict=True):
            t.forgone_quote[u.assets[u.quote[instrument]]] += value
