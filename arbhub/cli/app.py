"""`arbhub`: its commands, and how what goes wrong is said.

Exit codes: 0 done, 1 a service could not run, 2 the configuration or the input cannot be used, 130 interrupted.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from arbhub.service import ServiceError
from arbhub.settings.load import SettingsError, load
from arbhub.settings.schema import Settings

app = typer.Typer(
    name="arbhub",
    help="A low-latency decision hub for cross-venue crypto micro-arbitrage.\n\n"
    "Start with 'arbhub demo': a local exchange, four engines, a hub and paper trades, nothing to configure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at configuration files.", no_args_is_help=True)
app.add_typer(config_app, name="config")

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


def settings_of(config: Path | None, assignments: list[str] | None) -> Settings:
    """The settings a command runs with."""
    return load(config, assignments or ())


def main() -> None:
    """Run the command line; errors that are the user's to mend are one line each, without a traceback."""
    from arbhub.cli import demo, replay, services, up  # noqa: F401  # they register their commands
    from feeds.capture import CaptureError

    try:
        app()
    except (SettingsError, CaptureError) as error:
        _fail(str(error), 2)
    except (ServiceError, OSError, ValueError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(text: str, code: int) -> None:
    for line in text.splitlines():
        print(f"arbhub: {line}", file=sys.stderr)  # noqa: T201  # the answer to a command
    raise SystemExit(code)


@config_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration, TOML.")],
    assignments: SetOption = None,
) -> None:
    """Validate a configuration file; exit with 2 and say what is wrong, or print its version."""
    settings = settings_of(file, assignments)
    typer.echo(f"{file}: valid, config_version {settings.version()}")
