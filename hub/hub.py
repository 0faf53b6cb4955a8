"""The hub itself: ticks in, rounds asked and folded, decisions out, trades to the executor.

    submit ─▶ books ─▶ opportunities ─▶ a round, asked of every seat at once ─▶ fold ─▶ reply
                   └▶ no opportunity: decided at once                            └▶ approved: the executor

One event loop, no locks. A batch of ticks is one round (a huge one several); it gets one reply, when every seat has
answered or the deadline is there. Time is read here and handed to the rounds, which know none. Whatever fails in
here fails closed: the round is decided as if its engines were silent, the log says why, and the others go on.
"""

import asyncio
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import structlog

from arbhub.columns import Decisions, Ints, Ticks, Verdicts
from arbhub.engine import Engine, EngineConfiguration
from arbhub.link import LinkOptions, batch_rows
from arbhub.reference import ReferenceData
from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from arbhub.state import Report, Snapshot
from hub import reasons
from hub.book import Books, Resolved
from hub.policy import Ballot, Terms, decisions, fold
from hub.reasons import ReasonTable
from hub.references import References
from hub.remote import RemoteSeat
from hub.replies import Joined, Reply
from hub.rounds import Arrival, Round, Rounds
from hub.seats import Case, LocalSeat, Seat
from hub.statistics import Statistics
from hub.trades import TradeLink

log = structlog.get_logger()


@dataclass(slots=True)
class Submission:
    """A batch under decision. `binding`: it came over the stream, so what is approved is traded.

    `connection` is the executor's at the time: only that one knows the books that the batch was judged by.
    """

    ticks: Ticks
    first_sequence: int
    resolved: Resolved
    reply: Reply
    binding: bool
    connection: int
    case: Case | None = None


