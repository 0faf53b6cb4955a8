"""What the demo shows: a live table on a terminal, a line now and then elsewhere, a summary at the end."""

import math

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from arbhub.processes import Household
from arbhub.v1 import hub_pb2


def table(s: hub_pb2.Status, household: Household) -> RenderableType:
    """Venues, edges, engines, decisions by reason, positions and results, as of one state."""
    return Group(
        _headline(s, household),
        Columns([_books(s), Group(_edges(s), _engines(s))]),
        Columns([_reasons(s), _positions(s), _fills(s)]),
    )


def line(s: hub_pb2.Status) -> str:
    """One state on one line."""
    down = [engine.name for engine in s.engines if not engine.up] + ([] if s.executor_up else ["executor"])
    latency = s.decision_latency
    return (
        f"epoch {s.epoch}  ticks {s.ticks}  approved {s.approved}  fills {s.fills}  pnl {_pnl(s)}  "
        f"decided in p50 {latency.p50_ms:.2f} p99 {latency.p99_ms:.2f} ms"
        + (f"  DOWN: {', '.join(down)}" if down else "")
    )


def summary(s: hub_pb2.Status, seconds: float) -> RenderableType:
    """What came of it, with a line of fills."""
    rejected = "  ".join(f"{reason} {count}" for reason, count in _by_count(s.rejected))
    denied = "  ".join(f"{reason} {count}" for reason, count in _by_count(s.denied)) or "none"
    latency = s.decision_latency
    text = (
        f"[bold]{s.ticks}[/] ticks in {seconds:.0f} s, one decision each: [bold]{s.approved}[/] approved\n"
        f"rejected: {rejected or 'none'}\n"
        f"denied at the gate: {denied}\n"
        f"decided in p50 {latency.p50_ms:.2f} ms, p99 {latency.p99_ms:.2f} ms, at most {latency.max_ms:.2f} ms\n"
        f"fills: [bold]{s.fills}[/]" + (f", the last: {s.last_fills[-1]}" if s.last_fills else "") + "\n"
        f"realised on paper: [bold]{_pnl(s)}[/]"
    )
    return Panel(text, title="arbhub demo", title_align="left")


def _headline(s: hub_pb2.Status, household: Household) -> RenderableType:
    gone = [child.service.name for child in household.children if not child.alive]
    latency = s.decision_latency
    text = (
        f"epoch {s.epoch}   config {s.config_version}   ticks [bold]{s.ticks}[/]   approved [bold]{s.approved}[/]   "
        f"fills [bold]{s.fills}[/]   pnl [bold]{_pnl(s)}[/]   "
        f"decided in p50 {latency.p50_ms:.2f}  p99 {latency.p99_ms:.2f} ms   executor {_up(s.executor_up)}"
    )
    return Panel(text + (f"   [red]ended: {', '.join(gone)}[/]" if gone else ""), title="arbhub", title_align="left")


def _books(s: hub_pb2.Status) -> Table:
    t = _table("books", "venue", "instrument", ">bid", ">ask", ">age ms")
    for b in sorted(s.books, key=lambda b: (b.symbol, b.venue)):
        style = "" if b.usable else "dim red"
        t.add_row(b.venue, b.symbol, f"{b.bid:.2f}", f"{b.ask:.2f}", f"{b.age_ms:.0f}", style=style)
    return t


def _edges(s: hub_pb2.Status) -> Table:
    t = _table("latest edges", "instrument", "buy", "sell", ">gross bps", ">net bps", "outcome")
    for e in sorted(s.edges, key=lambda e: e.symbol):
        style = "green" if e.outcome == "approved" else ""
        gross, net = _number(e.gross_edge_bps), _number(e.net_edge_bps)
        t.add_row(e.symbol, e.buy_venue, e.sell_venue, gross, net, e.outcome, style=style)
    return t


def _engines(s: hub_pb2.Status) -> Table:
    t = _table("engines", "engine", "state", ">p50 ms", ">p99 ms", ">judged", ">rejected", ">timeouts")
    for e in s.engines:
        p50, p99 = f"{e.latency.p50_ms:.2f}", f"{e.latency.p99_ms:.2f}"
        t.add_row(e.name, _up(e.up), p50, p99, str(e.judged), str(e.rejected), str(e.timeouts))
    return t


def _reasons(s: hub_pb2.Status) -> Table:
    t = _table("decisions", "reason", ">ticks")
    t.add_row("approved", str(s.approved), style="green")
    for reason, count in _by_count(s.rejected):
        t.add_row(reason, str(count))
    for reason, count in _by_count(s.denied):
        t.add_row(f"denied: {reason}", str(count), style="yellow")
    return t


def _positions(s: hub_pb2.Status) -> Table:
    t = _table("positions", "venue", "instrument", ">base")
    for p in sorted(s.positions, key=lambda p: (p.symbol, p.venue)):
        t.add_row(p.venue, p.symbol, f"{p.quantity:+.6f}")
    return t


def _fills(s: hub_pb2.Status) -> Table:
    t = _table("last fills", "")
    for fill in s.last_fills:
        t.add_row(fill)
    return t


def _table(title: str, *columns: str) -> Table:
    """A table; a column whose name begins with ">" is of numbers."""
    t = Table(title=title, title_justify="left", expand=False)
    for name in columns:
        t.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    return t


def _by_count(counts: "object") -> list[tuple[str, int]]:
    return sorted(dict(counts).items(), key=lambda item: -item[1])  # type: ignore[call-overload]  # a proto map


def _pnl(s: hub_pb2.Status) -> str:
    return "  ".join(f"{value:+.2f} {asset}" for asset, value in sorted(s.pnl.items())) or "0"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _up(up: bool) -> str:
    return "[green]up[/]" if up else "[red]down[/]"
