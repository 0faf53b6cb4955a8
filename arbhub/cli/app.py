"""The `arbhub` application that commands register with, and the options they share."""

from pathlib import Path
from typing import Annotated

import typer

from arbhub.security.redaction import hide
from arbhub.service import require_paper
from arbhub.settings.load import load
from arbhub.settings.schema import Settings
from arbhub.settings.secret import secrets_in

app = typer.Typer(
    name="arbhub",
    help="A low-latency decision hub for cross-venue crypto micro-arbitrage.\n\n"
    "Start with 'arbhub demo': a local exchange, four engines, a hub and paper trades, nothing to configure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="The configuration, TOML. See configs/ for examples.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting by its dotted key, such as hub.deadline_ms=5. May be given again and again.",
    ),
]


def startable(config: Path | None, assignments: list[str] | None) -> Settings:
    """The settings of a service that is to run; ServiceError where nothing of their environment may run yet."""
    settings = settings_of(config, assignments)
    require_paper(settings.executor.trading_mode)
    return settings


def settings_of(config: Path | None, assignments: list[str] | None) -> Settings:
    """The settings a command runs with; what they hold of secrets is not written out by it any more."""
    settings = load(config, assignments or ())
    hide(secrets_in(settings))
    return settings
