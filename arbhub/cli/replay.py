"""`arbhub replay`: captures decided tick by tick exactly as a hub would, with paper fills, as fast as possible."""

from pathlib import Path
from typing import Annotated

import orjson
import typer
import uvloop
from rich.console import Console

from arbhub.cli.app import ConfigOption, SetOption, app, settings_of
from arbhub.telemetry import configure_logs


@app.command()
def replay(
    captures: Annotated[
        list[Path], typer.Argument(metavar="CAPTURE...", help="Recordings, merged by time; gzipped or not.")
    ],
    config: ConfigOption,
    assignments: SetOption = None,
    batch: Annotated[int, typer.Option(min=1, help="Ticks decided at once; no result depends on it.")] = 4096,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip and count bad lines instead of stopping at the first.")
    ] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the report here too.")] = None,
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write every decision here, a line a tick.")
    ] = None,
) -> None:
    """Decide recorded books again, with fills on paper, and report what came of it.

    Every verdict is waited for, so there is no deadline, and the result is the same to the byte whatever the
    batch size and wherever the engines run.
    """
    from arbhub.cli.replay_loop import Replay

    settings = settings_of(config, assignments)
    configure_logs(level="warning")
    run = Replay(settings, captures, batch=batch, skip_bad=skip_bad)
    # Standard error, so that the report on standard output stays alone; off a terminal there is no progress.
    with Console(stderr=True).status("reading") as status:
        run.on_progress = lambda ticks, seconds: status.update(f"{ticks:,} ticks decided in {seconds:.0f} s")
        uvloop.run(run.to_the_end(decisions))
    result = run.report()
    if report:
        report.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    Console().print_json(orjson.dumps(result).decode())