class Hub:
    """The hub's whole state. `engines` has those that run in this process, by name."""

    def __init__(self, settings: Settings, engines: Mapping[str, Engine]) -> None:
        hub = settings.hub
        self.settings, self.version = settings, settings.version()
        self.references = References(settings.reference.data())
        self.universe = self.references.universe
        self.books = Books(self.universe, hub.max_quote_age_ms, hub.depth)
        self.reasons = ReasonTable()
        self.statistics = Statistics()
        self.sequence = self.epoch = 0
        table = settings.engines.table()
        budgets = {n: int(e.budget_ms * 1e6) for n, e in table.items() if e.budget_ms is not None}
        self._vetoes = {name: section.on_timeout == "veto" for name, section in table.items()}
        self._rounds: Rounds[Submission] = Rounds(int(hub.deadline_ms * 1e6), budgets)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ns = 0
        self._terms = Terms(self.universe, hub.min_net_edge_bps, int(hub.decision_ttl_ms * 1e6))
        self._ledger: Snapshot | None = None
        self._connection = 0
        self._max_rows = batch_rows(hub.max_batch_ticks, hub.depth)
        self.seats: list[LocalSeat | RemoteSeat] = []
        self._seat_all(engines)

    def _seat_all(self, engines: Mapping[str, Engine]) -> None:
        settings, hub = self.settings, self.settings.hub
        configuration = EngineConfiguration(engines=settings.engines, risk=settings.risk)
        options = LinkOptions(hub.window, self._max_rows, hub.max_queue_ticks)
        for name, section in settings.engines.table().items():
            if section.place == IN_PROCESS:
                self.seats.append(LocalSeat(engines[name], configuration, self))
            else:
                self.seats.append(RemoteSeat(name, section.place, (self.version, configuration), self, options))
        content = configuration.model_dump_json().encode()
        self.trades = TradeLink(settings.executor.listen, (self.version, content), self, options)
        for seat in self.seats:
            seat.reason_codes = self.reasons.engine(())
            if isinstance(seat, LocalSeat):
                seat.introduce()
        self._reference_changed()

    async def run(self) -> None:
        """Keep the links to engines and executor until cancelled."""
        async with asyncio.TaskGroup() as links:
            links.create_task(self.trades.link.run())
            for seat in self.seats:
                if isinstance(seat, RemoteSeat):
                    links.create_task(seat.link.run())

    # Ticks and reference data in.

    def merge(self, data: ReferenceData, source: Hashable = None) -> None:
        """Take reference data in and pass on what is new; BadReferenceError where it is more than fits."""
        if self.references.merge(data, source):
            self._reference_changed()

    def _reference_changed(self) -> None:
        self.books.resize()
        for seat in self.seats:
            seat.reference(self.references)
        self.trades.reference(self.references)

    def submit(self, ticks: Ticks, reply: Reply) -> None:
        """Take ticks in (hub ids, already checked) and answer them all with one call of `reply`."""
        if len(ticks) <= self._max_rows:
            self._submit(ticks, reply)
            return
        starts = range(0, len(ticks), self._max_rows)
        joined = Joined(len(starts), reply)
        for number, start in enumerate(starts):
            self._submit(ticks.slice(start, start + self._max_rows), joined.part(number))

    def _submit(self, ticks: Ticks, reply: Reply) -> None:
        ticks = ticks.truncated(self.books.depth)
        first = self.sequence
        self.sequence += len(ticks)
        resolved = self.books.apply(ticks, first, depth=True)
        if self.trades.up:
            self.trades.ticks(np.arange(first, self.sequence), ticks)
        self._open(Submission(ticks, first, resolved, reply, binding=True, connection=self._connection), None)

    def evaluate(self, tick: Ticks, reply: Reply, deadline_ns: int | None) -> None:
        """Judge one tick against the current books without a trace of it."""
        resolved = self.books.peek(tick, depth=True)
        self._open(Submission(tick, 0, resolved, reply, binding=False, connection=self._connection), deadline_ns)

    def _open(self, submission: Submission, deadline_ns: int | None) -> None:
        opportunities = submission.resolved.opportunities
        asked = [seat.name for seat in self.seats] if len(opportunities) else []
        round_ = self._rounds.open(asked, len(opportunities), submission, time.monotonic_ns(), deadline_ns)
        if asked:
            submission.case = Case.of(round_.number, opportunities)
            for seat in self.seats:
                seat.ask(submission.case)
        self._settle()
        if round_.due_ns:
            self._set_timer(min(round_.due_ns.values()))

    # What seats and the executor say.

    def verdicts(self, seat: Seat, case: Case, verdicts: Verdicts) -> None:
        """An engine's answer."""
        seat.tally.judged += len(verdicts)
        arrival = self._rounds.verdicts(seat.name, case.number, verdicts, time.monotonic_ns())
        if arrival is Arrival.COUNTED:
            case.reason_codes[seat.name] = seat.reason_codes
        else:
            self.statistics.stray[arrival] += len(verdicts)
        self._settle()

    def no_answer(self, seat: Seat, case: Case) -> None:
        """An engine that cannot be reached."""
        self._rounds.lost(seat.name, case.number)
        self._settle()

    def shed(self, case: Case, rows: Ints) -> None:
        """Rows given up in a full queue."""
        self._rounds.shed(case.number, rows)

    def stated_reasons(self, seat: Seat, stated: Iterable[str]) -> None:
        """What an engine may reject for."""
        seat.reason_codes = self.reasons.engine(tuple(stated))

    def still_open(self, case: Case) -> bool:
        """Whether the case is undecided."""
        return self._rounds.is_open(case.number)

    def ledger(self) -> Snapshot | None:
        """The executor's state, with every report since its snapshot; None before the first connection."""
        return self._ledger

    def connected(self, snapshot: Snapshot) -> None:
        """The executor's word: from here on its state and its epoch count."""
        self.epoch, self._ledger = snapshot.epoch, snapshot
        self._connection += 1
        # Without the books, a decision could meet one leg's book only, and be executed by half.
        self.trades.books(self.sequence - 1, self.books.ticks())
        for seat in self.seats:
            seat.snapshot(snapshot)
        log.info("executor connected", epoch=snapshot.epoch)

    def disconnected(self) -> None:
        """Nothing is approved until it is back; `_decided` asks the link."""

    def reported(self, report: Report) -> None:
        """What became of a decision: for the engines that keep the state."""
        if self._ledger is not None:
            self._ledger = self._ledger.after(report.values)
        self.statistics.report(report)
        for seat in self.seats:
            seat.report(report)

    # Rounds that are over.

    def _settle(self) -> None:
        for round_ in self._rounds.finished():
            try:
                self._conclude(round_)
            except Exception:
                log.exception("decisions were made, but not everybody could be told", ticks=len(round_.payload.ticks))

    def _set_timer(self, due_ns: int) -> None:
        """Have the clock looked at when `due_ns` comes, unless it will be before."""
        if self._timer is not None:
            if self._timer_due_ns <= due_ns:
                return
            self._timer.cancel()
        delay_s = max(0.0, (due_ns - time.monotonic_ns()) / 1e9)
        self._timer_due_ns = due_ns
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        # Timers here fire early by up to half a millisecond: the clock decides, and an early one is set again.
        self._timer = None
        self._rounds.expire(time.monotonic_ns())
        self._settle()
        due_ns = self._rounds.next_expiry_ns()
        if due_ns is not None:
            self._set_timer(due_ns)

    def _conclude(self, round_: Round[Submission]) -> None:
        s, decided = round_.payload, self._decided(round_)
        try:
            if s.binding:
                self.statistics.decided(decided, (time.monotonic_ns() - round_.opened_ns) / 1e6)
            if s.binding and decided.approved.any():
                self.trades.approved(decided.take(np.nonzero(decided.approved)[0]))
        finally:
            s.reply(decided)

    def _decided(self, round_: Round[Submission]) -> Decisions:
        try:
            return self._folded(round_)
        except Exception:
            log.exception("a round could not be folded: its engines count as silent", rows=round_.rows)
            round_.answers.clear()
            return self._folded(round_)

    def _folded(self, round_: Round[Submission]) -> Decisions:
        s = round_.payload
        terms = self._terms.with_executor(self.trades.up and s.connection == self._connection)
        folded = fold(s.resolved.opportunities, self._ballots(round_), terms)
        for rows in round_.shed:
            folded.reason[rows] = reasons.SHED
        return decisions((s.ticks, s.first_sequence, s.resolved), folded, terms, self.reasons.names)

    def _ballots(self, round_: Round[Submission]) -> list[Ballot]:
        case, ballots = round_.payload.case, []
        for seat in self.seats:
            answer, codes = round_.answers.get(seat.name), seat.reason_codes
            if answer is None or case is None:
                seat.tally.timeouts += round_.rows
            else:
                codes = case.reason_codes[seat.name]
                seat.tally.rejected += int(np.count_nonzero(answer.reason))
            timeout = self.reasons.timeout(seat.name)
            ballots.append(Ballot(seat.name, answer, codes, timeout, self._vetoes[seat.name]))
        return ballots
