"""Fee: what both legs' taker fees cost of the edge. A fee that is not known is a reject, never zero."""

import math

import numpy as np

from arbhub.columns import APPROVE, REJECT, Bools, Floats, Opportunities, Verdicts, as_ieee754
from arbhub.engine import Engine, EngineConfiguration, first_reason, verdicts
from arbhub.reference import Universe, taker_table
from arbhub.rows import Opportunity, Verdict


class Fee(Engine):
    """bps = -(taker[buy] + taker[sell] * sell_bid / buy_ask), both fees in bps of their own leg's notional."""

    name = "fee"
    reasons = ("UNKNOWN_VENUE", "UNKNOWN_INSTRUMENT", "UNKNOWN_FEE")
    reads = ("instrument", "buy_venue", "sell_venue", "buy_ask", "sell_bid")

    def __init__(self) -> None:
        self._universe = Universe()
        self._taker_bps: Floats = np.zeros((0, 0))
        self._trades: Bools = np.zeros(0, np.bool_)

    def configure(self, configuration: EngineConfiguration) -> None:
        """Take [engines.fee]."""
        self._settings = configuration.engines.fee
        self.reference(self._universe)

    def reference(self, universe: Universe) -> None:
        """Tabulate the fee of every instrument on every venue, NaN where it is not known."""
        self._universe = universe
        self._taker_bps = taker_table(universe, dict(self._settings.taker_bps), dict(self._settings.volume_30d))
        self._trades = np.logical_or.reduce(universe.listed, axis=0)

    @as_ieee754
    def judge(self, opportunities: Opportunities) -> Verdicts:
        """Reject a leg whose venue, instrument or fee is unknown."""
        o = opportunities
        # Also sees to it that no venue is one too many, which the flat table below would not notice.
        trades = self._trades.take(o.buy_venue) & self._trades.take(o.sell_venue)
        first = o.instrument * self._taker_bps.shape[1]  # in the table as if it were flat, which is faster
        buy_bps, sell_bps = self._taker_bps.take(first + o.buy_venue), self._taker_bps.take(first + o.sell_venue)
        bps = -(buy_bps + sell_bps * o.sell_bid / o.buy_ask)
        unknown = np.isnan(bps)
        if not np.count_nonzero(unknown):  # only what is listed has a fee
            return verdicts(np.zeros(len(o), np.int64), bps)
        listed = self._universe.listed
        rules = (
            ~trades,
            ~(listed[o.instrument, o.buy_venue] & listed[o.instrument, o.sell_venue]),
            unknown,
        )
        return verdicts(first_reason(len(o), rules), bps)

    def judge_row(self, opportunity: Opportunity) -> Verdict:
        """The same of one."""
        o, taker_bps, trades, listed = opportunity, self._taker_bps, self._trades, self._universe.listed
        instrument, buy, sell = o.instrument, o.buy_venue, o.sell_venue
        bps = -(taker_bps.item(instrument, buy) + taker_bps.item(instrument, sell) * o.sell_bid / o.buy_ask)
        reason = 0
        if not (trades.item(buy) and trades.item(sell)):
            reason = 1
        elif not (listed.item(instrument, buy) and listed.item(instrument, sell)):
            reason = 2
        elif math.isnan(bps):
            reason = 3
        return Verdict(REJECT if reason else APPROVE, reason, bps, math.inf)
