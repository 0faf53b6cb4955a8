"""How commands lay out what they show."""

from rich.table import Table


def table(title: str, *columns: str) -> Table:
    """A table; a column whose name begins with ">" is of numbers."""
    t = Table(title=title, title_justify="left")
    for name in columns:
        t.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    return t
