"""The fold for a few ticks: what `hub.policy` makes of a round, one row after the other, to the bit.

Only where every engine asked has answered, and nothing was shed: all else is for the columns.
"""

import math
from collections.abc import Sequence

from arbhub.columns import ABSTAIN, APPROVE, NO_VENUE, REJECT
from arbhub.reference import Universe
from arbhub.rows import Answer, Decision, Opportunity, Tick, Verdict
from hub import policy, reasons
from hub.policy import OUTCOME_CODES, Ballot, Terms
from hub.rowbook import ResolvedRow

INF, NAN = math.inf, math.nan
RowBallots = Sequence[Ballot[list[Verdict]]]
NO_OPPORTUNITY = [int(code) for code in OUTCOME_CODES]


def decide(
    ticks: Sequence[Tick],
    first_sequence: int,
    resolved: Sequence[ResolvedRow],
    ballots: RowBallots,
    terms: Terms,
) -> list[Decision]:
    """A decision for every tick."""
    decided, row = [], 0
    for sequence, (tick, (outcome, opportunity)) in enumerate(zip(ticks, resolved, strict=True), first_sequence):
        if opportunity is None:
            decided.append(_without(tick, sequence, NO_OPPORTUNITY[outcome], terms))
        else:
            decided.append(_folded(opportunity, sequence, ballots, row, terms))
            row += 1
    return decided


def _without(tick: Tick, sequence: int, code: int, terms: Terms) -> Decision:
    return Decision(
        sequence, tick.ts_ns, tick.instrument, False, code, NO_VENUE, NO_VENUE,
        NAN, NAN, NAN, NAN, NAN, NAN, NAN, tick.ts_ns + terms.ttl_ns, NAN, NAN,
    )  # fmt: skip


def _folded(
    o: Opportunity, sequence: int, ballots: Sequence[Ballot[list[Verdict]]], row: int, terms: Terms
) -> Decision:
    net, quantity, rejected = 0.0, INF, 0
    buy_limit, sell_limit = o.buy_ask, o.sell_bid
    fee = slippage = NAN
    for engine, verdicts, codes, _, _ in ballots:
        verdict, reason, bps, cap, buy, sell = verdicts[row]
        if verdict == ABSTAIN:
            continue
        if verdict != APPROVE and not rejected:
            rejected = codes.item(reason)
        net += bps
        if not quantity <= cap:  # also where it is no number
            quantity = cap if quantity == quantity else quantity  # noqa: PLR0124  # NaN is for ever
        if buy is not None and sell is not None:
            buy_limit, sell_limit = buy, sell
        if engine == "fee":
            fee = -bps
        elif engine == "liquidity":
            slippage = 0.0 - bps
    code = rejected or _own_reason(o, net, quantity, terms)
    if not terms.executor_up:
        code = reasons.EXECUTOR_UNAVAILABLE
    return Decision(
        sequence, o.ts_ns, o.instrument, code == reasons.APPROVED, code, o.buy_venue, o.sell_venue,
        (o.sell_bid - o.buy_ask) / o.buy_ask * 1e4, fee, slippage, net, quantity, buy_limit, sell_limit,
        o.ts_ns + terms.ttl_ns, o.buy_ask, o.sell_bid,
    )  # fmt: skip


def _own_reason(o: Opportunity, net: float, quantity: float, terms: Terms) -> int:
    """The hub's own reason, where no engine rejects."""
    if not _big_enough(quantity, o, terms.universe):
        return reasons.QUANTITY_TOO_SMALL
    if not terms.min_net_edge_bps <= net < INF:
        return reasons.NET_EDGE_TOO_LOW
    return reasons.APPROVED


def _big_enough(quantity: float, o: Opportunity, u: Universe) -> bool:
    if not 0.0 < quantity < INF:
        return False
    least, notional, i = u.least_quantity, u.min_notional, o.instrument
    return bool(
        quantity >= least.item(i, o.buy_venue)
        and quantity >= least.item(i, o.sell_venue)
        and quantity * o.buy_ask >= notional.item(i, o.buy_venue)
        and quantity * o.sell_bid >= notional.item(i, o.sell_venue)
    )


def sound(rows: Sequence[Verdict], count: int, reason_count: int) -> bool:
    """As `hub.policy.sound`."""
    if len(rows) != count:
        return False
    for verdict, reason, _, quantity, buy, sell in rows:
        if not APPROVE <= verdict <= ABSTAIN or not 0 <= reason <= reason_count:
            return False
        if verdict == REJECT and not reason:
            return False
        if buy is None or sell is None or verdict != APPROVE or not quantity > 0.0:
            continue
        if not (0.0 < buy < INF and 0.0 < sell < INF):
            return False
    return True


def is_answer(answer: Answer, count: int, reason_count: int) -> bool:
    """Whether an answer in either form is sound."""
    if isinstance(answer, list):
        return sound(answer, count, reason_count)
    return policy.sound(answer, count, reason_count)
