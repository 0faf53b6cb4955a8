"""The suite's one table: what was done to whom, and what became of the ticks meanwhile."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

WIDTH = 132


@dataclass(frozen=True, slots=True)
class Row:
    """From the blow to the recovery. `lost` went down with the client's stream.

    The worst decision by the hub's own measure, from receipt to answer, and by the client's, its waits included.
    """

    part: str
    fault: str
    sent: int
    decided: int
    lost: int
    approved: int
    hub_ms: float
    client_ms: float
    recovery_s: float


def rendered(rows: list[Row], deadline_ms: float) -> str:
    """As text."""
    table = Table(title=f"faults under load; the rounds' deadline is {deadline_ms:g} ms")
    for name in ("to", "fault"):
        table.add_column(name, no_wrap=True)
    for name in ("ticks\nsent", "decided", "lost", "approved", "worst, ms\nhub", "worst, ms\nclient", "recovers\nin s"):
        table.add_column(name, justify="right", no_wrap=True)
    part = ""
    for row in rows:
        if part and row.part.split()[0] != part.split(maxsplit=1)[0]:
            table.add_section()
        part = row.part
        counts = (f"{count:,}" for count in (row.sent, row.decided, row.lost, row.approved))
        table.add_row(part, row.fault, *counts, f"{row.hub_ms:.1f}", f"{row.client_ms:.1f}", f"{row.recovery_s:.2f}")
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as text:
        console.print(table)
    return text.get()
