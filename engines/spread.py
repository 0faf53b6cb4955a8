"""Spread: the gross edge between the legs, and whether it is believable."""

import math

import numpy as np

from arbhub.columns import APPROVE, REJECT, Bools, Opportunities, Verdicts, as_ieee754
from arbhub.engine import Engine, EngineConfiguration, first_reason, verdicts
from arbhub.rows import Opportunity, Verdict

_NOWHERE: Bools = np.zeros(0, np.bool_)  # where a rule that is turned off holds


class Spread(Engine):
    """bps = (sell_bid - buy_ask) / buy_ask * 1e4. A huge edge is a bad quote, a young one a passing one."""

    name = "spread"
    reasons = ("GROSS_EDGE_TOO_HIGH", "LEG_SKEW_TOO_HIGH", "EDGE_TOO_YOUNG")
    reads = ("ts_ns", "buy_ask", "sell_bid", "buy_ts_ns", "sell_ts_ns", "edge_since_ns")

    def configure(self, configuration: EngineConfiguration) -> None:
        """Take [engines.spread]."""
        self._settings = configuration.engines.spread

    @as_ieee754
    def judge(self, opportunities: Opportunities) -> Verdicts:
        """Reject an edge too high, legs too far apart in time and an edge not yet old enough."""
        o, s = opportunities, self._settings
        gross = (o.sell_bid - o.buy_ask) / o.buy_ask * 1e4
        rules: list[Bools] = [~(gross <= s.max_gross_edge_bps), _NOWHERE, _NOWHERE]
        if s.max_leg_skew_ms < math.inf:
            rules[1] = np.abs(o.buy_ts_ns - o.sell_ts_ns) > s.max_leg_skew_ms * 1e6
        if s.min_edge_age_ms > 0:
            age_ns = np.maximum(o.ts_ns - o.edge_since_ns, 0)  # time that went back makes no edge younger than new
            rules[2] = age_ns < s.min_edge_age_ms * 1e6
        return verdicts(first_reason(len(o), rules), gross)

    def judge_row(self, opportunity: Opportunity) -> Verdict:
        """The same of one."""
        o, s = opportunity, self._settings
        gross = (o.sell_bid - o.buy_ask) / o.buy_ask * 1e4
        reason = 0
        if not gross <= s.max_gross_edge_bps:
            reason = 1
        elif float(abs(o.buy_ts_ns - o.sell_ts_ns)) > s.max_leg_skew_ms * 1e6:
            reason = 2
        elif float(max(o.ts_ns - o.edge_since_ns, 0)) < s.min_edge_age_ms * 1e6:
            reason = 3
        return Verdict(REJECT if reason else APPROVE, reason, gross, math.inf)
