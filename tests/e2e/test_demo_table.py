"""What the demo's table says of a state, rendered as on a terminal."""

import math

from rich.console import Console, RenderableType

from arbhub.cli.demo_table import line, summary, table
from arbhub.processes import Household
from arbhub.v1 import hub_pb2

LATENCY = hub_pb2.LatencyStatus(p50_ms=1.25, p99_ms=2.5, max_ms=3.75)
STATE = hub_pb2.Status(
    epoch=3,
    executor_up=False,
    ticks=120,
    approved=7,
    rejected={"NET_EDGE_TOO_LOW": 100, "ENGINE_TIMEOUT:fee": 13},
    denied={"MAX_POSITION": 2},
    engines=[
        hub_pb2.EngineStatus(name="spread", up=True, latency=LATENCY, judged=118),
        hub_pb2.EngineStatus(name="fee", up=False, timeouts=13),
    ],
    books=[hub_pb2.BookStatus(venue="EX1", symbol="BTC/USDT", bid=99.5, ask=100.5, age_ms=12, usable=True)],
    edges=[
        hub_pb2.EdgeStatus(
            symbol="BTC/USDT",
            buy_venue="EX1",
            sell_venue="EX2",
            gross_edge_bps=12.5,
            net_edge_bps=math.nan,
            outcome="ENGINE_TIMEOUT:fee",
        )
    ],
    positions=[hub_pb2.PositionStatus(venue="EX1", symbol="BTC/USDT", quantity=0.25)],
    pnl={"USDT": 42.5},
    fills=14,
    last_fills=["buy 0.25 BTC/USDT on EX1 at 100.5"],
    decision_latency=LATENCY,
)


def rendered(what: RenderableType) -> str:
    """As text, on a terminal wide enough to cut nothing, without colours."""
    console = Console(width=200, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_the_table_says_what_trades_and_what_fails() -> None:
    """Books, edges, engines, decisions by reason, positions, results and fills are all there."""
    text = rendered(table(STATE, Household()))
    for part in (
        "120",
        "+42.50 USDT",
        "99.50",
        "12.50",
        "ENGINE_TIMEOUT:fee",
        "denied: MAX_POSITION",
        "+0.250000",
        "buy 0.25 BTC/USDT on EX1 at 100.5",
        "1.25",
    ):
        assert part in text
    assert "nan" not in text
    assert text.count("down") == 2  # the fee engine and the executor


def test_a_line_names_what_is_down() -> None:
    """Off a terminal one line has the counts, the latency and what is down."""
    text = line(STATE)
    assert "ticks 120  approved 7  fills 14  pnl +42.50 USDT" in text
    assert text.endswith("DOWN: fee, executor")


def test_the_summary_has_a_line_of_fills() -> None:
    """Reasons come by how often, and the last fill is named; without any the line is still there."""
    text = rendered(summary(STATE, 20.0))
    assert text.index("NET_EDGE_TOO_LOW 100") < text.index("ENGINE_TIMEOUT:fee 13")
    assert "fills: 14, the last: buy 0.25 BTC/USDT" in text
    assert "fills: " in rendered(summary(hub_pb2.Status(), 20.0))
