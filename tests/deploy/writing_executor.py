"""An executor's writing end alone: it trades on and on into a ledger, as the desk does, until it is told to stop."""

import threading
from decimal import Decimal, localcontext
from types import TracebackType
from typing import Self

from executor.account import Account
from executor.journal import Completion, FencedError
from executor.ledger import SqlLedger
from executor.money import CONTEXT, ZERO
from executor.opening import open_ledger
from executor.orders import FILLED, Approved, Fill, Order

PATIENCE_S = 60.0


class WritingExecutor:
    """Runs for as long as the block does. `traded` has the decisions that are committed, `epochs` what it took."""

    def __init__(self, url: str) -> None:
        self.traded: list[tuple[int, int]] = []
        self.epochs: list[int] = []
        self._url, self._stop = url, threading.Event()
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._error and error is None:
            raise self._error

    def until(self, trades: int = 0, epochs: int = 0) -> None:
        """Wait for so many trades in all, and so many epochs."""
        with self._moved:
            enough = self._moved.wait_for(
                lambda: bool(self._error) or (len(self.traded) >= trades and len(self.epochs) >= epochs), PATIENCE_S
            )
        assert not self._error, self._error
        assert enough, "the executor did not come so far"

    def _run(self) -> None:
        try:
            with localcontext(CONTEXT):
                ledger = SqlLedger(open_ledger(self._url))
                while not self._stop.is_set():
                    self._trade_through_an_epoch(ledger)
                ledger.close()
        except Exception as error:
            self._error = error
            self._tell()

    def _trade_through_an_epoch(self, ledger: SqlLedger) -> None:
        epoch, recovered = ledger.take_epoch()
        assert recovered is not None
        account = Account({}, recovered.books)
        self.epochs.append(epoch)
        self._tell()
        try:
            sequence = 0
            while not self._stop.is_set():
                self._trade(ledger, account, epoch, sequence)
                self.traded.append((epoch, sequence))
                self._tell()
                sequence += 1
        except FencedError:
            pass  # somebody else's: on with whatever is there now

    def _trade(self, ledger: SqlLedger, account: Account, epoch: int, sequence: int) -> None:
        approved = Approved(epoch, sequence, sequence, sequence, "BTC/USD", "A", "B", 0.25, 101.0, 102.0, 100.0, 103.0)
        legs = [("buy", "A", True), ("sell", "B", False)]
        orders = [
            Order((epoch, sequence), leg, 0, "BTC/USD", venue, buy, Decimal("0.25"), None, sequence, sequence)  # type: ignore[arg-type]
            for leg, venue, buy in legs
        ]
        ledger.admit(approved, orders)
        ledger.commit()
        price, fee = Decimal(100 + sequence % 7), Decimal("0.01")
        fills = [
            Fill(o.client_order_id, 0, "BTC/USD", o.venue, o.buy, price, o.quantity, fee, sequence) for o in orders
        ]
        changed = account.book(fills)
        ledger.complete(Completion(approved.id, [(o, FILLED) for o in orders], fills, changed, False, ZERO))
        ledger.commit()

    def _tell(self) -> None:
        with self._moved:
            self._moved.notify_all()
