"""The hub's part of a tick's trace, made of what its round left behind: the round, each engine asked, the fold.

Nothing is measured for it but a few times a round; which rows are traced is looked up, not reckoned, for each round.
Approvals and timeouts always are, by the reason of the decision, which the feed learns too. A round that lacks an
answer is held back for a while, so that one that comes late is in its trace.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arbhub.columns import ABSTAIN, APPROVE, NO_VENUE, REJECT, Decisions, Ints
from arbhub.reference import Universe
from arbhub.rows import Answer, Decision
from arbhub.settings.engines import IN_PROCESS
from arbhub.spans import CLIENT, INTERNAL, SERVER, Attributes, Span, Traces
from arbhub.traceids import FEED, FOLD, ROUND, TIMEOUT, SampledAhead, engine_role, trace_id
from hub.replies import Decided
from hub.rounds import Round
from hub.seats import Seat
from hub.submissions import RowSubmission, Submission

HOLD_S = 1.0  # links give an engine up that has not answered for so long
VERDICTS = {APPROVE: "approve", REJECT: "reject", ABSTAIN: "abstain"}
OUT_OF_TIME = "no answer in time"


@dataclass(frozen=True, slots=True)
class Names:
    """What numbers mean. All of it only grows. `seats` are in the order of the table."""

    universe: Universe
    reasons: Sequence[str]
    seats: Sequence[Seat]


class RoundTraces:
    """Looks at every round that is over."""

    def __init__(self, traces: Traces, names: Names) -> None:
        self.traces, self._names = traces, names
        self._ahead = SampledAhead(traces.sampling)

    def concluded(
        self,
        round_: Round[Submission | RowSubmission],
        decided: Decided,
        approved: Decisions | None,
        epoch: int,
        folding_ns: int,
        folded_ns: int,
    ) -> None:
        """A round was folded between these times, and its answer is on its way now."""
        first = round_.payload.first_sequence
        rows = self._ahead.rows(epoch, first, len(decided))
        silent = len(round_.answers) < len(round_.asked)
        if approved is not None or silent:
            always = [] if approved is None else (approved.sequence - first).tolist()
            if silent:
                always += _timeouts(decided, self._names.reasons)
            rows = sorted({*rows, *always})
        if rows:
            written_ns = time.monotonic_ns()
            since_ns = time.time_ns() - written_ns
            times = folding_ns, folded_ns, written_ns
            deployment = self.traces.sampling.deployment
            material = TracedRound(round_, decided, epoch, times, since_ns, deployment, self._names)
            self.traces.offer(material, rows, HOLD_S if silent else 0.0)


@dataclass(frozen=True, slots=True)
class TracedRound:
    """`times`: the fold began, it ended, the answer was on its way. `since_ns` makes such times those since 1970."""

    round_: Round[Submission | RowSubmission]
    decided: Decided
    epoch: int
    times: tuple[int, int, int]
    since_ns: int
    deployment: str
    names: Names

    def __len__(self) -> int:
        return len(self.decided)

    def spans(self, row: int) -> Iterator[Span]:
        """The round, the engines if there was something to ask, and the fold."""
        d = _decision(self.decided, row)
        trace, reason = trace_id(self.deployment, self.epoch, d.sequence), self.names.reasons[d.reason]
        folding_ns, folded_ns, written_ns = self.times
        received_ns = self.round_.payload.received_ns or self.round_.opened_ns
        error = reason if reason.startswith(TIMEOUT) else ""
        said = self._said_of(d, reason)
        yield self._span(trace, ROUND, FEED, "round", SERVER, (received_ns, written_ns), said, error)
        asked = _row_asked(self.round_.payload, row)
        if asked is not None:
            yield from self._engines(trace, asked)
        outcome: Attributes = {"arbhub.reason": reason or "approved", "arbhub.net_edge_bps": d.net_edge_bps}
        yield self._span(trace, FOLD, ROUND, "fold", INTERNAL, (folding_ns, folded_ns), outcome)

    def _engines(self, trace: bytes, asked: int) -> Iterator[Span]:
        """From the asking to the answer. Those inside are asked one after the other, each when the last is done."""
        round_, inside_ns = self.round_, self.round_.opened_ns
        for seat in self.names.seats:
            name, inside = seat.name, seat.place == IN_PROCESS
            if name not in round_.asked:
                continue
            said: Attributes = {"arbhub.engine": name, "arbhub.place": seat.place, "arbhub.rows": round_.rows}
            began_ns, error = inside_ns if inside else round_.opened_ns, ""
            if name in round_.answers:
                ended_ns, verdict = round_.answered_ns[name], self._verdict(name, asked)
                inside_ns = ended_ns if inside else inside_ns
            else:
                ended_ns, verdict = self._late(name, asked)
                error = OUT_OF_TIME
            yield self._span(
                trace, engine_role(name), ROUND, f"engine {name}", CLIENT, (began_ns, ended_ns), said | verdict, error
            )

    def _verdict(self, name: str, asked: int) -> Attributes:
        """What an engine said in time."""
        case = self.round_.payload.case
        said: Attributes = {"arbhub.timed_out": False}
        if case is not None and name in case.reason_codes:
            said |= _said_by(self.round_.answers[name], asked, case.reason_codes[name], self.names.reasons)
        return said

    def _late(self, name: str, asked: int) -> tuple[int, Attributes]:
        """When an engine's answer came that was too late, and what it was; where none did, when it was given up."""
        case = self.round_.payload.case
        late = None if case is None or case.late is None else case.late.get(name)
        said: Attributes = {"arbhub.timed_out": True, "arbhub.late": late is not None}
        said["arbhub.unasked"] = True if name in self.round_.spared else None
        if late is None:
            return self.times[0], said
        return late.arrived_ns, said | _said_by(late.verdicts, asked, late.reason_codes, self.names.reasons)

    def _said_of(self, d: Decision, reason: str) -> Attributes:
        symbols, venues = self.names.universe.symbols, self.names.universe.venues
        said: Attributes = {
            "arbhub.epoch": self.epoch,
            "arbhub.sequence": d.sequence,
            "arbhub.symbol": symbols[d.instrument],
            "arbhub.ticks": len(self.decided),
            "arbhub.approved": d.approved,
            "arbhub.reason": reason or "approved",
        }
        if d.buy_venue != NO_VENUE:
            said |= {
                "arbhub.buy_venue": venues[d.buy_venue],
                "arbhub.sell_venue": venues[d.sell_venue],
                "arbhub.gross_edge_bps": d.gross_edge_bps,
                "arbhub.net_edge_bps": d.net_edge_bps,
                "arbhub.quantity": d.quantity,
            }
        return said

    def _span(
        self,
        trace: bytes,
        role: str,
        parent: str,
        name: str,
        kind: int,
        times: tuple[int, int],
        said: Attributes,
        error: str = "",
    ) -> Span:
        start_ns, end_ns = times[0] + self.since_ns, times[1] + self.since_ns
        return Span(trace, role, parent, name, kind, start_ns, end_ns, said, error)


