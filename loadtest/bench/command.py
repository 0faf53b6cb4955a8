"""`python -m loadtest bench`: the cases chosen, measured one after another, and the page written."""

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.console import Console

from arbhub.service import ServiceError
from loadtest.bench import machine, page, wording
from loadtest.bench.case import Case
from loadtest.bench.progress import Progress
from loadtest.bench.results import Results, Row, load, save
from loadtest.bench.site import Site
from loadtest.bench.table import CASES, RATES, TINY, USUAL

DOCS = Path("docs")


def bench(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CASE", help="Measure this case; may be given again and again."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where results, page and charts go; docs where not said.")
    ] = None,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Every kind of case for a second, into a temporary folder: shows only that it works."
        ),
    ] = False,
    list_cases: Annotated[bool, typer.Option("--list", help="Name the cases and end.")] = False,
) -> None:
    """Measure what docs/benchmarks.md says, and write it: results, page and charts. About half an hour, without soak.

    With --only the other rows stay as they were. Ctrl-C ends it at any time; what was measured is kept.
    """
    console = Console(stderr=True)
    if list_cases:
        for case in CASES:
            console.print(
                f"{case.key:18}{wording.duration(case.planned_s):>8}  {case.title}", highlight=False, soft_wrap=True
            )
        return
    chosen = _chosen(only, TINY if smoke else USUAL)
    folder = Path(tempfile.mkdtemp(prefix="arbhub-bench-"))
    run = Bench(chosen, console, folder, _output(output, folder, smoke=smoke))
    if smoke:
        run.shrink()
    try:
        run.to_the_end()
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        raise
    if run.failed:
        raise typer.Exit(1)
    shutil.rmtree(folder)  # where something fails, the logs stay for whoever looks for the reason


class Bench:
    """One run of the command. `folder` is for what services need, `output` for what stays.

    `failed` says that not every case could be measured.
    """

    def __init__(self, cases: list[Case], console: Console, folder: Path, output: Path) -> None:
        self._cases, self._console, self._folder, self._output = cases, console, folder, output
        self._strict = self.failed = False
        self._results = _before(output)
        self._results.command = " ".join(
            ("python -m loadtest bench", *(word for word in sys.argv[1:] if word != "bench"))
        )
        self._results.machine = machine.describe()

    def shrink(self) -> None:
        """Only show that everything works: tiny cases, and the first error ends it."""
        self._cases, self._strict = [case.tiny() for case in self._cases], True

    def to_the_end(self) -> None:
        """Measure, and write the page whatever happens; KeyboardInterrupt where a signal ended it."""
        planned = wording.duration(sum(case.planned_s for case in self._cases))
        self._console.print(f"{len(self._cases)} cases, about {planned}, into {self._output}", highlight=False)
        try:
            uvloop.run(until_signal(self._measure))
        finally:
            self._write()

    async def _measure(self) -> None:
        progress = Progress(self._cases, self._console)
        try:
            for case in self._cases:
                progress.begin(case)
                folder = self._folder / case.key
                folder.mkdir()
                row = await self._row(case, Site(folder, progress.tell, self._results.rows))
                self._results.rows[case.key] = row
                save(self._results, self._output)
                progress.end(f"{wording.figures(row)} (asked: {row.asked})")
        finally:
            progress.close()

    async def _row(self, case: Case, site: Site) -> Row:
        try:
            return await case.measure(site)
        except ServiceError as error:
            if self._strict:
                raise
            self.failed = True
            return case.row(error=str(error))  # the others are to be measured all the same

    def _write(self) -> None:
        from loadtest.bench import charts  # its import takes a second

        save(self._results, self._output)
        order = [case.key for case in CASES if case.key != RATES]
        (self._output / "benchmarks.md").write_text(page.render(self._results, order))
        charts.draw(self._results, self._output)


async def until_signal(work: Callable[[], Awaitable[None]]) -> None:
    """Do the work. The first SIGINT or SIGTERM cancels it, which ends what it started; later ones change nothing."""
    task = asyncio.ensure_future(work())
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if stopped:
        raise KeyboardInterrupt


def _chosen(only: list[str] | None, usual: tuple[str, ...]) -> list[Case]:
    known = {case.key: case for case in CASES}
    if unknown := [key for key in only or () if key not in known]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(known)}", param_hint="--only")
    return [case for case in CASES if case.key in (only or usual)]


def _output(said: Path | None, folder: Path, *, smoke: bool) -> Path:
    output = said or (folder if smoke else DOCS)
    if not output.is_dir():
        raise typer.BadParameter(f"{output} is not a folder", param_hint="--output")
    return output


def _before(output: Path) -> Results:
    """What was measured before, to be added to; BadParameter where it cannot be."""
    try:
        results = load(output)
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"{output}/benchmarks.json cannot be read: {error}") from None
    now = machine.describe()
    if results and not machine.same(results.machine, now):
        raise typer.BadParameter(
            f"{output}/benchmarks.json is of another machine: choose another --output, or remove it"
        )
    return results or Results(now, "")
