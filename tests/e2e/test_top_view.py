"""What `arbhub top` says of a state, and what it makes of two, rendered as on a terminal of 80 columns."""

import math

import pytest
from rich.console import Console, RenderableType

from arbhub.cli.top_rates import between
from arbhub.cli.top_view import failures, lost, screen
from arbhub.v1 import hub_pb2
from arbhub.v1.ledger_pb2 import TradingState

TODAY = 19_000
LATENCY = hub_pb2.LatencyStatus(p50_ms=1.25, p99_ms=12.5, p99_99_ms=123.45, max_ms=200.0)
NAMES = ("spread", "fee", "liquidity", "risk")


def state(**what: object) -> hub_pb2.Status:
    """A busy hub that is well, but for what is said."""
    given: dict[str, object] = {
        "epoch": 3,
        "config_version": "12-5f0c9a1e",
        "executor_up": True,
        "trading_state": TradingState.TRADING_STATE_ACTIVE,
        "ticks": 1_234_567_890,
        "approved": 1_234_567,
        "fills": 2_469_134,
        "rejected": {"NET_EDGE_TOO_LOW": 1_000_000_000, "NO_COUNTERPART": 1000},
        "denied": {"MAX_POSITION": 7},
        "engines": [
            hub_pb2.EngineStatus(
                name=name, up=True, mode="active", breaker="closed", latency=LATENCY, judged=10**9, rejected=10**8
            )
            for name in NAMES
        ],
        "books": [book("EX1"), book("EX2")],
        "results": [
            hub_pb2.ResultStatus(
                asset=asset,
                day=TODAY,
                realised_day=-2000.5,
                cumulative=123_456.78,
                high_water=130_456.78,
                exposure=250_000.0,
                daily_loss_limit=4000,
            )
            for asset in ("USDT", "BRL")
        ],
        "limits": hub_pb2.LimitStatus(max_drawdown=10_000, max_exposure=math.inf),
        "positions": [
            hub_pb2.PositionStatus(venue=venue, symbol="BTC/USDT", quantity=quantity)
            for venue, quantity in (("EX1", 0.25), ("EX2", -0.25), ("EX3", 0.0))
        ],
        "last_fills": ["buy 0.25 BTC/USDT on EX1 at 100.5"],
        "decision_latency": LATENCY,
    }
    return hub_pb2.Status(**given | what)  # type: ignore[arg-type]  # as said


def book(venue: str, usable: bool = True, age_ms: float = 12.0) -> hub_pb2.BookStatus:
    """A venue's."""
    return hub_pb2.BookStatus(venue=venue, symbol="BTC/USDT", bid=99.5, ask=100.5, age_ms=age_ms, usable=usable)


def engine(**what: object) -> hub_pb2.EngineStatus:
    """One that is not well."""
    return hub_pb2.EngineStatus(**{"name": "fee", "up": True, "mode": "active", "breaker": "closed"} | what)  # type: ignore[arg-type]  # as said


def rendered(what: RenderableType, width: int = 80) -> str:
    """As text, without colours."""
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_it_answers_in_order_and_fits_into_80_columns() -> None:
    """Trading, fast, failing, earned; large figures are not cut."""
    later = state(ticks=1_234_587_890, approved=1_234_667)
    text = rendered(screen(later, between(state(), later, 1.0), "arbhub 127.0.0.1:7401   12:34:56 UTC", TODAY))
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert "…" not in text
    places = [
        text.index(words)
        for words in (
            "config 12-5f0c9a1e",
            "trading active   executor up",
            "approved 1,234,667 (100.0/s)   fills 2,469,134 (0.0/s)",
            "buy 0.25 BTC/USDT on EX1 at 100.5",
            "ticks 1,234,587,890 (20,000.0/s)",
            "p99.99",
            "123.45",
            "liquidity",
            "nothing",
            "+123,456.78 7,000.00",
            "70%",
            "50%",
            "250,000",
            "BTC/USDT  EX1 +0.250000  EX2 -0.250000",
        )
    ]
    assert places == sorted(places)


def test_before_there_are_two_states_no_rate_is_shown() -> None:
    """Rather than a zero, which would be a figure."""
    text = rendered(screen(state(), {}, "arbhub", TODAY))
    assert "ticks 1,234,567,890 (-/s)" in text
    assert "(0.0/s)" not in text


