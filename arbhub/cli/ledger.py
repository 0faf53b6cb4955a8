"""`arbhub trades | pnl`: the ledger on a terminal, or as JSON. It is only read, while the executor writes or not."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from arbhub.cli.app import SetOption, app, settings_of
from arbhub.cli.ledger_tables import result_tables, trade_table

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A configuration, for its executor.ledger_url.")
]
LedgerOption = Annotated[
    str | None, typer.Option("--ledger", metavar="URL", help="The ledger itself, such as sqlite:///arbhub-ledger.db.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; amounts are texts, exact.")]
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


def _url(config: Path | None, assignments: list[str] | None, ledger: str | None) -> str:
    return ledger if ledger is not None else settings_of(config, assignments).executor.ledger_url.reveal()


def _print_json(content: Any) -> None:
    typer.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=OFF_TERMINAL)
