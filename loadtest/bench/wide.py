"""`python -m loadtest.bench.wide`: the real hub and engines, but with any number of engines from one to eight.

The second four are the first four once more under other names, so that an engine more is a process, a stream and a
verdict more, as a new engine would be. Only for the bench's cost of an engine; a composition root of its own.
"""

from pathlib import Path
from typing import Annotated

import typer

from arbhub.engine import Engine
from arbhub.service import run_until_signal
from arbhub.settings.engines import (
    EngineSettings,
    EnginesSettings,
    FeeSettings,
    LiquiditySettings,
    RiskEngineSettings,
    SpreadSettings,
)
from arbhub.settings.load import load
from arbhub.settings.schema import Settings
from arbhub.telemetry import configure_logs
from engines.table import ENGINES

AGAIN = "_2"

Config = Annotated[Path, typer.Option(metavar="FILE", help="The hub's configuration.")]
Places = Annotated[
    list[str], typer.Option("--place", metavar="HOST:PORT", help="An engine's place, one after another.")
]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class WideSettings(EnginesSettings):
    """[engines] with room for eight; the table has the first `count` of them."""

    count: int
    spread_2: SpreadSettings = SpreadSettings()
    fee_2: FeeSettings = FeeSettings()
    liquidity_2: LiquiditySettings = LiquiditySettings()
    risk_2: RiskEngineSettings = RiskEngineSettings()

    def table(self) -> dict[str, EngineSettings]:
        """As many as there are places, in the order of the fold."""
        return {name: getattr(self, name) for name in names(self.count)}


def names(count: int) -> list[str]:
    """The first of the eight engines' names."""
    four = list(EnginesSettings.model_fields)
    return [*four, *(name + AGAIN for name in four)][:count]


def wide(config: Path, places: list[str]) -> Settings:
    """The configuration with an engine at each of the places."""
    at = {name: {"place": place} for name, place in zip(names(len(places)), places, strict=True)}
    engines = WideSettings.model_validate({"count": len(places), **at})
    return load(config).model_copy(update={"engines": engines})


def again(engine: type[Engine]) -> type[Engine]:
    """The same engine under its other name."""
    return type(f"{engine.__name__}Again", (engine,), {"name": engine.name + AGAIN})


@app.command()
def hub(config: Config, places: Places) -> None:
    """The hub, with an engine at each place."""
    from hub.server import run

    configure_logs(level="warning")
    settings = wide(config, places)
    run_until_signal(lambda shutdown: run(settings, {}, shutdown))


@app.command()
def engine(number: int, config: Config, places: Places) -> None:
    """One of the engines, counted from 0."""
    from engines.server import run

    configure_logs(level="warning")
    ENGINES.update({name + AGAIN: again(kind) for name, kind in list(ENGINES.items())})
    settings = wide(config, places)
    run_until_signal(lambda shutdown: run(settings, names(len(places))[number : number + 1], shutdown))


if __name__ == "__main__":
    app()
