"""What `arbhub trades` and `arbhub pnl` show."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from arbhub.cli.tables import table
from executor.history import Trade, iso, plain
from executor.statement import Line, Statement


def trade_table(trades: Sequence[Trade]) -> RenderableType:
    """A line a decision; its cash is its result where nothing is left unhedged."""
    if not trades:
        return Text("no trades yet")
    t = table(
        "trades", "time (UTC)", "id", "instrument", "buy", "sell", ">bought", ">sold", "outcome", ">fees", ">cash"
    )
    for trade in trades:
        bought, sold = (
            _shown(sum((f.quantity for f in trade.fills if f.buy is side), Decimal(0))) for side in (True, False)
        )
        outcome = trade.status + (f": {trade.reason}" if trade.reason else "")
        if trade.unhedged:
            outcome += f", {_shown(trade.unhedged)} unhedged"
        t.add_row(
            *(iso(trade.ts_ns), trade.id, trade.symbol, trade.buy_venue, trade.sell_venue, bought, sold, outcome),
            *(_shown(trade.fees), _signed(trade.cash)),
        )
    return t


def result_tables(s: Statement) -> RenderableType:
    """In all, then by instrument, venue and day."""
    if not s.in_all:
        return Text("no fills yet")
    in_all = {(asset, "all"): line for asset, line in s.in_all.items()}
    parts: tuple[tuple[str, Mapping[tuple[str, str], Line]], ...] = (
        ("in all", in_all),
        ("by instrument", s.by_instrument),
        ("by venue that filled", s.by_venue),
        ("by day (UTC)", s.by_day),
    )
    differing = [
        Text(f"{asset}: the ledger says {_shown(s.written.get(asset, Decimal(0)))} was realised, its fills {_shown(x)}")
        for asset, x in ((asset, line.realised) for asset, line in s.in_all.items())
        if s.written.get(asset) != x
    ]
    return Group(*(_result_table(title, lines) for title, lines in parts), *differing)


def _result_table(title: str, lines: Mapping[tuple[str, str], Line]) -> Table:
    t = table(title, "asset", "", ">realised", ">fees", ">turnover", ">fills")
    for (asset, name), line in sorted(lines.items()):
        t.add_row(asset, name, _signed(line.realised), _shown(line.fees), _shown(line.turnover), str(line.fills))
    return t


def _signed(amount: Decimal) -> str:
    return f"+{_shown(amount)}" if amount > 0 else _shown(amount)


def _shown(amount: Decimal) -> str:
    """To ten places: an average cost may have sixty."""
    return plain(round(amount, 10))
