"""Risk: the limits of [risk] on the state last reported. The executor's gate asks the same limits again, on the
true state; this engine only spares it what is hopeless, and caps the quantity."""

import numpy as np

from arbhub.columns import REJECT, Floats, Opportunities, Verdicts, as_ieee754
from arbhub.engine import Engine, EngineConfiguration, verdicts
from arbhub.limits import REASONS, Pair, headroom
from arbhub.reference import Universe, taker_table
from arbhub.rows import Opportunity, Verdict
from arbhub.state import LedgerState, Report, Snapshot

STATE_UNKNOWN = REASONS.index("STATE_UNKNOWN") + 1


class Risk(Engine):
    """Contributes no bps: caps the quantity, or rejects where a limit is used up or its state is unknown."""

    name = "risk"
    reasons = REASONS
    wants_state = True
    reads = ("ts_ns", "instrument", "buy_venue", "sell_venue", "buy_ask", "sell_bid")

    def __init__(self) -> None:
        self._universe = Universe()
        self._state = LedgerState(self._universe)
        self._taker: Floats = np.zeros((0, 0))

    def configure(self, configuration: EngineConfiguration) -> None:
        """Take [risk], and the fees that buying costs."""
        self._limits, self._fees = configuration.risk, configuration.engines.fee
        self._tabulate()

    def reference(self, universe: Universe) -> None:
        """Follow the universe; the state stays."""
        if universe is not self._universe:
            self._universe = universe
            self._state = LedgerState(universe)
        self._state.resize()
        self._tabulate()

    def snapshot(self, snapshot: Snapshot) -> None:
        """Start from the ledger's state."""
        self._state.load(snapshot)

    def report(self, report: Report) -> None:
        """Keep up with the ledger."""
        self._state.apply(report.values)

    @as_ieee754
    def judge(self, opportunities: Opportunities) -> Verdicts:
        """The headroom under every limit."""
        o = opportunities
        fee = self._taker.take(o.instrument * self._taker.shape[1] + o.buy_venue)
        # The limit price may lie deeper than the best ask, and only liquidity knows how deep.
        limit = o.buy_ask * (1 + self._limits.balance_margin_bps / 1e4)
        pair = Pair(o.ts_ns, o.instrument, o.buy_venue, o.sell_venue, o.buy_ask, o.sell_bid, limit, fee)
        room = headroom(self._state, self._limits, pair)
        return verdicts(room.reason, np.zeros(len(o)), room.quantity)

    def judge_row(self, opportunity: Opportunity) -> Verdict | None:  # noqa: ARG002  # as long as nothing is known
        """The same of one, for as long as the state is unknown."""
        return None if self._state.known else Verdict(REJECT, STATE_UNKNOWN, 0.0, 0.0)

    def _tabulate(self) -> None:
        fees = self._fees
        taker_bps = taker_table(self._universe, dict(fees.taker_bps), dict(fees.volume_30d))
        self._taker = np.nan_to_num(taker_bps) / 1e4  # an unknown fee is for the fee engine to reject
