"""The loop of a replay: hub, engines and paper executor driven by recorded time.

A report takes effect at its time, before a tick of the same time. So a batch holds the ticks of [t, t + latency)
and none at or after the time at which something in flight is due: within it no decision can feel another, and
how the stream is cut has no part in any result.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from arbhub.columns import NO_VENUE, Decisions, Floats, Ints, Ticks
from arbhub.reference import Listing, ReferenceData, Universe, taker_table
from arbhub.settings.schema import Settings
from arbhub.state import DENIED, Report
from executor.desk import PaperDesk
from executor.journal import MemoryLedger
from feeds.capture import SkippedLines, merge
from feeds.market import BookUpdate, ticks_of
from hub.book import Books
from hub.panel import Panel
from hub.policy import Terms, decisions, fold
from hub.reasons import ReasonTable

CHUNK = 8192  # updates parsed ahead of deciding them


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
        self._sequence = 0
        self._tally = Tally()
        self._wall_s = self._decide_s = 0.0
        self.on_progress: Callable[[int, float], None] = lambda *_: None

    async def to_the_end(self, out: Path | None = None) -> None:
        """Decide every tick, writing a line each to `out`; CaptureError and ServiceError say what is wrong."""
        from arbhub.cli.services import in_process_engines

        began = time.perf_counter()
        file = out.open("wb") if out else None
        try:
            async with Panel(self._settings, in_process_engines(self._settings), self._reasons) as panel:
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
            "unhedged": sum(quantity != 0 for quantity in t.unhedged.values()),
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
        at = 0
        while at < len(ticks):
            begin_ns = int(ticks.ts_ns[at])
            self._take(self._desk.advance(begin_ns), panel)
            batch = ticks.slice(at, self._end(ticks.ts_ns, at, begin_ns))
            at += len(batch)
            resolved = self._books.apply(batch, self._sequence, depth=True)
            ballots = await panel.ask(resolved.opportunities)
            folded = fold(resolved.opportunities, ballots, self._terms)
            decided = decisions((batch, self._sequence, resolved), folded, self._terms, self._reasons.names)
            approved = decided.take(np.nonzero(decided.approved)[0])
            self._take(self._desk.step(decided.sequence, batch, approved), panel)
            self._sequence += len(batch)
            self._tally.decided(decided)
            if out:
                out.writelines(lines(decided, self._universe, self._version))

    def _end(self, ts_ns: Ints, at: int, begin_ns: int) -> int:
        """Where the batch that begins at row `at` must end."""
        until_ns = begin_ns + self._latency_ns
        due_ns = self._desk.next_due_ns
        if due_ns is not None:
            until_ns = min(until_ns, due_ns)
        last = min(at + self._batch, len(ts_ns))
        return max(at + 1, at + int(np.searchsorted(ts_ns[at:last], until_ns, "left")))

    def _take(self, reports: Iterable[Report], panel: Panel) -> None:
        for report in reports:
            self._tally.reported(report)
            panel.report(report)


class Tally:
    """What a replay counts."""

    def __init__(self) -> None:
        self.opportunities = self.gross_positive = self.approved = self.fills = 0
        self.rejected: Counter[str] = Counter()
        self.denied: Counter[str] = Counter()
        self.net_edges_bps: list[float] = []
        self.quantities: list[float] = []
        self.pnl: dict[str, float] = {}
        self.unhedged: dict[int, float] = {}

    def decided(self, d: Decisions) -> None:
        """Count a batch of decisions."""
        self.opportunities += int((d.buy_venue != NO_VENUE).sum())
        self.gross_positive += int((d.gross_edge_bps > 0).sum())
        counts = d.by_reason()
        self.approved += counts.pop("", 0)
        self.rejected.update(counts)
        self.net_edges_bps += d.net_edge_bps[d.approved].tolist()
        self.quantities += d.quantity[d.approved].tolist()

    def reported(self, report: Report) -> None:
        """Count what became of an approved decision."""
        self.fills += len(report.fills)
        self.unhedged[report.sequence] = report.unhedged
        if report.kind == DENIED:
            self.denied[report.reason] += 1
        self.pnl |= {asset: pnl.cumulative for asset, pnl in report.values.pnl.items()}


def lines(d: Decisions, universe: Universe, version: str) -> Iterator[bytes]:
    """The decisions file's lines; null where a value has no meaning."""
    venues = dict(enumerate(universe.venues))
    table = zip(
        d.sequence.tolist(),
        d.ts_ns.tolist(),
        d.instrument.tolist(),
        d.buy_venue.tolist(),
        d.sell_venue.tolist(),
        _values(d.gross_edge_bps),
        _values(d.fee_bps),
        _values(d.slippage_bps),
        _values(d.quantity),
        _values(d.net_edge_bps),
        d.approved.tolist(),
        d.reason.tolist(),
        strict=True,
    )
    for sequence, ts_ns, symbol, buy, sell, gross, fee, slippage, quantity, net, approved, reason in table:
        line = {
            "sequence": sequence,
            "ts_ns": ts_ns,
            "symbol": universe.symbols[symbol],
            "buy_venue": venues.get(buy),
            "sell_venue": venues.get(sell),
            "gross_edge_bps": gross,
            "fee_bps": fee,
            "slippage_bps": slippage,
            "quantity": quantity,
            "net_edge_bps": net,
            "approved": approved,
            "reason": d.reasons[reason] or None,
            "config_version": version,
        }
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _values(column: Floats) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in column.tolist()]
