"""The hub itself: ticks in, rounds asked and folded, decisions out, trades to the executor.

    submit ─▶ books ─▶ opportunities ─▶ a round, asked of every place at once ─▶ fold ─▶ reply
                   └▶ no opportunity: decided at once                            └▶ approved: the executor

One event loop, no locks. A batch of ticks is one round (a huge one several); it gets one reply, when every seat has
answered or the deadline is there. Time is read here and handed to the rounds, which know none. Whatever fails in
here fails closed: the round is decided as if its engines were silent, the log says why, and the others go on.
"""

import asyncio
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
import structlog

from arbhub.catalogue import Correction
from arbhub.columns import Ints, Ticks
from arbhub.engine import Engine
from arbhub.link import LinkOptions, batch_rows
from arbhub.reference import ReferenceData
from arbhub.rows import Answer, Tick, tick_columns
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.settings.schema import Settings
from arbhub.state import Snapshot
from hub.admission import Admission
from hub.assembly import Assembly
from hub.ballots import BallotBox
from hub.book import Books
from hub.configured import Configured
from hub.evaluations import Evaluations
from hub.expiry import Expiry
from hub.late import LateVerdicts
from hub.ledger_view import LedgerView
from hub.outbox import Outbox
from hub.policy import Terms
from hub.reasons import ReasonTable
from hub.recent import RecentTicks
from hub.reference_store import ReferenceStore
from hub.references import References
from hub.replies import Decided, Reply, in_parts
from hub.rounds import Arrival, Round, Rounds
from hub.rowbook import RowBooks
from hub.seating import seated
from hub.seats import Case, LocalSeat, Seat
from hub.statistics import Statistics
from hub.submissions import RowSubmission, Submission, approved_of, peeked, rejected_in
from hub.tracing import RoundTraces
from hub.trades import TradeLink
from hub.trading import Trading

log = structlog.get_logger()


