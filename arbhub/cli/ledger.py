"""`arbhub trades | pnl`: the ledger on a terminal, or as JSON. It is only read, while the executor writes or not.

`arbhub ledger head | revision | migrate`: which form it has, and another form for it.
"""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from arbhub.cli import app as shared
from arbhub.cli.app import SetOption, app, settings_of
from arbhub.cli.ledger_tables import result_tables, trade_table

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A configuration, for its executor.ledger_url.")
]
LedgerOption = Annotated[
    str | None, typer.Option("--ledger", metavar="URL", help="The ledger itself, such as sqlite:///arbhub-ledger.db.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; amounts are texts, exact.")]
ledger_form = typer.Typer(help="Say which form the ledger has, and give it another.", no_args_is_help=True)
app.add_typer(ledger_form, name="ledger")
OFF_TERMINAL = 200  # columns: nobody's window is there to fit


@app.command()
def trades(
    config: ConfigOption = None,
    assignments: SetOption = None,
    ledger: LedgerOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show what was traded: approved decisions with their fills, newest first."""
    from executor.history import as_json as trade_as_json
    from executor.history import trades as read
    from executor.reading import reading

    with reading(_url(config, assignments, ledger)) as connection:
        found = read(connection, limit)
    if as_json:
        _print_json([trade_as_json(trade) for trade in found])
    else:
        _console().print(trade_table(found))


@app.command()
def pnl(
    config: ConfigOption = None,
    assignments: SetOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what trading came to: realised results by quote asset, and by instrument, venue and day."""
    from executor.reading import reading
    from executor.statement import as_json as statement_as_json
    from executor.statement import statement

    with reading(_url(config, assignments, ledger)) as connection:
        made = statement(connection)
    if as_json:
        _print_json(statement_as_json(made))
    else:
        _console().print(result_tables(made))


@ledger_form.command("head")
def head() -> None:
    """Print the newest revision of a ledger that this release knows."""
    from executor import revisions

    typer.echo(revisions.head())


@ledger_form.command("revision")
def revision(config: shared.ConfigOption, assignments: SetOption = None) -> None:
    """Print the revision of the ledger at executor.ledger_url, "none" where there is no ledger yet."""
    from executor import migrating

    typer.echo(migrating.revision(_url(config, assignments, None)) or "none")


@ledger_form.command("migrate")
def migrate(
    config: shared.ConfigOption,
    assignments: SetOption = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="REV", help="Up or down to it; otherwise the newest.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Go down even where that loses something.")] = False,
) -> None:
    """Give the ledger another form, in one transaction; make one where there is none.

    An executor that still writes to it is fenced off by a new epoch, and trades again once it is one of the right
    release. Going down stops where the older form cannot hold what is there.
    """
    from executor import migrating

    moved = migrating.migrate(_url(config, assignments, None), to, force)
    if moved.epoch is None:
        typer.echo(f"the ledger is at revision {moved.now} already")
    else:
        typer.echo(f"the ledger went from revision {moved.was or 'none'} to {moved.now}, now in epoch {moved.epoch}")


def _url(config: Path | None, assignments: list[str] | None, ledger: str | None) -> str:
    return ledger if ledger is not None else settings_of(config, assignments).executor.ledger_url.reveal()


def _print_json(content: Any) -> None:
    typer.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=OFF_TERMINAL)
