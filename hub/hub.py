"""The hub itself: ticks in, rounds asked and folded, decisions out, trades to the executor.

    submit ─▶ books ─▶ opportunities ─▶ a round, asked of every seat at once ─▶ fold ─▶ reply
                   └▶ no opportunity: decided at once                            └▶ approved: the executor

One event loop, no locks. A batch of ticks is one round; it gets one reply, when every seat has answered or the
deadline is there. Time is read here and handed to the rounds, which know none.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import structlog

from arbhub.columns import Decisions, Ints, Ticks, Verdicts
from arbhub.engine import Engine, EngineConfiguration
from arbhub.link import LinkOptions, batch_rows
from arbhub.reference import ReferenceData, Universe
from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from arbhub.state import Report, Snapshot
from hub import reasons
from hub.book import Books, Resolved
from hub.policy import Ballot, Terms, decisions, fold
from hub.reasons import ReasonTable
from hub.remote import RemoteSeat
from hub.rounds import Arrival, Round, Rounds
from hub.seats import Case, LocalSeat, Seat
from hub.statistics import Statistics
from hub.trades import TradeLink

Reply = Callable[[Decisions], None]

log = structlog.get_logger()


@dataclass(slots=True)
class Submission:
    """A batch under decision. `binding`: it came over the stream, so what is approved is traded."""

    ticks: Ticks
    first_sequence: int
    resolved: Resolved
    reply: Reply
    binding: bool
    case: Case | None = None


class Hub:
    """The hub's whole state. `engines` has those that run in this process, by name."""

    def __init__(self, settings: Settings, engines: Mapping[str, Engine]) -> None:
        hub = settings.hub
        self.settings, self.version = settings, settings.version()
        self.universe = Universe()
        self.universe.merge(settings.reference.data())
        self.books = Books(self.universe, hub.max_quote_age_ms, hub.depth)
        self.reasons = ReasonTable()
        self.statistics = Statistics()
        self.sequence = 0
        self.epoch = 0
        table = settings.engines.table()
        budgets = {n: int(e.budget_ms * 1e6) for n, e in table.items() if e.budget_ms is not None}
        self._rounds: Rounds[Submission] = Rounds(int(hub.deadline_ms * 1e6), budgets)
        self._timer: asyncio.TimerHandle | None = None
        self._terms = Terms(self.universe, hub.min_net_edge_bps, int(hub.decision_ttl_ms * 1e6))
        configuration = EngineConfiguration(engines=settings.engines, risk=settings.risk)
        options = LinkOptions(hub.window, batch_rows(hub.max_batch_ticks, hub.depth), hub.max_queue_ticks)
        self.seats: list[LocalSeat | RemoteSeat] = []
        for name, section in table.items():
            if section.place == IN_PROCESS:
                self.seats.append(LocalSeat(engines[name], configuration, self))
            else:
                self.seats.append(RemoteSeat(name, section.place, (self.version, configuration), self, options))
        content = settings.model_dump_json().encode()
        self.trades = TradeLink(settings.executor.listen, (self.version, content), self, options)
        for seat in self.seats:
            seat.reason_codes = self.reasons.engine(())
            if isinstance(seat, LocalSeat):
                seat.introduce()
        self.reference_changed()

    async def run(self) -> None:
        """Keep the links to engines and executor until cancelled."""
        links = [self.trades.link.run()]
        links += [seat.link.run() for seat in self.seats if isinstance(seat, RemoteSeat)]
        await asyncio.gather(*links)

    # Ticks and reference data in.

    def merge(self, data: ReferenceData) -> None:
        """Take reference data in and pass it on; what the configuration says of a listing stays said."""
        self.universe.merge(data)
        self.universe.merge(self.settings.reference.data())
        self.reference_changed()

    def reference_changed(self) -> None:
        """Tell everybody what the universe knows now."""
        self.books.resize()
        for seat in self.seats:
            seat.reference(self.universe)
        self.trades.reference(self.universe)

    def submit(self, ticks: Ticks, reply: Reply) -> None:
        """Take ticks in (hub ids, already checked) and answer them all with one call of `reply`."""
        first = self.sequence
        self.sequence += len(ticks)
        resolved = self.books.apply(ticks, first, depth=True)
        if self.trades.up:
            self.trades.ticks(np.arange(first, self.sequence), ticks)
        self._open(Submission(ticks, first, resolved, reply, binding=True), None)

    def evaluate(self, tick: Ticks, reply: Reply, deadline_ns: int | None) -> None:
        """Judge one tick against the current books without a trace of it."""
        resolved = self.books.peek(tick, depth=True)
        self._open(Submission(tick, 0, resolved, reply, binding=False), deadline_ns)

    def _open(self, submission: Submission, deadline_ns: int | None) -> None:
        opportunities = submission.resolved.opportunities
        asked = [seat.name for seat in self.seats] if len(opportunities) else []
        now = time.monotonic_ns()
        round_ = self._rounds.open(asked, len(opportunities), submission, now, deadline_ns)
        if asked:
            submission.case = Case.of(round_.number, opportunities)
            for seat in self.seats:
                seat.ask(submission.case)
        self._settle()

    # What seats and the executor say.

    def verdicts(self, seat: Seat, case: Case, verdicts: Verdicts) -> None:
        """An engine's answer."""
        seat.tally.judged += len(verdicts)
        arrival = self._rounds.verdicts(seat.name, case.number, verdicts, time.monotonic_ns())
        if arrival is not Arrival.COUNTED:
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

    def connected(self, snapshot: Snapshot) -> None:
        """The executor's word: from here on its state and its epoch count."""
        self.epoch = snapshot.epoch
        self.statistics.snapshot(snapshot)
        for seat in self.seats:
            seat.snapshot(snapshot)
        log.info("executor connected", epoch=snapshot.epoch)

    def disconnected(self) -> None:
        """Nothing is approved until it is back; `Terms` asks the link."""

    def reported(self, report: Report) -> None:
        """What became of a decision: for the engines that keep the state."""
        self.statistics.report(report)
        for seat in self.seats:
            seat.report(report)

    # Rounds that are over.

    def _settle(self) -> None:
        for round_ in self._rounds.finished():
            self._conclude(round_)
        due = self._rounds.next_expiry_ns()
        if due is not None and self._timer is None:
            delay = max(0.0, (due - time.monotonic_ns()) / 1e9)
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        # Timers here fire early by up to half a millisecond: the clock decides, and an early one is set again.
        self._timer = None
        self._rounds.expire(time.monotonic_ns())
        self._settle()

    def _conclude(self, round_: Round[Submission]) -> None:
        s = round_.payload
        self._terms = self._terms.with_executor(self.trades.up)
        folded = fold(s.resolved.opportunities, self._ballots(round_), self._terms)
        for rows in round_.shed:
            folded.reason[rows] = reasons.SHED
        decided = decisions((s.ticks, s.first_sequence, s.resolved), folded, self._terms, self.reasons.names)
        self.statistics.decided(decided, (time.monotonic_ns() - round_.opened_ns) / 1e6, binding=s.binding)
        if s.binding and decided.approved.any():
            self.trades.approved(decided.take(np.nonzero(decided.approved)[0]))
        s.reply(decided)

    def _ballots(self, round_: Round[Submission]) -> list[Ballot]:
        ballots = []
        for seat in self.seats:
            answer = round_.answers.get(seat.name)
            if answer is None:
                seat.tally.timeouts += round_.rows
            else:
                seat.tally.rejected += int((answer.reason > 0).sum())
            timeout = self.reasons.timeout(seat.name)
            veto = self.settings.engines.table()[seat.name].on_timeout == "veto"
            ballots.append(Ballot(seat.name, answer, seat.reason_codes, timeout, veto))
        return ballots
