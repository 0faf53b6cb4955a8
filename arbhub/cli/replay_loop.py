"""The loop of a replay: hub, engines and paper executor driven by recorded time.

Books feel nothing but ticks, so a whole batch is taken in at once. Decisions feel reports: a report takes effect at
its time, before a tick of the same time. So what is decided together, a stretch, holds no tick at or after the time
at which something in flight is due, or at which the first decision approved in it would be: within it no decision
can feel another, and how the stream is cut has no part in any result.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from arbhub.cli.replay_ahead import AskedAhead, asked_ahead
from arbhub.cli.replay_report import Tally, lines
from arbhub.cli.services import in_process_engines
from arbhub.columns import Floats, Ints, Opportunities, Ticks
from arbhub.link import batch_rows
from arbhub.reference import Listing, ReferenceData, Universe, taker_table
from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.settings.schema import Settings
from arbhub.settings.tls import TlsSettings
from arbhub.state import Report
from executor.desk import PaperDesk
from executor.journal import MemoryLedger
from feeds.capture import SkippedLines, merge
from feeds.market import BookUpdate, ticks_of
from hub.book import Books, Resolved
from hub.panel import Panel
from hub.policy import Terms, decisions, fold
from hub.reasons import ReasonTable

CHUNK = 8192  # updates parsed ahead of deciding them
SHORT_STRETCH = 64  # ticks judged together at first, as long as nobody knows how soon one of them is approved


class Replay:
    """One run over captures. `to_the_end` decides them all, `report` says what came of it."""

    def __init__(self, settings: Settings, captures: Iterable[Path], *, batch: int, skip_bad: bool) -> None:
        self._settings, self._captures, self._batch = settings, tuple(captures), batch
        self._version = settings.version()
        self._skipped = SkippedLines() if skip_bad else None
        self._universe = Universe()
        self._books = Books(self._universe, settings.hub.max_quote_age_ms, settings.hub.depth)
        self._reasons = ReasonTable()
        self._terms = Terms(self._universe, settings.hub.min_net_edge_bps, int(settings.hub.decision_ttl_ms * 1e6))
        self._latency_ns = round(settings.executor.latency_ms * 1e6)
        # Nothing is written down: every replay starts from the configured balances.
        self._desk = PaperDesk(settings.executor, settings.risk, MemoryLedger())
        tls = settings.tls if settings.engines.hosts() else TlsSettings()  # where nobody is called, no files are read
        self._credentials = credentials_of(tls, CLIENT)
        self._engines = asked_ahead(in_process_engines(settings))
        if len(self._engines) < len(settings.engines.table()):
            self._batch = min(batch, batch_rows(settings.hub.max_batch_ticks, settings.hub.depth))
        self._sequence, self._stretch = 0, SHORT_STRETCH
        self._tally = Tally()
        self._wall_s = self._decide_s = 0.0
        self.on_progress: Callable[[int, float], None] = lambda *_: None

    async def to_the_end(self, out: Path | None = None) -> None:
        """Decide every tick, writing a line each to `out`; CaptureError and ServiceError say what is wrong."""
        began = time.perf_counter()
        file = out.open("wb") if out else None
        try:
            async with Panel(self._settings, self._engines, self._reasons, credentials=self._credentials) as panel:
                self._introduce(panel)
                for ticks in self._chunks(panel):
                    started = time.perf_counter()
                    await self._decide(ticks, panel, file)
                    self._decide_s += time.perf_counter() - started
                    self.on_progress(self._sequence, self._decide_s)
                self._take(self._desk.finish(), panel)
        finally:
            if file:
                file.close()
        self._wall_s = time.perf_counter() - began

    def report(self) -> dict[str, Any]:
        """The report, as JSON values."""
        t = self._tally
        return {
            "ticks": self._sequence,
            "opportunities": t.opportunities,
            "gross_positive": t.gross_positive,
            "approved": t.approved,
            "rejected": dict(t.rejected),
            "sum_net_edge_bps": math.fsum(t.net_edges_bps),
            "sum_quantity": math.fsum(t.quantities),
            "denied": dict(t.denied),
            "fills": t.fills,
            "pnl": t.pnl,
            "unhedged": len(t.unhedged),
            "skipped_lines": self._skipped.count if self._skipped else 0,
            "config_version": self._version,
            "wall_s": self._wall_s,
            "decide_s": self._decide_s,
        }

    def _introduce(self, panel: Panel) -> None:
        snapshot = self._desk.open(self._universe, self._taker())
        self._learn((), panel)
        panel.snapshot(snapshot)

    def _taker(self) -> Floats:
        fee = self._settings.engines.fee
        return taker_table(self._universe, dict(fee.taker_bps), dict(fee.volume_30d))

    def _chunks(self, panel: Panel) -> Iterator[Ticks]:
        updates = merge(self._captures, self._skipped)
        while chunk := list(islice(updates, CHUNK)):
            self._learn(chunk, panel)
            yield ticks_of(chunk, self._universe)

    def _learn(self, chunk: Iterable[BookUpdate], panel: Panel) -> None:
        """Make known what the chunk names: its instruments on every venue of `taker_bps`, its venues by name."""
        u = self._universe
        venues = tuple(dict.fromkeys(x.venue for x in chunk if x.venue not in u.venue_ids))
        symbols = tuple(dict.fromkeys(x.symbol for x in chunk if x.symbol not in u.symbol_ids))
        if chunk and not (venues or symbols):
            return
        known = self._settings.engines.fee.taker_bps
        listings = tuple(Listing(venue, symbol) for symbol in symbols for venue in known)
        u.merge(ReferenceData(venues=(*known, *venues), symbols=symbols, listings=listings))
        u.merge(self._settings.reference.data())
        self._books.resize()
        self._desk.reference(self._taker())
        panel.reference(u)

    async def _decide(self, ticks: Ticks, panel: Panel, out: IO[bytes] | None) -> None:
        for start in range(0, len(ticks), self._batch):
            batch = ticks.slice(start, start + self._batch)
            resolved = self._books.apply(batch, self._sequence, depth=True)
            self._ahead(resolved.opportunities)
            at = 0
            while at < len(batch):
                self._take(self._desk.advance(int(batch.ts_ns[at])), panel)
                stretch = batch.slice(at, self._end(batch.ts_ns, at))
                at += await self._decide_stretch(stretch, resolved.slice(at, at + len(stretch)), panel, out)

    async def _decide_stretch(self, ticks: Ticks, resolved: Resolved, panel: Panel, out: IO[bytes] | None) -> int:
        """Decide ticks up to where a decision among them may be felt; how many that were."""
        ballots = await panel.ask(resolved.opportunities)
        folded = fold(resolved.opportunities, ballots, self._terms)
        decided = decisions((ticks, self._sequence, resolved), folded, self._terms, self._reasons.names)
        approved = np.flatnonzero(decided.approved)
        n = self._felt_from(ticks.ts_ns, approved)
        if n < len(ticks):
            ticks, decided, approved = ticks.slice(0, n), decided.slice(0, n), approved[approved < n]
        self._take(self._desk.step(decided.sequence, ticks, decided.take(approved)), panel)
        self._sequence += n
        self._tally.decided(decided)
        if out:
            out.writelines(lines(decided, self._universe, self._version))
        return n

    def _end(self, ts_ns: Ints, at: int) -> int:
        """Where a stretch that begins at row `at` must end, should nothing in it be approved."""
        until_ns = self._desk.next_due_ns
        if self._desk.awaits_books:  # then a tick alone may send an order
            latest_ns = int(ts_ns[at]) + self._latency_ns
            until_ns = latest_ns if until_ns is None else min(until_ns, latest_ns)
        end = min(at + self._stretch, len(ts_ns))
        return end if until_ns is None else max(at + 1, at + int(np.searchsorted(ts_ns[at:end], until_ns, "left")))

    def _felt_from(self, ts_ns: Ints, approved: Ints) -> int:
        """The first row at which the first of the approved rows may be felt; the number of rows where none is.

        What is judged behind it is judged in vain: as long as there is none stretches grow, and then begin anew.
        """
        n = len(ts_ns)
        if len(approved):
            first = int(approved[0])
            n = max(first + 1, int(np.searchsorted(ts_ns, int(ts_ns[first]) + self._latency_ns, "left")))
        self._stretch = self._stretch * 2 if n == len(ts_ns) else SHORT_STRETCH
        return n

    def _ahead(self, opportunities: Opportunities) -> None:
        for engine in self._engines.values():
            if isinstance(engine, AskedAhead):
                engine.ahead(opportunities)

    def _take(self, reports: Iterable[Report], panel: Panel) -> None:
        for report in reports:
            self._tally.reported(report)
            panel.report(report)
