"""What `arbhub top` shows, in the order in which it is asked: trading, fast, failing, earned. Fits into 80 columns.

Words that come from the hub are shown as they are: as `Text`, which reads no markup.
"""

from collections import defaultdict
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from arbhub.cli.tables import plain_table, trading_state
from arbhub.cli.top_rates import Rates
from arbhub.v1 import hub_pb2

MOST_REASONS = 4
MOST_LINES = 8
STYLES = {"active": "bold green", "reducing": "bold yellow", "halted": "bold red"}


def screen(s: hub_pb2.Status, rates: Rates, headline: str, today: int) -> RenderableType:
    """Everything as of one state; `today` in days since 1970-01-01 UTC."""
    return Group(
        Text(f"{headline}   config {s.config_version}   epoch {s.epoch}", style="bold"),
        *(_rule("are we trading"), *_trading(s, rates)),
        *(_rule("are we fast"), *_fast(s, rates)),
        *(_rule("is anything failing"), *_failing(s, rates)),
        *(_rule("what did it earn"), *_earned(s, today)),
    )


def lost(headline: str, why: str, last: RenderableType | None) -> RenderableType:
    """The hub is gone; below, what was seen last."""
    said = Text(f"{headline}   no hub: {why}\nit is looked for again and again", style="bold red")
    return Group(said, Rule("as seen last", style="dim"), last) if last else said


def failures(s: hub_pb2.Status, rates: Rates) -> list[str]:
    """What is not as it should be, a line each, the worst first."""
    return [*_parts_down(s), *_given_up(s, rates), *_stale(s), *_store_down(s)]


def _rule(title: str) -> Rule:
    return Rule(title, align="left", style="dim")


def _trading(s: hub_pb2.Status, rates: Rates) -> Iterator[RenderableType]:
    state = trading_state(s.trading_state)
    why = f" ({s.why})" if s.why and state != "active" else ""
    yield Text.assemble("trading ", (state, STYLES.get(state, "bold red")), why, "   executor ", _up(s.executor_up))
    denied = sum(s.denied.values())
    yield Text(
        f"approved {s.approved:,} ({_rate(rates, 'approved')})   fills {s.fills:,} ({_rate(rates, 'fills')})   "
        f"denied {denied:,} ({_rate(rates, 'denied')})"
    )
    rejected = sorted(((rates.get(f"rejected {reason}", 0.0), reason) for reason in s.rejected), reverse=True)
    said = ", ".join(f"{reason} {rate:,.1f}/s" for rate, reason in rejected[:MOST_REASONS] if rate > 0)
    yield Text(f"rejected {sum(s.rejected.values()):,}{': ' if said else ''}{said}")
    if s.last_fills:
        yield Text(f"last fill: {s.last_fills[-1]}")


def _fast(s: hub_pb2.Status, rates: Rates) -> Iterator[RenderableType]:
    yield Text(f"ticks {s.ticks:,} ({_rate(rates, 'ticks')})")
    t = plain_table("", "", ">p50 ms", ">p99", ">p99.99", ">judged/s", ">rejected/s", ">timeouts/s")
    t.add_row("rounds", "", *_latency(s.decision_latency), "", "", "")
    for e in s.engines:
        figures = (_rate(rates, f"{e.name} {what}", "") for what in ("judged", "rejected", "timeouts"))
        t.add_row(Text(e.name), _engine_state(e), *_latency(e.latency), *figures)
    yield t


def _failing(s: hub_pb2.Status, rates: Rates) -> Iterator[RenderableType]:
    found = failures(s, rates)
    if not found:
        yield Text("nothing", style="green")
    for line in found[:MOST_LINES]:
        yield Text(line, style="red")
    if len(found) > MOST_LINES:
        yield Text(f"and {len(found) - MOST_LINES} more", style="red")


def _parts_down(s: hub_pb2.Status) -> Iterator[str]:
    if not s.executor_up:
        yield "executor: down, nothing is approved"
    for e in s.engines:
        if e.mode == "off":
            continue
        say = "" if e.mode == "shadow" else ", its silence is a veto"
        if not e.up:
            yield f"engine {e.name}: down{say}"
        elif e.breaker not in ("", "closed"):
            yield f"engine {e.name}: its breaker is {e.breaker}{say}"


