"""deploy/health.sh on services that are sick in every way."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"

SICK_DOCKER = '''
"""A docker command whose services are what a file says, and after a restart what it says then. It notes restarts."""
import json, os, pathlib, sys

words, file = sys.argv[1:], pathlib.Path(os.environ["SERVICES"])
services = json.loads(file.read_text())
if words == ["info"]:
    sys.exit(os.environ.get("ENGINE") == "gone")
if words[:2] == ["compose", "-f"]:
    assert words[3:6] == ["ps", "--all", "--quiet"], words
    print("".join(f"{name}\\n" for name in services if name in words[6:] or not words[6:]), end="")
elif words[0] == "inspect":
    service = services[words[3]]
    print(f"/{words[3]}", service["now"][0])
    if service.setdefault("looked", 0) and len(service["now"]) > 1:
        service["now"].pop(0)
    service["looked"] += 1
elif words[0] == "restart":
    service = services[words[1]]
    service["restarts"] = service.get("restarts", 0) + 1
    service["now"] = list(service["then"])
elif words[0] == "unpause":
    sys.exit(1)
else:
    sys.exit(9)
file.write_text(json.dumps(services))
'''


class Engine:
    """A Docker engine of a test's own, with services in the states that the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.services = folder, folder / "services.json"
        (folder / "bin").mkdir()
        program = folder / "bin/docker"
        program.write_text(f"#!{sys.executable}\n{SICK_DOCKER}")
        program.chmod(0o755)

    def has(self, **services: tuple[list[str], list[str]]) -> None:
        """Each service's states, one a look, and those after a restart; the last one stays."""
        content = {name: {"now": now, "then": then} for name, (now, then) in services.items()}
        self.services.write_text(json.dumps(content))

    def restarts(self) -> dict[str, int]:
        """How often each service was restarted."""
        services: dict[str, dict[str, Any]] = json.loads(self.services.read_text())
        return {name: service["restarts"] for name, service in services.items() if "restarts" in service}

    def health(self, *words: str, **environ: str) -> tuple[int, list[str]]:
        """Run health.sh: its exit code, and what it said."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        ran = subprocess.run(
            ["bash", str(DEPLOY / "health.sh"), *words],
            env={**os.environ, "PATH": path, "SERVICES": str(self.services), **environ},
            cwd=self.folder, check=False, capture_output=True, text=True,
        )  # fmt: skip  # the words of one command stay together
        return ran.returncode, (ran.stdout + ran.stderr).splitlines()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """One without services."""
    return Engine(tmp_path)


WELL, ONCE = "running healthy 0 unless-stopped", "exited - 0 no"


def test_what_is_well_is_left_alone(engine: Engine) -> None:
    """Healthy, or without a check and running, or done with what was to be done once, or soon healthy."""
    engine.has(
        hub=([WELL], []), redis=(["running - 0 no"], []), setup=([ONCE], []), feed=(["running starting 0 no", WELL], [])
    )
    assert engine.health() == (0, ["hub: well", "redis: well", "setup: well", "feed: well"])
    assert engine.restarts() == {}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("running unhealthy 0 no", "unhealthy"),
        ("exited - 137 no", "exited"),
        ("exited - 0 unless-stopped", "exited"),
        ("exited healthy 0 no", "exited"),
        ("dead - 0 no", "dead"),
        ("paused healthy 0 no", "paused"),
        ("created - 0 no", "created"),
    ],
)
def test_what_is_sick_is_restarted(engine: Engine, state: str, said: str) -> None:
    """Once, and waited for; the exit code says that something was done."""
    engine.has(hub=([WELL], []), fee=([state], ["running starting 0 no", WELL]))
    assert engine.health() == (1, ["hub: well", f"fee: {said}", "fee: restarted, now well"])
    assert engine.restarts() == {"fee": 1}


def test_what_stays_sick_is_restarted_so_often_and_no_more(engine: Engine) -> None:
    """The bound holds over runs; each service has its own, and the others go on."""
    sick = "running unhealthy 0 no"
    engine.has(fee=([sick], [sick]), hub=([sick], [WELL]))
    assert engine.health("--restarts", "2")[0] == 2
    code, said = engine.health("--restarts", "2")
    assert (code, said[:2]) == (2, ["fee: unhealthy", "fee: restarted, now unhealthy"])
    code, said = engine.health("--restarts", "2")
    assert code == 2
    assert said[0] == "fee: unhealthy, and left alone after 2 restarts within 3600 s: look at its log"
    assert engine.restarts() == {"fee": 2, "hub": 1}
    (engine.folder / ".health-restarts").write_text("1000 fee\n1000 fee\n")  # long ago
    engine.health("--restarts", "2")
    assert engine.restarts()["fee"] == 3


def test_what_never_starts_is_not_waited_for_for_ever(engine: Engine) -> None:
    """A service that is starting when the time is up is sick."""
    engine.has(fee=(["restarting - 1 no"], ["restarting - 1 no"]))
    assert engine.health("--wait", "0") == (2, ["fee: starting", "fee: restarted, now starting"])


def test_a_dry_run_only_looks(engine: Engine) -> None:
    """It says what is sick, and restarts nothing; a service that never was is no reason to start it."""
    engine.has(fee=(["running unhealthy 0 no"], [WELL]))
    assert engine.health("--dry-run") == (2, ["fee: unhealthy"])
    assert engine.health("hub") == (2, ["hub: not there"])
    assert engine.restarts() == {}


def test_nobody_to_ask_is_said(engine: Engine) -> None:
    """Without an engine, without services, and with wrong words."""
    engine.has()
    assert engine.health(ENGINE="gone") == (3, ["health.sh: no Docker engine answers: start it, or set DOCKER_HOST"])
    assert engine.health()[1][0].startswith("health.sh: nothing was ever started of it")
    assert engine.health("--restarts", "x") == (3, ["health.sh: --restarts should be a whole number, not x"])
    assert engine.health("--wait")[1] == ["health.sh: --wait needs a value; --help shows what there is"]
    assert engine.health("--what")[0] == 3
