"""Reports of the desk as the hub gets them: float64, by name. Pure."""

from arbhub.state import DENIED, FillRow, Report
from executor.orders import Approved, Fill


def denied(approved: Approved, reason: str) -> Report:
    """A decision that the gate stopped, as of its own time."""
    return Report(DENIED, *approved.id, approved.ts_ns, approved.symbol, reason)


def fill_row(fill: Fill) -> FillRow:
    """One fill; prices and fee in quote currency, quantity in base currency."""
    amounts = float(fill.price), float(fill.quantity), float(fill.fee)
    return FillRow(fill.client_order_id, fill.symbol, fill.venue, fill.buy, *amounts)
