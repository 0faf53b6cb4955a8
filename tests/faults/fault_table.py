"""The suite's one table: what was done to whom, and what became of the ticks meanwhile."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

WIDTH = 144


@dataclass(frozen=True, slots=True)
class Row:
    """From the blow to the recovery. `lost` went down with the client's stream.

    The worst decision by the hub's own measure, from receipt to answer, and by the client's, its waits included.
    `waited_ms`: how long the hub was ready to run and others had the machine, in the worst quarter of a second.
    """

    part: str
    fault: str
    sent: int
    decided: int
    lost: int
    approved: int
    hub_ms: float
    client_ms: float
    waited_ms: float
    recovery_s: float


def rendered(rows: list[Row], title: str) -> str:
    """As text."""
    table = Table(title=title)
    for name in ("to", "fault"):
        table.add_column(name, no_wrap=True)
    counted = ("ticks\nsent", "decided", "lost", "approved")
    timed = ("worst, ms\nhub", "worst, ms\nclient", "hub without\na core, ms", "recovers\nin s")
    for name in (*counted, *timed):
        table.add_column(name, justify="right", no_wrap=True)
    part = ""
    for row in rows:
        if part and row.part.split()[0] != part.split(maxsplit=1)[0]:
            table.add_section()
        part = row.part
        counts = (f"{count:,}" for count in (row.sent, row.decided, row.lost, row.approved))
        times = (f"{ms:.1f}" for ms in (row.hub_ms, row.client_ms, row.waited_ms))
        table.add_row(part, row.fault, *counts, *times, f"{row.recovery_s:.2f}")
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as text:
        console.print(table)
    return text.get()
