"""`python -m loadtest run`: load on a running hub, and what its answers took."""

import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer
import uvloop
from rich.console import Console

from arbhub.service import ServiceError, settle_memory
from arbhub.telemetry import configure_logs
from loadtest.driver import Driver, Outcome
from loadtest.processes import Usage
from loadtest.report import complaint, report
from loadtest.schedule import Market, Schedule, poisson

MAX_TICKS = 20_000_000

app = typer.Typer(help="Load on a hub, measured from outside.", add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _group() -> None:
    """Load on a hub, measured from outside."""


@app.command()
def run(
    rate: Annotated[float, typer.Option(metavar="TICKS_PER_S", min=0.1, help="How many ticks a second to send.")],
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, max=3600, help="For how long.")],
    target: Annotated[str, typer.Option(metavar="HOST:PORT", help="The hub, on this machine.")] = "127.0.0.1:7401",
    report_to: Annotated[Path | None, typer.Option("--report", metavar="FILE.json", help="Write it here too.")] = None,
    instruments: Annotated[int, typer.Option(min=1, max=100_000)] = 200,
    venues: Annotated[int, typer.Option(min=1, max=64)] = 4,
    depth: Annotated[int, typer.Option(min=1, max=100, help="Levels a side.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed sends the same.")] = 1,
) -> None:
    """Send ticks to a hub at a set rate, whatever it answers, and report latencies from each tick's intended send.

    Arrivals are Poisson. Sheds and timeouts are counted, not hidden among fast answers.
    """
    if rate * seconds > MAX_TICKS:
        raise typer.BadParameter(f"rate times seconds is more than {MAX_TICKS:,} ticks, which are made beforehand")
    configure_logs(level="warning")
    market = Market(instruments, venues, depth)
    with Console(stderr=True).status(f"{rate:g} ticks/s for {seconds:g} s"):
        schedule = poisson(rate, seconds, market, seed)
        usage = Usage()
        outcome = uvloop.run(_driven(target, market, schedule))
        result = report(outcome, rate, seconds, usage)
    if report_to:
        report_to.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    Console().print_json(orjson.dumps(result).decode())
    if problem := complaint(result):
        print(f"loadtest: {problem}", file=sys.stderr)  # noqa: T201  # the answer to a command


async def _driven(target: str, market: Market, schedule: Schedule) -> Outcome:
    driver = Driver(target, market, schedule)
    settle_memory()
    return await driver.run()


def main() -> None:
    """Run the command; what the user can mend is one line."""
    try:
        app()
    except (ServiceError, OSError) as error:
        print(f"loadtest: {error}", file=sys.stderr)  # noqa: T201  # the answer to a command
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
