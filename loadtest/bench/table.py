"""The cases, in the order of the page. A case's title is what the table calls it, its key what `--only` takes."""

from loadtest.bench.case import Case
from loadtest.bench.cost import CostCase
from loadtest.bench.designs import DesignsCase
from loadtest.bench.driving import Load
from loadtest.bench.latency import LatencyCase
from loadtest.bench.most import MostCase
from loadtest.bench.rates import RatesCase
from loadtest.bench.replays import ReplayCase
from loadtest.bench.site import Place
from loadtest.bench.soak import SoakCase

SLOW_RUNS = 3  # of a minute: at 3,000 ticks/s it takes that to see enough of the last in 10,000
RATES, SOAK = "rates", "soak"

CASES: tuple[Case, ...] = (
    LatencyCase(
        key="processes-3k",
        title="four engine processes, depth 1, 3,000 ticks/s",
        asked="p50 1.8, p99.99 8 ms",
        place=Place.PROCESSES,
        load=Load(3000, 60),
        at_most={"p50": 1.8, "p99_99": 8},
        runs=SLOW_RUNS,
    ),
    LatencyCase(
        key="processes-20k",
        title="four engine processes, depth 1, 20,000 ticks/s",
        asked="p50 2.0, p99.99 7 ms",
        place=Place.PROCESSES,
        load=Load(20_000, 10),
        at_most={"p50": 2.0, "p99_99": 7},
    ),
    LatencyCase(
        key="hosted-3k",
        title="one process that hosts the four engines on one stream, 3,000 ticks/s",
        asked="p50 1.2 ms",
        place=Place.HOSTED,
        load=Load(3000, 60),
        at_most={"p50": 1.2},
        runs=SLOW_RUNS,
    ),
    LatencyCase(
        key="processes-300k",
        title="four engine processes, depth 1, 300,000 ticks/s",
        asked="p99.99 30 ms with real engines",
        place=Place.PROCESSES,
        load=Load(300_000, 10, window=2),
        at_most={"p99_99": 30},
    ),
    MostCase(
        key="most",
        title="four engine processes, depth 1, most ticks/s at p99.99 < 60 ms",
        asked="500,000",
        at_least=500_000,
    ),
    LatencyCase(
        key="depth-10",
        title="four engine processes, depth 10, 100,000 ticks/s",
        asked="p99.99 30 ms",
        place=Place.PROCESSES,
        load=Load(100_000, 10, depth=10),
        at_most={"p99_99": 30},
    ),
    LatencyCase(
        key="in-process-3k",
        title="engines in the hub's process, 3,000 ticks/s",
        asked="p50 0.5, p99.99 4 ms",
        place=Place.INSIDE,
        load=Load(3000, 60),
        at_most={"p50": 0.5, "p99_99": 4},
        runs=SLOW_RUNS,
    ),
    LatencyCase(
        key="unary",
        title="unary Evaluate, 3,000 calls/s",
        asked="p99.9 under 60 ms",
        place=Place.PROCESSES,
        load=Load(3000, 10, mode="unary"),
        shown=("p50", "p99_9"),
        at_most={"p99_9": 60},
    ),
    ReplayCase(
        key="replay",
        title="replay, dense generated capture without approvals, top of book",
        asked="1,000,000 ticks/s a core, file parsing apart",
        ticks=1_000_000,
        taker_bps=10.0,
        approved=0.0,
        decide_s=1.5,
        at_least=1e6,
    ),
    ReplayCase(
        key="replay-approvals",
        title="replay, the same with many approvals feeding back",
        ticks=20_000,
        taker_bps=0.0,
        approved=0.1,
        decide_s=12.0,
    ),
    SoakCase(
        key=SOAK,
        title="hub's memory, 10 min at 20,000 ticks/s (make soak)",
        asked="under 250 MB, under 5% growth after the first minute",
        load=Load(20_000, 60),
        pieces=10,
        at_most_mb=250,
        at_most_growth=5,
    ),
    CostCase(
        key="cost",
        title="cost a tick, 10 to 10,000 instruments, 2 to 16 venues, 1 to 8 engines",
        asked="charted; sub-linear in instruments",
    ),
    DesignsCase(
        key="designs",
        title="serial, gather, arbhub: most ticks/s",
        asked="charted; arbhub at least 50x gather",
        most="most",
        at_least=50,
    ),
    RatesCase(
        key=RATES,
        title="latency over rate",
        asked="charted",
        measured=("processes-3k", "processes-20k", "processes-300k"),
    ),
)

USUAL = tuple(case.key for case in CASES if case.key != SOAK)  # what `make bench` measures
SAME = ("processes-20k", "processes-300k", "depth-10")  # as processes-3k, but for numbers
TINY = tuple(case.key for case in CASES if case.key not in SAME)  # what `make bench-smoke` runs
