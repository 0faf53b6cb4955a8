"""The executor's ledger as the hub knows it: its snapshot with every report since, its epoch, the trading state.

It is what the executor's link reports to, and it passes on to the engines what they have to know. Their snapshots say
the trading state that holds, which an operator may have made stricter than the ledger's own.
"""

from collections.abc import Callable, Sequence

import structlog

from arbhub.state import LedgerValues, Report, Snapshot
from hub.seats import Place
from hub.statistics import Statistics
from hub.trades import TradeLink
from hub.trading import Trading

log = structlog.get_logger()


class LedgerView:
    """`snapshot` is None before the first connection, `connection` counts them. `trades` is set by the owner.

    `books` is called at each connection before anything else, to send the executor what it must know first.
    """

    trades: TradeLink

    def __init__(
        self, places: Sequence[Place], trading: Trading, statistics: Statistics, books: Callable[[], None]
    ) -> None:
        self.snapshot: Snapshot | None = None
        self.epoch = self.connection = 0
        self.trading = trading
        self._places, self._statistics, self._books = places, statistics, books

    def connected(self, snapshot: Snapshot) -> None:
        """The executor's word: from here on its state and its epoch count."""
        self.epoch, self.snapshot = snapshot.epoch, snapshot
        self.connection += 1
        self._books()
        self.trading.ledger_said(snapshot.values.trading_state)
        if self.trading.untold:
            self.trades.trading(self.trading.commanded)
        self._tell()
        log.info("executor connected", epoch=snapshot.epoch)

    def disconnected(self) -> None:
        """Nothing is approved until it is back; whoever approves asks the link."""

    def reported(self, report: Report) -> None:
        """What became of a decision: for the engines that keep the state."""
        if self.snapshot is not None:
            self.snapshot = self.snapshot.after(report.values)
        self._statistics.report(report)
        for place in self._places:
            place.report(report)

    def command(self, state: int, why: str) -> None:
        """The operator's word: no decision that it forbids is approved from here on, of rounds under way neither."""
        self.trading.command(state, why)
        self.trades.trading(state)
        self._tell()

    def trading_changed(self, state: int) -> None:
        """The ledger's word."""
        self.trading.ledger_said(state)
        self._tell()

    def _tell(self) -> None:
        if self.snapshot is not None:
            self.snapshot = self.snapshot.after(LedgerValues(trading_state=self.trading.state))
            for place in self._places:
                place.snapshot(self.snapshot)