class Hub:
    """The hub's whole state. `engines` has those that run in this process, by name; `version` is the settings'."""

    def __init__(
        self,
        settings: Settings,
        engines: Mapping[str, Engine],
        version: str = "",
        credentials: Credentials = INSECURE,
    ) -> None:
        hub = settings.hub
        self.settings, self.version = settings, version or settings.version()
        self.began_ns = time.monotonic_ns()
        self.references = References(settings.reference.data())
        self.universe = self.references.universe
        self.books = Books(self.universe, hub.max_quote_age_ms, hub.depth)
        self._row_books = RowBooks(self.books)
        self.reasons = ReasonTable()
        self.statistics = Statistics()
        self.recent = RecentTicks(hub.rehearsal_ticks)
        self.sequence = 0
        self._rounds: Rounds[Submission | RowSubmission] = Rounds(int(hub.deadline_ms * 1e6))
        self._expiry = Expiry(self._expired)
        self.late = LateVerdicts(self.statistics.late, self.reasons.names, self.universe)
        self._max_rows = batch_rows(hub.max_batch_ticks, hub.depth)
        self.credentials = credentials
        options = LinkOptions(hub.window, self._max_rows, hub.max_queue_ticks, credentials=credentials)
        self._evaluations = Evaluations(self._judge, self._max_rows)
        configured = Configured.of(settings, self.version)
        self.places, self.seats = seated(settings, configured, engines, self, options)
        self.view = LedgerView(self.places, Trading(self.reasons), self.statistics, self._send_books)
        self.trades = self.view.trades = TradeLink(settings.executor.listen, configured, self.view, options)
        self._outbox = Outbox(self._rounds, self.view)
        self._admission = Admission(hub.breaker, self.seats)
        self._ballots = BallotBox(settings.engines, self.seats, self.reasons)
        self._arrange()
        for seat in self.seats:
            seat.reason_codes = self.reasons.engine(())
            if isinstance(seat, LocalSeat):
                seat.introduce()
        self.reference_store: ReferenceStore | None = None
        self.traces: RoundTraces | None = None
        self._reference_changed()

    async def run(self) -> None:
        """Keep the links to engines and executor until cancelled."""
        async with asyncio.TaskGroup() as links:
            for keep in (self.trades.link.run, *(place.run for place in self.places)):
                links.create_task(keep())

    def adopt(self, settings: Settings, configured: Configured) -> None:
        """Judge by these settings from the next tick on: here, and at every peer, in one step that nothing parts.

        Rounds under way keep what they were opened with: what they ask was queued before, and is judged by the old,
        as are the evaluations that wait, which therefore go first.
        """
        self._evaluations.open_all()
        self.settings, self.version = settings, configured.version
        self._arrange()
        for place in self.places:
            place.adopt(configured)
        self.trades.adopt(configured)

    def _arrange(self) -> None:
        """What the hub itself does by its settings."""
        hub, engines = self.settings.hub, self.settings.engines
        budgets = {n: int(e.budget_ms * 1e6) for n, e in engines.table().items() if e.budget_ms is not None}
        self._rounds.configure(int(hub.deadline_ms * 1e6), budgets)
        self._terms = Terms(self.universe, hub.min_net_edge_bps, int(hub.decision_ttl_ms * 1e6))
        self.books.max_age_ns = hub.max_quote_age_ms * 1e6
        self._assembly = Assembly.of(engines, self.places)
        self._admission.arrange(self._assembly.voting, hub.deadline_ms)

    # Ticks and reference data in.

    def merge(self, data: ReferenceData, source: Hashable = None, corrections: Iterable[Correction] = ()) -> None:
        """Take reference data in and pass on what is new; BadReferenceError where it is more than fits."""
        if self.references.merge(data, source, corrections):
            self._reference_changed()

    def _reference_changed(self) -> None:
        self.books.resize()
        for place in self.places:
            place.reference(self.references)
        self.trades.reference(self.references)

    def submit(self, ticks: Ticks, reply: Reply, at_ns: int = 0) -> None:
        """Take ticks in (hub ids, already checked), received at `at_ns`, and answer all with one call of `reply`."""
        for part, answer in in_parts(ticks, self._max_rows, reply):
            self._submit(part, answer, at_ns)

    def _submit(self, ticks: Ticks, reply: Reply, at_ns: int) -> None:
        ticks = ticks.truncated(self.books.depth)
        first = self.sequence
        self.sequence += len(ticks)
        resolved = self.books.apply(ticks, first, depth=True)
        if self.trades.up:
            self.trades.ticks(np.arange(first, self.sequence), ticks)
        self.recent.keep(ticks, resolved)
        self._open(Submission(ticks, first, resolved, reply, True, self.view.connection, self._terms, at_ns), None)

    def submit_rows(self, ticks: list[Tick], reply: Reply, at_ns: int = 0) -> None:
        """As `submit`, for a few ticks."""
        first = self.sequence
        resolved = self._row_books.apply(ticks, first)
        if resolved is None:
            self._submit(tick_columns(ticks), reply, at_ns)
            return
        self.sequence += len(ticks)
        if self.trades.up:
            self.trades.ticks(np.arange(first, self.sequence), tick_columns(ticks))
        self.recent.keep(ticks, resolved)
        self._open(RowSubmission(ticks, first, resolved, reply, True, self.view.connection, self._terms, at_ns), None)

    def evaluate(self, tick: Tick, reply: Reply, deadline_ns: int | None) -> None:
        """Judge one tick as if it came alone, against the books of when its round opens, without a trace of it."""
        self._evaluations.ask(tick, reply, self._rounds.allowed_ns(deadline_ns))

    def _judge(self, ticks: list[Tick], reply: Reply, allowed_ns: int) -> None:
        self._open(peeked(self.books, self._row_books, ticks, reply, self.view.connection, self._terms), allowed_ns)

    def _open(self, submission: Submission | RowSubmission, deadline_ns: int | None) -> None:
        asked = submission.asked()
        now_ns, engines = time.monotonic_ns(), self._assembly.asked if len(asked) else ()
        spared, places = self._admission.spared(now_ns, deadline_ns) if engines else ((), ())
        round_ = self._rounds.open(engines, len(asked), submission, now_ns, deadline_ns, spared)
        if engines:
            submission.case = Case.of(round_.number, asked)
            for place in places:
                place.ask(submission.case)
        self._settle()
        if self._assembly.shadows and submission.case is not None:
            for place in self._assembly.shadows:
                place.ask(submission.case)
        if round_.due_ns:
            self._expiry.by(min(round_.due_ns.values()))

    # What seats and the executor say.

    def verdicts(self, seat: Seat, case: Case, verdicts: Answer) -> None:
        """An engine's answer."""
        seat.tally.judged += len(verdicts)
        arrival = self._rounds.verdicts(seat.name, case.number, verdicts, time.monotonic_ns())
        if arrival is Arrival.COUNTED:
            case.reason_codes[seat.name] = seat.reason_codes
            seat.breaker.succeeded()
        elif seat.name in self._assembly.asked:
            self.statistics.stray[self.late.arrived(seat, case, verdicts, arrival)] += len(verdicts)
        else:
            seat.tally.rejected += rejected_in(verdicts)
        self._settle()

    def no_answer(self, seat: Seat, case: Case) -> None:
        """An engine that was lost, or has no answer."""
        if self._rounds.lost(seat.name, case.number):
            self._admission.failed(seat.name, time.monotonic_ns())
        self._settle()

    def away(self, seat: Seat, case: Case) -> None:
        """An engine that cannot be reached."""
        self._rounds.lost(seat.name, case.number)
        seat.breaker.untried()
        self._settle()

    def shed(self, case: Case, rows: Ints, engines: Sequence[str]) -> None:
        """Rows given up in a full queue; of no matter where none of these engines has a say."""
        if self._rounds.asks(case.number, engines):
            self._rounds.shed(case.number, rows)

    def stated_reasons(self, seat: Seat, stated: Iterable[str]) -> None:
        """What an engine may reject for."""
        seat.reason_codes = self.reasons.engine(tuple(stated))
        self._admission.introduced(seat)

    def still_open(self, case: Case) -> bool:
        """Whether the case is undecided."""
        return self._rounds.is_open(case.number)

    def due_ns(self, case: Case, engines: Sequence[str]) -> int:
        """Until when an answer of any of these engines is waited for."""
        return self._rounds.due_ns(case.number, engines)

    def ledger(self) -> Snapshot | None:
        """The executor's state, with every report since its snapshot; None before the first connection."""
        return self.view.snapshot

    @property
    def epoch(self) -> int:
        """The ledger's; 0 before the first connection."""
        return self.view.epoch

    def _send_books(self) -> None:
        # Without the books, a decision could meet one leg's book only, and be executed by half.
        self.trades.books(self.sequence - 1, self.books.ticks())

    # Rounds that are over.

    def _settle(self) -> None:
        for round_ in self._rounds.finished():
            try:
                self._conclude(round_)
            except Exception:
                log.exception("decisions were made, but not everybody could be told", ticks=len(round_.payload.ticks))
        self._outbox.release()

    def _expired(self, now_ns: int) -> int | None:
        for name in self._rounds.expire(now_ns):
            self._admission.failed(name, now_ns)
        self._settle()
        return self._rounds.next_expiry_ns()

    def _conclude(self, round_: Round[Submission | RowSubmission]) -> None:
        began_ns, s, decided = time.monotonic_ns(), round_.payload, self._decided(round_)
        folded_ns = time.monotonic_ns()
        try:
            approved = approved_of(decided, self.reasons.names) if s.binding else None
            if approved is not None:
                self._outbox.approved(round_.number, approved, s.connection)
        finally:
            s.reply(decided)
        if s.binding:  # counted once the answer is on its way
            took_ms = (folded_ns - round_.opened_ns) / 1e6
            asyncio.get_running_loop().call_soon(self.statistics.decided, s.ticks, decided, self.reasons.names, took_ms)
            if self.traces is not None:
                self.traces.concluded(round_, decided, approved, self.epoch, began_ns, folded_ns)

    def _decided(self, round_: Round[Submission | RowSubmission]) -> Decided:
        try:
            return self._folded(round_)
        except Exception:
            log.exception("a round could not be folded: its engines count as silent", rows=round_.rows)
            self.statistics.failed_rounds += 1
            round_.answers.clear()
            return self._folded(round_)

    def _folded(self, round_: Round[Submission | RowSubmission]) -> Decided:
        s = round_.payload
        terms = s.terms.with_executor(self.trades.up and s.connection == self.view.connection)
        ballots = self._ballots.of(round_)
        decided = s.decided(ballots, round_.shed, terms, self.reasons.names)
        if self.view.trading.restricted:
            return self.view.trading.withheld(decided, self.view.snapshot, self.universe)
        if s.binding and len(round_.answers) + len(round_.spared) < len(round_.asked):
            self.late.keep(round_, ballots, terms, decided)
        return decided
