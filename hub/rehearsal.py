"""The latest ticks judged by two configurations, and where their decisions differ. Nothing live is touched.

The engines are others than those at work: new ones in this process, and at the remote places streams of our own, each
with its configuration. Both are told the same reference data and ledger, as of now and as if trading were active, so
what differs is the configuration's doing. An engine that is down takes part in neither.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arbhub.columns import NO_VENUE, Decisions, Ticks
from arbhub.reference import Universe
from arbhub.service import ServiceError
from arbhub.settings.schema import Settings
from arbhub.state import ACTIVE, LedgerValues, Snapshot
from hub.book import Books, Resolved
from hub.hub import Hub
from hub.panel import Panel
from hub.policy import Terms, decisions, fold
from hub.reasons import ReasonTable
from hub.seats import LocalSeat

CHUNK = 128  # rows judged at once: what is live waits for no more than these
EXAMPLES = 5
CONNECT_S, REHEARSAL_S = 2.0, 8.0
COLD_BOOKS = "max_quote_age_ms differs: for both, the books were rebuilt from these ticks alone"

Cases = Sequence[tuple[Ticks, Resolved]]


@dataclass(slots=True)
class Rehearsal:
    """What two configurations make of the same ticks: decisions by reason, and the rows where they differ."""

    ticks: int = 0
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, before: Decisions, after: Decisions, universe: Universe) -> None:
        """The same ticks, decided twice."""
        self.ticks += len(before)
        old, new = _outcomes(before), _outcomes(after)
        self.before.update(old)
        self.after.update(new)
        for row, pair in enumerate(zip(old, new, strict=True)):
            if pair[0] != pair[1]:
                self.changes[pair] += 1
                self.examples = [*self.examples[1 - EXAMPLES :], _example(before, after, row, universe, pair)]

    def as_json(self) -> dict[str, Any]:
        """As arbhub.v1.Rehearsal."""
        return {
            "ticks": self.ticks,
            "before": dict(self.before),
            "after": dict(self.after),
            "changed": self.changes.total(),
            "changes": [{"before": b, "after": a, "ticks": n} for (b, a), n in self.changes.most_common()],
            "examples": self.examples,
            "note": "; ".join(self.notes),
        }


async def rehearse(hub: Hub, offered: Settings) -> Rehearsal:
    """Judge the hub's recent ticks by its settings and by those offered; ServiceError where an engine fails to."""
    result, running = Rehearsal(), hub.settings
    down = [seat.name for seat in hub.seats if not seat.up]
    if down:
        result.notes.append(f"judged without {' and '.join(down)}, which {'is' if len(down) == 1 else 'are'} down")
    cases: Cases = hub.recent.cut(CHUNK)
    if not cases:
        return result
    same_books = running.hub.max_quote_age_ms == offered.hub.max_quote_age_ms
    if not same_books:
        result.notes.append(COLD_BOOKS)
    decided = []
    try:
        async with asyncio.timeout(REHEARSAL_S):
            for settings in (running, offered):
                theirs = cases if same_books else await _on_cold_books(cases, hub.universe, settings)
                decided.append(await _judged(hub, _without(settings, down), theirs))
    except TimeoutError:
        raise ServiceError(f"the latest ticks were not judged within {REHEARSAL_S:g} s") from None
    for before, after in zip(*decided, strict=True):
        result.count(before, after, hub.universe)
        await asyncio.sleep(0)
    return result


async def _judged(hub: Hub, settings: Settings, cases: Cases) -> list[Decisions]:
    """The decisions on each case, by engines of their own."""
    reasons, found, sequence = ReasonTable(), [], 0
    engines = {seat.name: seat.fresh() for seat in hub.seats if isinstance(seat, LocalSeat)}
    terms = Terms(hub.universe, settings.hub.min_net_edge_bps, int(settings.hub.decision_ttl_ms * 1e6))
    async with Panel(settings, engines, reasons, CONNECT_S, hub.credentials) as panel:
        panel.reference(hub.universe)
        panel.snapshot(_as_if_active(hub.ledger()))
        for ticks, resolved in cases:
            folded = fold(resolved.opportunities, await panel.ask(resolved.opportunities), terms)
            found.append(decisions((ticks, sequence, resolved), folded, terms, reasons.names))
            sequence += len(ticks)
            await asyncio.sleep(0)  # what is live comes first
    return found


async def _on_cold_books(cases: Cases, universe: Universe, settings: Settings) -> Cases:
    books, sequence, found = Books(universe, settings.hub.max_quote_age_ms, settings.hub.depth), 0, []
    books.resize()
    for ticks, _ in cases:
        found.append((ticks, books.apply(ticks, sequence, depth=True)))
        sequence += len(ticks)
        await asyncio.sleep(0)
    return found


def _as_if_active(ledger: Snapshot | None) -> Snapshot:
    return (ledger or Snapshot(0, True, LedgerValues())).after(LedgerValues(trading_state=ACTIVE))


def _without(settings: Settings, names: Sequence[str]) -> Settings:
    """The settings with these engines off, unchecked: risk may be among them where nothing is traded."""
    table = settings.engines.table()
    off = {name: table[name].model_copy(update={"mode": "off"}) for name in names}
    return settings.model_copy(update={"engines": settings.engines.model_copy(update=off)})


def _outcomes(d: Decisions) -> list[str]:
    return [d.reasons[code] or "approved" for code in d.reason.tolist()]


def _example(
    before: Decisions, after: Decisions, row: int, universe: Universe, outcomes: tuple[str, str]
) -> dict[str, Any]:
    opportunity = after if np.isfinite(after.gross_edge_bps[row]) else before
    buy, sell = (
        "" if venue == NO_VENUE else universe.venues[venue]
        for venue in (int(opportunity.buy_venue[row]), int(opportunity.sell_venue[row]))
    )
    return {
        "ts_ns": int(before.ts_ns[row]),
        "symbol": universe.symbols[before.instrument[row]],
        "buy_venue": buy,
        "sell_venue": sell,
        "before": outcomes[0],
        "after": outcomes[1],
        "net_edge_bps_before": _known(before.net_edge_bps[row]),
        "net_edge_bps_after": _known(after.net_edge_bps[row]),
    }


def _known(bps: float) -> float | None:
    return float(bps) if np.isfinite(bps) else None
