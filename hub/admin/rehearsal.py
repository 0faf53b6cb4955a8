"""The latest ticks judged by two configurations, and where their decisions differ. Nothing live is touched.

The engines are others than those at work: new ones in this process, and at the remote places streams of our own. Under
both configurations they know the same reference data and ledger, as of now and as if trading were active, so what
differs is the configuration's doing. An engine that is down takes part in neither. It all goes slowly, with pauses:
rounds under way must not feel it.
"""

import asyncio
import time
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
REST = 3.0  # times what they took, in which nothing is done
EXAMPLES = 5
CONNECT_S, CONNECT_PAUSE_S = 2.0, 0.02
PASS_S, REHEARSAL_S = 3.0, 10.0
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
    try:
        async with asyncio.timeout(REHEARSAL_S):
            before, after = await _judged(hub, cases, _without(running, down), _without(offered, down), same_books)
    except TimeoutError:
        raise ServiceError(f"the latest ticks were not judged within {REHEARSAL_S:g} s") from None
    for pair in zip(before, after, strict=True):
        result.count(*pair, hub.universe)
        await asyncio.sleep(0)
    return result


async def _judged(
    hub: Hub, cases: Cases, running: Settings, offered: Settings, same_books: bool
) -> tuple[list[Decisions], list[Decisions]]:
    """The decisions on the cases by either settings, by the same engines one after the other.

    Where time is short, on the latest cases only.
    """
    reasons = ReasonTable()
    engines = {seat.name: seat.fresh() for seat in hub.seats if isinstance(seat, LocalSeat)}
    found: list[list[Decisions]] = []
    known = hub.references
    async with Panel(
        running, engines, reasons, CONNECT_S, hub.credentials, references=known, pause_s=CONNECT_PAUSE_S
    ) as panel:
        panel.snapshot(_as_if_active(hub.ledger()))
        for settings in (running, offered):
            if found:
                await panel.adopt(settings)
            theirs = cases if same_books else await _on_cold_books(cases, hub.universe, settings)
            if found:  # no more than were judged before
                theirs = theirs[-len(found[0]) :]
            terms = Terms(hub.universe, settings.hub.min_net_edge_bps, int(settings.hub.decision_ttl_ms * 1e6))
            found.append(await _pass(theirs, panel, terms, reasons.names))
    return found[0][-len(found[1]) :], found[1]  # the second may have had less time


async def _pass(cases: Cases, panel: Panel, terms: Terms, names: Sequence[str]) -> list[Decisions]:
    """The decisions on the latest cases, as many as there is time for; what is live comes first."""
    decided: list[Decisions] = []
    until = time.monotonic() + PASS_S
    for ticks, resolved in reversed(cases):
        began = time.monotonic()
        if began > until and decided:
            break
        folded = fold(resolved.opportunities, await panel.ask(resolved.opportunities), terms)
        decided.append(decisions((ticks, 0, resolved), folded, terms, names))
        await asyncio.sleep(REST * (time.monotonic() - began))
    return decided[::-1]


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
