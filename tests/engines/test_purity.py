"""What every engine of the table promises: judging depends on the rows alone and changes nothing."""

import ast
import copy
import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opportunity_rows import MS, T0, opportunities, universe

from arbhub.columns import Opportunities, Verdicts
from arbhub.engine import Engine, EngineConfiguration
from arbhub.reference import Listing
from arbhub.settings.engines import EnginesSettings, FeeSettings, LiquiditySettings, SpreadSettings
from arbhub.settings.risk import RiskSettings
from arbhub.state import ACTIVE, LedgerValues, Snapshot
from arbhub.wire import (
    OPPORTUNITY_NAMES,
    decode_opportunities,
    depth_in,
    encode_depth,
    needed,
    opportunities_in,
    opportunity_parts,
    parts_of,
)
from engines.fee import Fee
from engines.table import ENGINES

CONFIGURATION = EngineConfiguration(
    engines=EnginesSettings(
        spread=SpreadSettings(max_gross_edge_bps=300.0, max_leg_skew_ms=4.0, min_edge_age_ms=2.0),
        fee=FeeSettings(taker_bps={"A": 3.0}),
        liquidity=LiquiditySettings(max_notional=700.0),
    ),
    risk=RiskSettings(max_position=4.0, max_exposure=900.0, cooldown_ms=1.0, max_orders_per_s=3.0),
)
LISTINGS = (
    Listing("A", "BTC/BRL"),
    Listing("B", "BTC/BRL", taker_bps=7.0),
    Listing("B", "ETH/BRL", taker_bps=7.0),
    Listing("C", "BTC/BRL"),
)
STATE = Snapshot(
    1,
    False,
    LedgerValues(
        positions={("A", "BTC/BRL"): (1.5, 100.0), ("B", "BTC/BRL"): (-2.0, 101.0)},
        balances={("A", "BRL"): 500.0, ("B", "BTC"): 3.0, ("B", "BRL"): 900.0, ("A", "BTC"): 1.0},
        activity={"BTC/BRL": (0, T0 + 3 * MS)},
        order_ts_ns=(T0, T0 + MS),
        trading_state=ACTIVE,
    ),
)
PRICES = st.sampled_from((99.0, 100.0, 102.5, 104.0))
LEVELS = st.lists(st.tuples(PRICES, st.sampled_from((0.3, 1.0, 7.7))), min_size=1, max_size=4)
LEGS = st.permutations((0, 1, 2)).map(lambda drawn: (drawn[0], drawn[1]))
TIMES = st.integers(0, 8).map(lambda ms: ms * MS)


@st.composite
def many(draw: st.DrawFn) -> Opportunities:
    """A few rows of any kind."""
    n = draw(st.integers(1, 6))

    def column(of: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(of, min_size=n, max_size=n))

    asks, bids = column(LEVELS), column(LEVELS)
    return opportunities(
        [(a[0][0], b[0][0]) for a, b in zip(asks, bids, strict=True)],  # type: ignore[index]  # levels
        legs=column(LEGS),  # type: ignore[arg-type]  # as drawn
        instrument=column(st.sampled_from((0, 0, 1))),  # type: ignore[arg-type]
        ts_ns=column(TIMES),  # type: ignore[arg-type]
        quoted_ns=column(st.tuples(TIMES, TIMES)),  # type: ignore[arg-type]
        since_ns=column(TIMES),  # type: ignore[arg-type]
        asks=asks,  # type: ignore[arg-type]
        bids=bids,  # type: ignore[arg-type]
    )


def ready(name: str) -> Engine:
    """An engine of the table, configured and told everything."""
    engine = ENGINES[name]()
    engine.configure(CONFIGURATION)
    engine.reference(universe(*LISTINGS))
    engine.snapshot(STATE)
    return engine


def bits(verdicts: Verdicts) -> list[list[bytes] | None]:
    """Every column, a row a value, to the bit."""
    columns = (getattr(verdicts, name) for name in verdicts.__dataclass_fields__)
    return [None if column is None else [value.tobytes() for value in column] for column in columns]


@pytest.mark.parametrize("name", ENGINES)
@given(rows=many(), cut=st.integers(0, 6))
def test_splitting_a_batch_changes_nothing(name: str, rows: Opportunities, cut: int) -> None:
    """Judged in two parts, in reverse and one by one: each row gets the verdict it got in the whole."""
    engine, n = ready(name), len(rows)
    whole = engine.judge(rows)
    order = np.arange(n)
    for part in (order[:cut], order[cut:], order[::-1], *(order[i : i + 1] for i in range(n))):
        if len(part):
            assert bits(engine.judge(rows.take(part))) == bits(whole.take(part))


@pytest.mark.parametrize("name", ENGINES)
@given(rows=many(), others=many())
def test_judging_changes_no_state(name: str, rows: Opportunities, others: Opportunities) -> None:
    """Asked again, before and after others, and by an engine that was asked nothing else: the same verdicts."""
    engine, told = ready(name), pickle.dumps(rows)
    first = bits(engine.judge(rows))
    untouched = copy.deepcopy(engine)
    engine.judge(others)
    assert bits(engine.judge(rows)) == bits(untouched.judge(rows)) == bits(ready(name).judge(rows)) == first
    assert pickle.dumps(rows) == told


@pytest.mark.parametrize("name", ENGINES)
@given(rows=many())
def test_it_needs_no_column_beyond_those_it_names(name: str, rows: Opportunities) -> None:
    """Sent only what it says it reads, it says what it says of everything."""
    engine = ready(name)
    read, depth = needed([engine.reads]), encode_depth(rows.depth) if engine.wants_depth and rows.depth else b""
    sent = b"".join(parts_of(opportunity_parts(rows), read))
    columns, levels = opportunities_in(sent, 0, len(sent)), depth_in(depth, 0, len(depth))
    assert columns is not None
    assert bits(engine.judge(decode_opportunities(columns, levels, read))) == bits(engine.judge(rows))


def test_who_judges_in_another_way_reads_what_it_likes() -> None:
    """What a derived engine reads is not what the one it is derived from does."""

    class Another(Fee):
        def judge(self, opportunities: Opportunities) -> Verdicts:
            return super().judge(opportunities.take(np.arange(len(opportunities))))

    assert Fee.reads
    assert not Another.reads


@pytest.mark.parametrize("name", ENGINES)
def test_it_is_what_the_table_says(name: str) -> None:
    """Its name, its own section in the settings, columns that exist, and reasons that are stable codes, each once."""
    engine = ready(name)
    assert engine.name == name
    assert name in CONFIGURATION.engines.table()
    assert set(engine.reads) <= set(OPPORTUNITY_NAMES)
    assert len(set(engine.reasons)) == len(engine.reasons)
    assert all(reason == reason.upper() and " " not in reason for reason in engine.reasons)


def test_the_fold_has_the_order_of_the_table() -> None:
    """Sums and vetoes are taken in one order, whichever list they are taken from."""
    assert list(ENGINES) == list(CONFIGURATION.engines.table())


IMPURE = {"asyncio", "datetime", "grpc", "logging", "os", "pathlib", "random", "socket", "structlog", "time"}


@pytest.mark.parametrize("name", ENGINES)
def test_it_reads_no_clock_and_no_file(name: str) -> None:
    """An engine's module imports nothing that a verdict must not depend on."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(ENGINES[name])))  # type: ignore[arg-type]  # it has one
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    named = {alias.name for node in imports for alias in node.names}
    named |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "arbhub.engine" in named
    assert not {module.split(".")[0] for module in named} & IMPURE
