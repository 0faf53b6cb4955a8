"""How commands lay out what they show."""

from rich.table import Table

from arbhub.v1.ledger_pb2 import TradingState


def table(title: str, *columns: str) -> Table:
    """A table; a column whose name begins with ">" is of numbers."""
    return _with_columns(Table(title=title, title_justify="left"), columns, no_wrap=False)


def plain_table(*columns: str) -> Table:
    """The same without lines, a line a row."""
    return _with_columns(
        Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim"), columns, no_wrap=True
    )


def trading_state(state: "TradingState.ValueType") -> str:
    """A trading state in a word or two."""
    name = TradingState.Name(state).removeprefix("TRADING_STATE_").lower()
    return "not known" if name == "unspecified" else name


def _with_columns(t: Table, columns: tuple[str, ...], *, no_wrap: bool) -> Table:
    for name in columns:
        t.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", no_wrap=no_wrap)
    return t
