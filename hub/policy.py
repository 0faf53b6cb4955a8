"""The fold: verdicts of every active engine into one decision a tick. Pure; engines in the order of the table.

Fail closed: a net edge or a quantity that is not a finite number is no approval, whoever sent it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

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

W = TypeVar("W")
V_co = TypeVar("V_co", covariant=True)
OUTCOME_CODES = np.array([reasons.APPROVED, reasons.NO_COUNTERPART, reasons.SAME_VENUE])


class Ballot(NamedTuple, Generic[V_co]):
    """What one engine said of a round: `verdicts` None if nothing in time. Reasons are codes of the hub's table."""

    engine: str
    verdicts: V_co
    reason_codes: Ints
    """The engine's reason number -> the hub's code."""
    timeout_code: int
    veto_on_timeout: bool = True

    def of(self, verdicts: W) -> "Ballot[W]":
        """The same engine's, with its verdicts in another form."""
        return Ballot(self.engine, verdicts, self.reason_codes, self.timeout_code, self.veto_on_timeout)


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
def fold(o: Opportunities, ballots: Sequence[Ballot[Verdicts | None]], terms: Terms) -> Folded:
    """The decision on every opportunity of a round. Reasons: the first that holds, in the design's order."""
    n = len(o)
    tally = _Tally(np.zeros(n), np.full(n, np.inf), o.buy_ask, o.sell_bid, np.zeros(n, np.int64))
    for ballot in ballots:
        tally.count(ballot)
    net = tally.net
    # Written from the last reason to the first, so that the first that holds stays.
    reason = np.where((net >= terms.min_net_edge_bps) & (net < np.inf), reasons.APPROVED, reasons.NET_EDGE_TOO_LOW)
    reason[~big_enough(tally.quantity, o, terms.universe)] = reasons.QUANTITY_TOO_SMALL
    if tally.vetoed:
        reason = np.where(tally.rejected == 0, reason, tally.rejected)
    if tally.timed_out:  # a sum that lacks a veto engine's part is no net edge
        reason[:], net = tally.timed_out, np.full(n, np.nan)
    if not terms.executor_up:
        reason[:] = reasons.EXECUTOR_UNAVAILABLE
    return Folded(reason, net, tally.quantity, tally.bps, tally.buy_limit, tally.sell_limit)


@dataclass(slots=True)
class _Tally:
    """What the ballots counted so far add up to."""

    net: Floats
    quantity: Floats
    buy_limit: Floats
    sell_limit: Floats
    rejected: Ints
    """The first reject's code, 0 where there is none."""
    vetoed: bool = False
    timed_out: int = 0
    bps: dict[str, Floats] = field(default_factory=dict)

    def count(self, ballot: Ballot[Verdicts | None]) -> None:
        """Take one engine's ballot in; the first reject and the first silence stay the reason."""
        v = ballot.verdicts
        if v is None:
            if ballot.veto_on_timeout and not self.timed_out:
                self.timed_out = ballot.timeout_code
            return
        unanimous = not np.count_nonzero(v.verdict != APPROVE)
        if not unanimous:
            self._veto(ballot, v)
        if unanimous or not np.count_nonzero(v.verdict == ABSTAIN):
            self._add(ballot.engine, v, v.bps)
        else:
            self._add_some(ballot.engine, v, v.verdict == ABSTAIN)

    def _veto(self, ballot: Ballot[Verdicts | None], v: Verdicts) -> None:
        vetoes = (v.verdict != APPROVE) & (v.verdict != ABSTAIN) & (self.rejected == 0)
        self.rejected[vetoes] = ballot.reason_codes[v.reason[vetoes]]
        self.vetoed = True

    def _add(self, engine: str, v: Verdicts, bps: Floats) -> None:
        self.bps[engine] = bps
        self.net = self.net + v.bps
        self.quantity = np.minimum(self.quantity, v.quantity)
        if v.buy_limit is not None and v.sell_limit is not None:
            self.buy_limit, self.sell_limit = v.buy_limit, v.sell_limit

    def _add_some(self, engine: str, v: Verdicts, abstains: Bools) -> None:
        """An abstention adds nothing, caps nothing and sets no limits."""
        limits = [
            None if limit is None else np.where(abstains, so_far, limit)
            for limit, so_far in ((v.buy_limit, self.buy_limit), (v.sell_limit, self.sell_limit))
        ]
        bps, quantity = np.where(abstains, 0.0, v.bps), np.where(abstains, np.inf, v.quantity)
        self._add(engine, Verdicts(v.verdict, v.reason, bps, quantity, *limits), np.where(abstains, np.nan, v.bps))


def big_enough(quantity: Floats, o: Opportunities, universe: Universe) -> Bools:
    """Whether a quantity is finite, above zero and not below a leg's lot, minimum quantity or minimum notional."""
    enough = (quantity > 0) & (quantity < np.inf)
    width = universe.least_quantity.shape[1]
    first = o.instrument * width  # in the tables as if they were flat, which are taken from several times faster
    for venue, price in ((o.buy_venue, o.buy_ask), (o.sell_venue, o.sell_bid)):
        at = first + venue
        enough &= quantity >= universe.least_quantity.take(at)
        enough &= quantity * price >= universe.min_notional.take(at)
    return enough


def sound(v: Verdicts, rows: int, reason_count: int) -> bool:
    """Whether an answer is one: a row a row, known verdicts, a reason of the engine's own, limits that are prices."""
    if len(v) != rows:
        return False
    if np.count_nonzero(v.reason > reason_count):
        return False
    if np.count_nonzero(v.verdict != APPROVE):
        known = (v.verdict >= APPROVE) & (v.verdict <= ABSTAIN) & ((v.verdict != REJECT) | (v.reason > 0))
        if np.count_nonzero(known) < rows:
            return False
    return _priced(v)


def _priced(v: Verdicts) -> bool:
    """Whether the limits of what may be traded are prices; the executor takes no others."""
    if v.buy_limit is None or v.sell_limit is None:
        return True
    priced = (np.minimum(v.buy_limit, v.sell_limit) > 0) & (np.maximum(v.buy_limit, v.sell_limit) < np.inf)
    if np.count_nonzero(priced) == len(v):
        return True
    idle = (v.verdict != APPROVE) | ~(v.quantity > 0)
    return bool(np.count_nonzero(priced | idle) == len(v))


@as_ieee754
def decisions(batch: tuple[Ticks, int, Resolved], folded: Folded, terms: Terms, names: Sequence[str]) -> Decisions:
    """A decision for every tick of a batch (ticks, first sequence, as resolved): folded, or no opportunity."""
    ticks, first_sequence, resolved = batch
    n, rows, o = len(ticks), resolved.rows, resolved.opportunities
    everywhere = len(rows) == n  # as it mostly is: then columns are what they are
    code = OUTCOME_CODES[resolved.outcome]
    code[rows] = folded.reason

    def spread(values: Floats) -> Floats:
        if everywhere:
            return values
        column = np.full(n, np.nan)
        column[rows] = values
        return column

    def leg(venues: Ints) -> Ints:
        if everywhere:
            return venues
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
