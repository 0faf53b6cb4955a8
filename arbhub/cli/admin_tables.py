"""What `arbhub admin` shows on a terminal."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table

from arbhub.cli.tables import table, trading_state
from arbhub.v1 import admin_pb2


def status(s: admin_pb2.InspectReply) -> RenderableType:
    """The hub, its engines, its links, its decisions."""
    engines = table(
        "engines",
        "engine",
        "mode",
        "state",
        ">replicas up",
        ">p50 ms",
        ">p99",
        ">p99.99",
        ">judged",
        ">rejected",
        ">timeouts",
        "version",
    )
    for e in s.engines:
        latency = (f"{ms:.2f}" for ms in (e.latency.p50_ms, e.latency.p99_ms, e.latency.p99_99_ms))
        counts = (str(count) for count in (e.judged, e.rejected, e.timeouts))
        replicas = f"{e.replicas_up}/{e.replicas}" if e.replicas else "-"
        engines.add_row(e.name, e.mode, _up(e.up, e.breaker), replicas, *latency, *counts, e.version)
    links = table("links", "to", "at", "state", ">window", ">unanswered", ">queued rows", "version")
    for link in s.links:
        numbers = (str(n) for n in (link.window, link.unanswered, link.queued_rows))
        links.add_row(link.name, link.address, _up(link.up), *numbers, link.version)
    return Group(_headline(s), engines, links, _counts("decisions", {"approved": s.approved, **s.rejected}))


def reloaded(r: admin_pb2.ReloadReply) -> RenderableType:
    """What a reload did, or would do."""
    if not r.offered:
        return f"nothing differs from what is in force: {r.version}"
    head = f"in force: [bold]{r.version}[/]" if r.committed else f"nothing changed: {r.version} is in force"
    lines: list[RenderableType] = [head, f"changed: {', '.join(r.changed)}"]
    if r.absent:
        lines.append(f"down, and told when they connect: {', '.join(r.absent)}")
    return Group(*lines, *(_rehearsal(r.rehearsal) if r.HasField("rehearsal") else ()))


def history(h: admin_pb2.HistoryReply) -> RenderableType:
    """A line a version."""
    t = table("versions", ">number", "version", "in force since", "who", "why", "changed")
    for v in h.versions:
        since = datetime.fromtimestamp(v.committed_ns / 1e9, UTC).isoformat(" ", "seconds")
        t.add_row(str(v.number), v.version, since, v.who, v.why, ", ".join(v.changed))
    return t


def trading(r: admin_pb2.SetTradingStateReply) -> RenderableType:
    """The state, and whether the ledger has it."""
    told = "" if r.ledger_told else "; the executor has not taken it down yet, and is told when it connects"
    return f"trading is [bold]{trading_state(r.state)}[/]{told}"


def _headline(s: admin_pb2.InspectReply) -> str:
    said = (
        f" (operator: {trading_state(s.commanded)}, ledger: {trading_state(s.ledger)}{f'; {s.why}' if s.why else ''})"
    )
    latency = s.decision_latency
    return (
        f"version [bold]{s.version}[/]   up {s.uptime_s:.0f} s   epoch {s.epoch}   ticks [bold]{s.ticks}[/]\n"
        f"trading [bold]{trading_state(s.trading_state)}[/]{said}\n"
        f"decided in p50 {latency.p50_ms:.2f}, p99 {latency.p99_ms:.2f}, p99.99 {latency.p99_99_ms:.2f} ms"
    )


def _rehearsal(r: admin_pb2.Rehearsal) -> Iterable[RenderableType]:
    yield f"of the latest {r.ticks} ticks {r.changed} would have been decided otherwise" + (
        f" ({r.note})" if r.note else ""
    )
    if r.changed:
        t = table("by reason", "before", "after", ">ticks")
        for change in r.changes:
            t.add_row(change.before, change.after, str(change.ticks))
        yield t
        examples = table("such as", "instrument", "buy", "sell", "before", ">net bps", "after", ">net bps")
        for e in r.examples:
            before = f"{e.net_edge_bps_before:.2f}" if e.HasField("net_edge_bps_before") else "-"
            after = f"{e.net_edge_bps_after:.2f}" if e.HasField("net_edge_bps_after") else "-"
            examples.add_row(e.symbol, e.buy_venue, e.sell_venue, e.before, before, e.after, after)
        yield examples


def _counts(title: str, counts: dict[str, int]) -> Table:
    t = table(title, "reason", ">ticks")
    for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
        t.add_row(reason, str(count))
    return t


def _up(up: bool, breaker: str = "") -> str:
    return ("[green]up[/]" if up else "[red]down[/]") + (f", {breaker}" if breaker else "")