def _timeouts(decided: Decided, reasons: Sequence[str]) -> list[int]:
    """The rows of decisions that an engine's silence made."""
    if isinstance(decided, list):
        return [row for row, d in enumerate(decided) if reasons[d.reason].startswith(TIMEOUT)]
    codes = [code for code in np.unique(decided.reason).tolist() if reasons[code].startswith(TIMEOUT)]
    rows: list[int] = np.nonzero(np.isin(decided.reason, codes))[0].tolist()
    return rows


def _decision(decided: Decided, row: int) -> Decision:
    if isinstance(decided, list):
        return decided[row]
    return Decision(*[getattr(decided, name).item(row) for name in Decision._fields])


def _row_asked(submission: Submission | RowSubmission, row: int) -> int | None:
    """Where among what was asked a tick's opportunity is; None where it had none."""
    if isinstance(submission, RowSubmission):
        if submission.resolved[row].opportunity is None:
            return None
        return sum(r.opportunity is not None for r in submission.resolved[:row])
    rows = submission.resolved.rows
    at = int(np.searchsorted(rows, row))
    return at if at < len(rows) and rows.item(at) == row else None


def _said_by(answer: Answer, row: int, codes: Ints, reasons: Sequence[str]) -> Attributes:
    """One verdict; where the row was shed on the way to the engine, its part of the answer is an abstention."""
    if isinstance(answer, list):
        verdict, reason, bps = answer[row][:3]
    else:
        verdict, reason, bps = answer.verdict.item(row), answer.reason.item(row), answer.bps.item(row)
    said: Attributes = {"arbhub.verdict": VERDICTS.get(verdict), "arbhub.bps": bps}
    if reason:
        said["arbhub.reason"] = reasons[codes.item(reason)]
    return said
