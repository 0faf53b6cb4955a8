"""How a stream is cut into steps changes nothing, and money and inventory are conserved however it goes."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import NamedTuple

from executor_probes import MS, SYMBOL, Decision, FedDesk, Tick, market, summed
from hypothesis import given
from hypothesis import strategies as st

from arbhub.settings.risk import RiskSettings
from arbhub.state import DENIED, Report
from executor.journal import MemoryLedger
from executor.money import CONTEXT, exact

INF = float("inf")
SIZES = st.sampled_from([0.1, 0.25, 0.5, 1.0, 3.0])
STEPS = st.lists(st.sampled_from([0.5, 1.0, 1.5]), max_size=3)


class Stream(NamedTuple):
    """Ticks in order of time, and decisions on some of them."""

    ticks: list[Tick]
    decisions: list[Decision]


@st.composite
def books(draw: st.DrawFn, mid: float) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Both sides of a book round a price; sometimes one of them is empty."""
    bid, ask, bids, asks = mid - 0.5, mid + 0.5, [], []
    for gap in draw(STEPS):
        bids.append((bid, draw(SIZES)))
        bid -= gap
    for gap in draw(STEPS):
        asks.append((ask, draw(SIZES)))
        ask += gap
    return bids, asks


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Dense enough that many ticks and decisions fall into one latency window of 5 ms."""
    ticks: list[Tick] = []
    decisions: list[Decision] = []
    ms = 0.0
    for sequence in range(draw(st.integers(1, 40))):
        ms += draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
        venue, symbol = draw(st.sampled_from("ABC")), draw(st.sampled_from([SYMBOL, "ETH/USD"]))
        ticks.append(Tick(ms, venue, *draw(books(draw(st.sampled_from([98.0, 100.0, 102.0])))), symbol))
        if draw(st.booleans()):
            buy, sell = draw(st.permutations("ABC"))[:2]
            quantity, limit = draw(SIZES), draw(st.sampled_from([98.5, 100.0, 101.5]))
            decisions.append(Decision(sequence, ms, buy, sell, quantity, limit, limit, symbol, 1000.0, limit, limit))
    return Stream(ticks, decisions)


TIGHT = RiskSettings(
    max_position=1.5,
    max_exposure=400.0,
    max_daily_loss=5.0,
    max_orders_per_s=9.0,
    max_open_per_instrument=3.0,
    cooldown_ms=1.0,
)
LIMITS = st.sampled_from([RiskSettings(), TIGHT, RiskSettings(trading_state="reducing"), RiskSettings(risk_limit=0.02)])
ASSETS = ("USD", "BTC", "ETH")
BALANCES = st.sampled_from([{}, {v: dict.fromkeys(ASSETS, x) for v, x in zip("ABC", (3.0, 90.0, 250.0), strict=True)}])


def fed_desk(limits: RiskSettings, balances: dict[str, dict[str, float]], latency_ms: float) -> FedDesk:
    """A desk with small attempts to trade back."""
    universe = market(taker_bps=7.3, venues="ABC", lot_size=0.05)
    return FedDesk(universe, None, limits, balances=balances, latency_ms=latency_ms, flatten_attempts=2)


def play(fed: FedDesk, stream: Stream, cuts: Sequence[int]) -> list[Report]:
    """Step through the stream, a slice up to every cut, with the decisions of its own ticks."""
    start = 0
    for stop in sorted({*cuts, len(stream.ticks)}):
        own = [d for d in stream.decisions if start <= d.sequence < stop]
        fed.step(stream.ticks[start:stop], own)
        start = stop
    fed.finish()
    return fed.reports


def play_late(fed: FedDesk, stream: Stream, waits: Sequence[int], latency_ms: float) -> list[Report]:
    """Tick by tick, each decision held back for some ticks, but not beyond the first at or after its due time."""
    held = list(stream.decisions)
    for number, tick in enumerate(stream.ticks):
        due = [
            d
            for d in held
            if d.sequence < number
            and (number - d.sequence > waits[d.sequence % len(waits)] or tick.ms >= d.ms + latency_ms)
        ]
        # In order: whoever sends one decision has sent the earlier ones.
        ready = [d for d in held if due and d.sequence <= due[-1].sequence]
        held = [d for d in held if d not in ready]
        fed.step([tick], ready)
    fed.step([], held)
    fed.finish()
    return fed.reports


@given(streams(), st.lists(st.integers(1, 40), max_size=12), LIMITS, BALANCES, st.sampled_from([0.0, 5.0]))
def test_cuts_change_no_report(
    stream: Stream,
    cuts: list[int],
    limits: RiskSettings,
    balances: dict[str, dict[str, float]],
    latency_ms: float,
) -> None:
    """Tick by tick, in one piece and cut anywhere: the same reports in the same order, to the bit."""
    whole = play(fed_desk(limits, balances, latency_ms), stream, [])
    single = play(fed_desk(limits, balances, latency_ms), stream, range(1, len(stream.ticks)))
    pieces = play(fed_desk(limits, balances, latency_ms), stream, [c for c in cuts if c < len(stream.ticks)])
    assert whole == single == pieces
    assert len([r for r in whole if r.kind == DENIED]) <= len(stream.decisions)


@given(streams(), st.lists(st.integers(0, 9), min_size=1, max_size=5), LIMITS, BALANCES)
def test_late_decisions_change_no_report(
    stream: Stream, waits: list[int], limits: RiskSettings, balances: dict[str, dict[str, float]]
) -> None:
    """Decisions on their way while ticks go on change nothing, as long as they come before they are due."""
    whole = play(fed_desk(limits, balances, 5.0), stream, [])
    late = play_late(fed_desk(limits, balances, 5.0), stream, waits, 5.0)
    by_decision = [sorted(reports, key=_when) for reports in (whole, late)]
    assert by_decision[0] == by_decision[1]


def _when(report: Report) -> tuple[int, int, int]:
    return report.effective_ns, report.sequence, report.kind


@given(streams(), LIMITS, BALANCES)
def test_positions_are_the_sum_of_fills_and_nothing_comes_from_nowhere(
    stream: Stream, limits: RiskSettings, balances: dict[str, dict[str, float]]
) -> None:
    """Positions and balances follow from the fills exactly, no balance is below zero, every decision ends."""
    fed = fed_desk(limits, balances, 5.0)
    reports = play(fed, stream, [])
    journal = fed.journal
    assert isinstance(journal, MemoryLedger)
    books = fed.desk._account.books
    assert {key: holding.quantity for key, holding in books.holdings.items()} == summed(journal)
    with localcontext(CONTEXT):
        paid = sum((f.signed * f.price + f.fee for f in journal.fills), Decimal(0))
        assert -paid == sum((c for (_, asset), c in books.changes.items() if asset == "USD"), Decimal(0))
        profit = sum((result.cumulative for result in books.results.values()), Decimal(0))
        invested = sum((cost.basis for cost in books.costs.values()), Decimal(0))
        assert abs(profit - (invested - paid)) < Decimal("1e-40")
    assert all(free >= 0 for r in reports for free in r.values.balances.values())
    open_at_last = {r.symbol: r.values.activity[r.symbol][0] for r in reports if r.kind != DENIED}
    waiting = Counter(t.approved.symbol for trades in fed.desk._stranded.values() for t in trades)
    assert +Counter(open_at_last) == waiting
    assert {r.sequence for r in reports} == {d.sequence for d in stream.decisions}
    assert fed.desk.next_due_ns is None


@given(streams())
def test_no_order_goes_beyond_its_decision(stream: Stream) -> None:
    """Legs fill no more than was decided and no worse than the limits; every order has an id of its own."""
    fed = fed_desk(RiskSettings(), {}, 5.0)
    play(fed, stream, [])
    journal = fed.journal
    assert isinstance(journal, MemoryLedger)
    by_id = {order.client_order_id: order for order in journal.orders}
    assert len(by_id) == len(journal.orders)
    decided = {d.sequence: d for d in stream.decisions}
    filled: dict[str, Decimal] = {}
    for fill in journal.fills:
        filled[fill.client_order_id] = filled.get(fill.client_order_id, Decimal(0)) + fill.quantity
        order = by_id[fill.client_order_id]
        if order.limit is not None:
            assert fill.price <= order.limit if fill.buy else fill.price >= order.limit
            assert fill.ts_ns == round(decided[order.decision[1]].ms * MS) + 5 * MS
    for name, quantity in filled.items():
        assert quantity <= by_id[name].quantity <= exact(decided[by_id[name].decision[1]].quantity)


def test_what_waits_for_a_book_finds_it_within_a_long_step() -> None:
    """A trade that found its book too thin goes on at the very tick that brings it, however many come with that."""
    others = [Tick(120 + n, "B", [(9.0, 1.0)], [(10.0, 1.0)], "ETH/USD") for n in range(20)]
    awaited = Tick(140, "A", [(98.0, 5.0)], [(100.0, 1.0)])
    later = [Tick(141 + n, "A", [(97.0 - n, 5.0)], [(100.0, 1.0)]) for n in range(60)]
    reports = []
    for cut in (1, 1000):
        fed = FedDesk(latency_ms=50.0)
        legs = [Tick(0, "A", [(99.0, 1.0)], [(100.0, 1.0)]), Tick(0, "B", [(103.0, 0.5)], [(104.0, 1.0)])]
        fed.step(legs, [Decision(1, 0)])
        ticks = [Tick(60, "A", [], []), *others, awaited, *later]
        for start in range(0, len(ticks), cut):
            fed.step(ticks[start : start + cut])
        reports.append(fed.reports)
    assert reports[0] == reports[1]
    assert reports[0][-1].effective_ns == 190 * MS
    assert reports[0][-1].unhedged == 0
