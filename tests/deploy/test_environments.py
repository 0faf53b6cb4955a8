"""The environments in configs/: each loads with its variables, trades what it may, and starts only where it may."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ccxt.pro
import pytest

from arbhub.settings.load import PREFIX, load
from arbhub.settings.schema import Settings
from arbhub.settings.secret import is_secret, secrets_in
from feeds.clients import make_client

CONFIGS = Path(__file__).parents[2] / "configs"
LIVE = ("staging", "production")


def variables(name: str) -> dict[str, str]:
    """What a shell makes of an environment's file."""
    said = subprocess.run(
        ["sh", "-c", f"set -a; . {CONFIGS / f'.env.{name}'}; env -0"],
        env={}, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip  # the words of one command stay together
    return dict(line.split("=", 1) for line in said.split("\0") if line.startswith((PREFIX, "DEPLOY_")))


def environment(name: str) -> Settings:
    """The settings it runs with."""
    return load(CONFIGS / f"{name}.toml", environ=variables(name))


@pytest.mark.parametrize(
    ("name", "mode", "max_position", "risk_limit"),
    [("testing", "paper", 0.001, 0.02), ("staging", "live", 0.01, 0.05), ("production", "live", 0.1, 0.1)],
)
def test_an_environment_is_what_it_is_meant_to_be(name: str, mode: str, max_position: float, risk_limit: float) -> None:
    """It loads, file and variables together, with its mode and its limits."""
    settings = environment(name)
    assert settings.executor.trading_mode == mode
    assert (settings.risk.max_position, settings.risk.risk_limit) == (max_position, risk_limit)
    said = variables(name)
    assert (said["DEPLOY_ENVIRONMENT"], said["DEPLOY_CONFIG"]) == (name, f"configs/{name}.toml")


@pytest.mark.parametrize(("name", "sandboxes"), [("compose", "1"), *((name, "0") for name in ("testing", *LIVE))])
def test_compose_knows_what_to_run(name: str, sandboxes: str) -> None:
    """The environment's name and configuration, and a sandbox only where the venues are its own."""
    said = variables(name)
    assert (said["DEPLOY_ENVIRONMENT"], said["DEPLOY_CONFIG"]) == (name, f"configs/{name}.toml")
    assert said["DEPLOY_SANDBOXES"] == sandboxes
    assert all(address.startswith("http://sandbox:") == (sandboxes == "1") for address in rest_urls(name))


def rest_urls(name: str) -> list[str]:
    """Where the feed asks, where the configuration says so."""
    venues = load(CONFIGS / f"{name}.toml", environ={}).feed.venues.values()
    return [venue.rest_url.reveal() for venue in venues if venue.rest_url]


@pytest.mark.parametrize("name", ["testing", *LIVE])
def test_variables_change_no_decision(name: str) -> None:
    """A file is valid alone, and decides what it decides with its variables."""
    assert load(CONFIGS / f"{name}.toml", environ={}).version() == environment(name).version()


def test_replays_have_no_limits() -> None:
    """What replay.toml writes out are the defaults."""
    assert load(CONFIGS / "replay.toml", environ={}).version() == Settings().version()


def test_no_configuration_is_forgotten_here() -> None:
    """Every environment has both files, and there are no others."""
    assert {file.name.removeprefix(".env.") for file in CONFIGS.glob(".env.*")} == {"compose", "testing", *LIVE}


@pytest.mark.parametrize("name", ["testing", *LIVE])
def test_no_secret_is_in_an_environment(name: str) -> None:
    """Neither the settings nor the variables hold one: what is called a secret is the name of a file."""
    assert list(secrets_in(environment(name))) == []
    for variable, value in variables(name).items():
        assert not is_secret(variable) or re.fullmatch(r"/run/secrets/[\w.{}]+", value), variable


def addresses(client: Any) -> tuple[str, str]:
    """Where a client of ccxt's asks for order books: over REST, and over the websocket."""
    rest, ws = client.urls["api"], client.urls["api"]["ws"]
    at = rest["public"], ws["spot"] if "spot" in ws else ws["public"]["spot"]
    return tuple(address.replace("{hostname}", client.hostname or "") for address in at)


@pytest.mark.parametrize("name", ["testing", *LIVE])
def test_endpoints_are_the_exchanges_own(name: str) -> None:
    """Testing asks the test networks, the others the production endpoints, as ccxt itself knows them."""
    venues = environment(name).feed.venues
    assert len(venues) >= 2
    for venue, section in venues.items():
        theirs = getattr(ccxt.pro, section.exchange)()
        theirs.set_sandbox_mode(name == "testing")
        assert addresses(make_client(venue, section, 10_000.0)) == addresses(theirs)


@pytest.mark.parametrize("name", LIVE)
@pytest.mark.parametrize("words", [("executor",), ("hub",), ("feed",), ("engine", "risk"), ("up",)])
def test_a_live_environment_is_refused_at_start(name: str, words: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever is started of it says why not, and nothing is left behind."""
    command = [sys.executable, "-m", "arbhub", *words, "--config", str(CONFIGS / f"{name}.toml")]
    started = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
    assert started.returncode == 1
    assert started.stderr == (
        'arbhub: executor.trading_mode is "live", which is not built yet: only "paper" is allowed\n'
    )
    assert list(tmp_path.iterdir()) == []
