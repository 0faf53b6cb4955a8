"""docs/benchmarks.md, made from what is in benchmarks.json. Nothing in the page is written by hand. Pure."""

from collections.abc import Iterable, Sequence

from loadtest.bench import charts, wording
from loadtest.bench.results import Results, Row

CAPTIONS = {
    charts.LATENCY: "Latency over rate. Rates that the table has are its medians, the others single runs of 5 s.",
    charts.COST: "CPU of hub and engines together for a tick, at 20,000 ticks/s.",
    charts.DESIGNS: "The most ticks a second of the two designs that the hub replaces, and of the hub.",
}

READING = """\
## How to read it

- **What is measured.** The open-loop driver sends at its times whatever was answered (Poisson arrivals, a seed a run).
  A latency runs from the moment a tick was *meant* to be sent to its decision's arrival at the driver. So everything
  is in it that held the tick up: the driver, both ways over the wire, the hub, the engines, and the wait for the
  window: at most one batch of ticks is unanswered on a stream (two at 300,000 ticks/s, three in the search for the
  most), and ticks that come meanwhile go together as the next.
- **Set-up**, where the case does not say otherwise: 200 instruments, 4 venues, the four real engines, round deadline
  60 ms, driver and services on the same machine at unix sockets, and nothing else. Nobody is where the executor
  should be, so nothing is approved; risk answers `STATE_UNKNOWN`. Each case has fresh services, and
  each run two seconds of warm-up at its rate.
- **Figure** is the median over runs, **spread** the least and the greatest run: five runs of 10 s, three of 60 s at
  3,000 ticks/s, three replays. "One run" stands where a search or a series gave one value.
- **Failures.** A run in which 1 tick in 10,000 or more was shed, ran into the deadline or was never answered has
  failed: it counts as infinitely slow, and the notes name it.
- **Stalls** is the longest that a small process beside the runs, which only sleeps and wakes, was kept waiting when it
  could have run: by the machine itself, and by all the others on its cores. No tail can be better than that.
- **Most ticks/s**: probes of 4 s find the rate on a grid of 25,000; five full runs confirm it, or a lower one.
- **Replay** is ticks over the time spent deciding, on one core. The capture is the driver's market at 16,000 ticks/s of
  recorded time (800 ticks in the 50 ms that an order takes on paper). With approvals, fees are zero and balances
  unlimited: each approval is filled, and each report of it cuts a batch and feeds positions back.
- **Cost** is the CPU time of hub and engine processes by the kernel's count, a longer run less a shorter one, so that
  start and reference data fall out. The engines from the fifth on are the four once more under other names. The power
  of instruments is the slope of the cost over their number, both as logarithms: below 1 is sub-linear. A busier hub
  makes larger batches, which cost less a tick.
- **serial** and **gather** run the same engines and books, with a unary call an engine one after another, or all at
  once (`loadtest/baselines`). All three designs count a rate as kept by the same rule.
- **Memory** is the hub's resident memory every 5 s. The driver begins anew each minute, as a new client.
"""


def render(results: Results, order: Sequence[str]) -> str:
    """The page; `order` has the keys of the rows in the order of the table."""
    rows = [results.rows[key] for key in order if key in results.rows]
    drawn = [name for name, key in _charted() if key in results.rows and not results.rows[key].error]
    parts = [
        "# Benchmarks",
        f"Last written by `{results.command}` on {max((row.date for row in rows), default='')}; the same again: "
        "`make bench`, and `make soak` for the ten minutes. What was tried to get there, and what did not help, is in "
        "[tuning.md](tuning.md); the raw reports are in [benchmarks.json](benchmarks.json).",
        _machine(results.machine),
        "\n".join(_table(rows)),
        *_notes(rows),
        *(f"![{CAPTIONS[name]}]({name})\n\n{CAPTIONS[name]}" for name in drawn),
        READING.rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def _charted() -> Iterable[tuple[str, str]]:
    return ((charts.LATENCY, "rates"), (charts.COST, "cost"), (charts.DESIGNS, "designs"))


def _machine(machine: dict[str, str]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in machine.items())
    cores = machine.get("cores", "")
    other = "" if cores == "2" else f" What is asked is asked of 2 cores; **this machine has {cores}**."
    return f"Machine: {said}.{other}"


def _table(rows: Iterable[Row]) -> Iterable[str]:
    yield "| case | figure | spread | asked | met | stalls | date |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        cells = (row.case, wording.figures(row), wording.spread(row), row.asked, wording.met(row), wording.stalls(row))
        yield f"| {' | '.join(_cell(text) for text in cells)} | {row.date} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _notes(rows: Iterable[Row]) -> list[str]:
    said = [f"- {row.case}: {'; '.join(row.notes)}." for row in rows if row.notes]
    return ["\n".join(["Notes:", "", *said])] if said else []
