"""The fold: verdicts of every active engine into one decision a tick. Pure; engines in the order of the table.

Fail closed: a net edge or a quantity that is not a finite number is no approval, whoever sent it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from arbhub.columns import (
    ABSTAIN,
    APPROVE,
    NO_VENUE,
    REJECT,
    Bools,
    Decisions,
    Floats,
    Ints,
    Opportunities,
    Ticks,
    Verdicts,
    as_ieee754,
)
from arbhub.reference import Universe
from hub import reasons
from hub.book import Resolved

OUTCOME_CODES = np.array([reasons.APPROVED, reasons.NO_COUNTERPART, reasons.SAME_VENUE])


@dataclass(frozen=True, slots=True)
class Ballot:
    """What one engine said of a round: `verdicts` None if nothing in time. Reasons are codes of the hub's table."""

    engine: str
    verdicts: Verdicts | None
    reason_codes: Ints
    """The engine's reason number -> the hub's code."""
    timeout_code: int
    veto_on_timeout: bool = True


@dataclass(frozen=True, slots=True)
class Terms:
    """What a decision is made under."""

    universe: Universe
    min_net_edge_bps: float
    ttl_ns: int
    executor_up: bool = True

    def with_executor(self, up: bool) -> "Terms":
        """The same terms, with the executor reachable or not."""
        return self if up == self.executor_up else replace(self, executor_up=up)


@dataclass(frozen=True, slots=True)
class Folded:
    """One row an opportunity; `reason` 0 is approved. `bps` by engine, NaN where it said nothing."""

    reason: Ints
    net_edge_bps: Floats
    quantity: Floats
    bps: dict[str, Floats]
    buy_limit: Floats
    sell_limit: Floats


@as_ieee754
def fold(o: Opportunities, ballots: Sequence[Ballot], terms: Terms) -> Folded:
    """The decision on every opportunity of a round. Reasons: the first that holds, in the design's order."""
    n = len(o)
    net, quantity = np.zeros(n), np.full(n, np.inf)
    buy_limit, sell_limit = o.buy_ask, o.sell_bid
    timed_out, rejected = np.zeros(n, np.int64), np.zeros(n, np.int64)
    bps: dict[str, Floats] = {}
    for ballot in ballots:
        v = ballot.verdicts
        if v is None:
            if ballot.veto_on_timeout:
                timed_out[timed_out == 0] = ballot.timeout_code
            continue
        counts = v.verdict != ABSTAIN
        bps[ballot.engine] = np.where(counts, v.bps, np.nan)
        net = net + np.where(counts, v.bps, 0.0)
        quantity = np.where(counts, np.minimum(quantity, v.quantity), quantity)
        if v.buy_limit is not None and v.sell_limit is not None:
            buy_limit, sell_limit = v.buy_limit, v.sell_limit
        vetoes = counts & (v.verdict != APPROVE) & (rejected == 0)
        rejected[vetoes] = ballot.reason_codes[v.reason[vetoes]]
    reason = np.full(n, 0 if terms.executor_up else reasons.EXECUTOR_UNAVAILABLE)
    for code in (timed_out, rejected):
        reason = np.where(reason == 0, code, reason)
    tradable = big_enough(quantity, o, terms.universe)
    reason = np.where((reason == 0) & ~tradable, reasons.QUANTITY_TOO_SMALL, reason)
    worthwhile = np.isfinite(net) & (net >= terms.min_net_edge_bps)
    reason = np.where((reason == 0) & ~worthwhile, reasons.NET_EDGE_TOO_LOW, reason)
    if timed_out.any():  # a sum that lacks a veto engine's part is no net edge
        net = np.where(timed_out != 0, np.nan, net)
    return Folded(reason, net, quantity, bps, buy_limit, sell_limit)


def big_enough(quantity: Floats, o: Opportunities, universe: Universe) -> Bools:
    """Whether a quantity is finite, above zero and not below a leg's lot, minimum quantity or minimum notional."""
    i = o.instrument
    enough = (quantity > 0) & (quantity < np.inf)
    for venue, price in ((o.buy_venue, o.buy_ask), (o.sell_venue, o.sell_bid)):
        enough &= quantity >= np.maximum(universe.lot_size[i, venue], universe.min_quantity[i, venue])
        enough &= quantity * price >= universe.min_notional[i, venue]
    return enough


def sound(v: Verdicts, rows: int, reason_count: int) -> bool:
    """Whether an answer off the wire is one: a row a row, known verdicts, a reason of the engine's own."""
    if len(v) != rows:
        return False
    known = (v.verdict >= APPROVE) & (v.verdict <= ABSTAIN) & (v.reason <= reason_count)
    return bool(known.all() and (v.reason[v.verdict == REJECT] > 0).all())


@as_ieee754
def decisions(batch: tuple[Ticks, int, Resolved], folded: Folded, terms: Terms, names: Sequence[str]) -> Decisions:
    """A decision for every tick of a batch (ticks, first sequence, as resolved): folded, or no opportunity."""
    ticks, first_sequence, resolved = batch
    n, rows, o = len(ticks), resolved.rows, resolved.opportunities
    code = OUTCOME_CODES[resolved.outcome]
    code[rows] = folded.reason

    def spread(values: Floats) -> Floats:
        column = np.full(n, np.nan)
        column[rows] = values
        return column

    def leg(venues: Ints) -> Ints:
        column = np.full(n, NO_VENUE, np.int64)
        column[rows] = venues
        return column

    nothing = np.full(len(rows), np.nan)
    return Decisions(
        sequence=first_sequence + np.arange(n),
        ts_ns=ticks.ts_ns,
        instrument=ticks.instrument,
        approved=code == reasons.APPROVED,
        reason=code,
        buy_venue=leg(o.buy_venue),
        sell_venue=leg(o.sell_venue),
        gross_edge_bps=spread((o.sell_bid - o.buy_ask) / o.buy_ask * 1e4),
        fee_bps=spread(-folded.bps.get("fee", nothing)),
        slippage_bps=spread(0.0 - folded.bps.get("liquidity", nothing)),
        net_edge_bps=spread(folded.net_edge_bps),
        quantity=spread(folded.quantity),
        buy_limit=spread(folded.buy_limit),
        sell_limit=spread(folded.sell_limit),
        expires_ns=ticks.ts_ns + terms.ttl_ns,
        buy_ask=spread(o.buy_ask),
        sell_bid=spread(o.sell_bid),
        reasons=names,
    )