def test_rates_are_by_the_second_and_by_reason() -> None:
    """Whatever the interval; the reasons with the most come first."""
    later = state(ticks=1_234_568_890, rejected={"NET_EDGE_TOO_LOW": 1_000_000_010, "NO_COUNTERPART": 2000})
    rates = between(state(), later, 2.0)
    assert (rates["ticks"], rates["rejected NO_COUNTERPART"]) == (500.0, 500.0)
    assert "NO_COUNTERPART 500.0/s, NET_EDGE_TOO_LOW 5.0/s" in rendered(screen(later, rates, "arbhub", TODAY))


@pytest.mark.parametrize("anew", [state(ticks=5), state(rejected={}), state(engines=[])])
def test_a_hub_that_was_started_anew_has_no_rates_yet(anew: hub_pb2.Status) -> None:
    """A count that has fallen, or is gone, is of another process."""
    assert between(state(), anew, 1.0) == {}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"executor_up": False}, ["executor: down, nothing is approved"]),
        ({"engines": [engine(up=False)]}, ["engine fee: down, its silence is a veto"]),
        ({"engines": [engine(breaker="half-open")]}, ["engine fee: its breaker is half-open, its silence is a veto"]),
        ({"engines": [engine(up=False, mode="shadow")]}, ["engine fee: down"]),
        ({"engines": [engine(up=False, mode="off")]}, []),
        (
            {"books": [book("EX1", usable=False, age_ms=12_340.0), book("EX1"), book("EX2")]},
            ["venue EX1: 1 of 2 books not usable, up to 12.3 s old"],
        ),
        ({"books": []}, ["venues: not known, a hub of so many instruments lists no books"]),
        (
            {"reference_store": hub_pb2.ReferenceStoreStatus(up=False, detail="lost 3 s ago")},
            ["reference store: lost 3 s ago"],
        ),
        ({"reference_store": hub_pb2.ReferenceStoreStatus(up=True)}, []),
    ],
)
def test_what_fails_is_said(what: dict[str, object], said: list[str]) -> None:
    """A line each; nothing else."""
    assert failures(state(**what), {}) == said


def test_what_is_given_up_is_said_while_it_happens() -> None:
    """Timeouts and sheds by the second; those of yesterday are no news."""
    before = state(rejected={"SHED": 10})
    after = state(rejected={"SHED": 30}, engines=[engine(timeouts=5)])
    assert failures(after, between(state(engines=[engine()], rejected={"SHED": 10}), after, 2.0)) == [
        "engine fee: 2.5/s not answered in time",
        "shed: 10.0 ticks/s given up in a full queue",
    ]
    assert failures(before, between(before, before, 2.0)) == []


def test_what_the_hub_says_is_not_taken_for_markup() -> None:
    """An operator's words may have brackets."""
    halted = state(trading_state=TradingState.TRADING_STATE_HALTED, why="[/] see [red]wiki[/red]")
    assert "trading halted ([/] see [red]wiki[/red])" in rendered(screen(halted, {}, "arbhub", TODAY))


def test_a_hub_that_is_gone_leaves_what_was_seen_last() -> None:
    """Below the reason."""
    text = rendered(lost("arbhub", "Connection refused", screen(state(), {}, "arbhub", TODAY)))
    assert text.index("no hub: Connection refused") < text.index("as seen last") < text.index("trading active")


def test_many_failures_and_positions_do_not_push_the_rest_off_the_screen() -> None:
    """What does not fit is counted."""
    books = [book(f"EX{n}", usable=False) for n in range(20)]
    positions = [hub_pb2.PositionStatus(venue="EX1", symbol=f"C{n}/USDT", quantity=1.0) for n in range(20)]
    text = rendered(screen(state(books=books, positions=positions), {}, "arbhub", TODAY))
    assert "and 12 more" in text
    assert "and 12 instruments more" in text
    assert len(text.splitlines()) < 50


def test_the_result_of_another_day_is_not_todays() -> None:
    """The ledger says of which day its figure is."""
    text = rendered(screen(state(), {}, "arbhub", TODAY + 1))
    assert "-2,000.50" not in text
    assert text.count("+0.00") == 2
