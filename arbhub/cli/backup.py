"""`arbhub backup create | check | restore`: a folder with all that a machine would be missed for, and back from it."""

import shlex
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from arbhub import backup as folders
from arbhub.cli.app import ConfigOption, SetOption, app, settings_of
from arbhub.service import ServiceError
from arbhub.settings.schema import Settings

backup = typer.Typer(
    help="Copy the ledger, the hub's state and configurations, and put them back.", no_args_is_help=True
)
app.add_typer(backup, name="backup")

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup.")]
StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="In place of the configuration's hub.state_dir.")
]
ToolsOption = Annotated[
    str,
    typer.Option(
        "--pg-tools",
        metavar="WORDS",
        help="Words before pg_dump, pg_restore and psql where these run beside the server, such as "
        "'docker compose exec -T postgres'. Without it they run here.",
    ),
]


@backup.command("create")
def create(
    folder: FolderArgument,
    config: ConfigOption,
    assignments: SetOption = None,
    state: StateOption = None,
    also: Annotated[
        list[Path] | None, typer.Option("--also", metavar="PATH", help="A file or folder to keep beside the rest.")
    ] = None,
    tools: ToolsOption = "",
) -> None:
    """Copy the ledger (one state of it, whoever writes meanwhile), hub.state_dir and the configuration to FOLDER."""
    from executor.backup import vault

    settings = settings_of(config, assignments)
    ledger = vault(settings.executor.ledger_url.reveal(), shlex.split(tools))

    def copied(new: Path) -> folders.Manifest:
        ledger.copy_to(new / ledger.file_name)
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        return folders.Manifest(made_at, version("arbhub"), settings.version(), ledger.file_name)

    variables = config.with_name(f".env.{config.stem}")
    configs = (config, variables) if variables.is_file() else (config,)
    written = folders.write(folder, folders.Parts(_state(settings, state), configs, tuple(also or ())), copied)
    for name in written:
        typer.echo(f"wrote {folder / name}")


@backup.command("check")
def check(folder: FolderArgument) -> None:
    """Read all of a backup and compare it with its checksums; exit with 1 and say what differs."""
    manifest = folders.checked(folder)
    typer.echo(f"{folder}: whole, made at {manifest.made_at} by arbhub {manifest.arbhub}, with {manifest.ledger}")


@backup.command("restore")
def restore(
    folder: FolderArgument,
    config: ConfigOption,
    assignments: SetOption = None,
    state: StateOption = None,
    configs: Annotated[
        Path | None, typer.Option("--configs", metavar="DIR", help="Put the configurations back there too.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a ledger and files that are there.")] = False,
    tools: ToolsOption = "",
) -> None:
    """Put a backup's ledger and state back where the configuration says; nothing that is there is replaced unasked.

    The ledger comes back in one transaction and under a new epoch, so an executor that still writes to the old one is
    fenced off. Stop the hub first: it reads its state only when it starts.
    """
    from executor.backup import vault

    manifest, settings = folders.checked(folder), settings_of(config, assignments)
    ledger = vault(settings.executor.ledger_url.reveal(), shlex.split(tools))
    if manifest.ledger != ledger.file_name:
        raise ServiceError(f"{folder}: has a {manifest.ledger}, but {config} names a ledger of another kind")
    places = {folders.STATE: _state(settings, state), folders.CONFIGS: configs}
    wanted = {place: to for place, to in places.items() if to is not None and (folder / place).is_dir()}
    if not force:
        held = ledger.epoch()
        if held is not None:
            raise ServiceError(
                f"there is a ledger at {config}'s executor.ledger_url, in epoch {held}: --force replaces it"
            )
        for place, to in wanted.items():
            for file in folders.in_the_way(folder, place, to):
                raise ServiceError(f"{file}: is there, and is another than the backup's: --force replaces it")
    typer.echo(
        f"restored the ledger as of {manifest.made_at}, now in epoch {ledger.put_back(folder / ledger.file_name)}"
    )
    for place, to in wanted.items():
        for file in folders.put_back(folder, place, to):
            typer.echo(f"restored {file}")


def _state(settings: Settings, named: Path | None) -> Path | None:
    return named or (Path(settings.hub.state_dir) if settings.hub.state_dir else None)
