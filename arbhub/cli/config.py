"""`arbhub config check`: whether a configuration file can be used."""

from pathlib import Path
from typing import Annotated

import typer

from arbhub.cli.app import SetOption, app, settings_of

config = typer.Typer(help="Look at configuration files.", no_args_is_help=True)
app.add_typer(config, name="config")


@config.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration, TOML.")],
    assignments: SetOption = None,
) -> None:
    """Validate a configuration file; exit with 2 and say what is wrong, or print its version."""
    settings = settings_of(file, assignments)
    typer.echo(f"{file}: valid, config_version {settings.version()}")


@config.callback()
def _group() -> None:
    """Keep `check` a command of its own name while it is the only one."""