def _given_up(s: hub_pb2.Status, rates: Rates) -> Iterator[str]:
    for e in s.engines:
        if rate := rates.get(f"{e.name} timeouts", 0.0):
            yield f"engine {e.name}: {rate:,.1f}/s not answered in time"
    if rate := rates.get("rejected SHED", 0.0):
        yield f"shed: {rate:,.1f} ticks/s given up in a full queue"


def _stale(s: hub_pb2.Status) -> Iterator[str]:
    """By venue, as a venue falls silent as a whole."""
    books = defaultdict(list)
    for b in s.books:
        books[b.venue].append(b)
    for venue, of_venue in sorted(books.items()):
        bad = [b for b in of_venue if not b.usable]
        if bad:
            oldest = max(b.age_ms for b in bad) / 1000
            yield f"venue {venue}: {len(bad)} of {len(of_venue)} books not usable, up to {oldest:,.1f} s old"
    if s.ticks and not s.books:
        yield "venues: not known, a hub of so many instruments lists no books"


def _store_down(s: hub_pb2.Status) -> Iterator[str]:
    if s.HasField("reference_store") and not s.reference_store.up:
        yield f"reference store: {s.reference_store.detail}"


def _earned(s: hub_pb2.Status, today: int) -> Iterator[RenderableType]:
    if not s.results:
        yield Text("nothing yet" if s.epoch else "not known: the ledger was not seen")
        return
    t = plain_table("", ">PnL", ">drawdown", ">of limit", ">day's PnL", ">of limit", ">exposure", ">of limit")
    limits = s.limits
    for r in s.results:
        drawdown, of_day = r.high_water - r.cumulative, r.realised_day if r.day == today else 0.0
        t.add_row(
            Text(r.asset),
            f"{r.cumulative:+,.2f}",
            *(f"{drawdown:,.2f}", _part(drawdown, limits.max_drawdown)),
            *(f"{of_day:+,.2f}", _part(-of_day, r.daily_loss_limit)),
            *(f"{r.exposure:,.0f}", _part(r.exposure, limits.max_exposure)),
        )
    yield t
    yield from _positions(s)


def _positions(s: hub_pb2.Status) -> Iterator[RenderableType]:
    """An instrument a line: arbitrage leaves one venue longer and another shorter."""
    held = defaultdict(list)
    for p in sorted(s.positions, key=lambda p: (p.symbol, p.venue)):
        if p.quantity:
            held[p.symbol].append(f"{p.venue} {p.quantity:+.6f}")
    for symbol, venues in [*held.items()][:MOST_LINES]:
        yield Text(f"{symbol}  {'  '.join(venues)}")
    if len(held) > MOST_LINES:
        yield Text(f"and {len(held) - MOST_LINES} instruments more")


def _latency(latency: hub_pb2.LatencyStatus) -> Iterator[str]:
    return (f"{ms:.2f}" for ms in (latency.p50_ms, latency.p99_ms, latency.p99_99_ms))


def _engine_state(e: hub_pb2.EngineStatus) -> Text:
    if e.mode == "off":
        return Text("off", style="dim")
    state = _up(e.up)
    if e.up and e.breaker not in ("", "closed"):
        state = Text(e.breaker, style="red")
    return state.append(f" {e.mode}", style="yellow") if e.mode not in ("", "active") else state


def _up(up: bool) -> Text:
    return Text("up", style="green") if up else Text("down", style="bold red")


def _rate(rates: Rates, name: str, unit: str = "/s") -> str:
    return f"{rates[name]:,.1f}{unit}" if name in rates else f"-{unit}"


def _part(amount: float, limit: float) -> str:
    """How much of a limit is used up; nothing where there is none."""
    if limit == float("inf"):
        return "-"
    return f"{max(amount, 0.0) / limit:.0%}" if limit > 0 else "all"
