"""deploy/compose.yaml as a project of a test's own, on whatever engine the docker client is pointed at.

Only what can be had is started: services that are built from the base images on the machine, and those whose image is
there. Published ports are any that are free, so that nothing else on the machine is in the way.
"""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stamina
from stamina.instrumentation import set_on_retry_hooks

set_on_retry_hooks([])  # each look that comes too early would be a line

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "compose.yaml"
DEVELOPMENT = FILE.with_name("compose.development.yaml")
PORTS = ("HUB_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "JAEGER_PORT", "LOCUST_PORT")
BUILD_S, UP_S, PATIENCE_S = 900.0, 300.0, 150.0


class NotYetError(Exception):
    """What is waited for has not come."""


def told(text: str) -> None:
    """Say something to whoever reads the run."""
    print(f"\n{text}")  # noqa: T201  # that is what it is for


def no_engine() -> str:
    """Why there is no engine to test on, or nothing."""
    try:
        found = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30, check=False)
        if found.returncode:
            return "the docker client has no compose: ../shared/tools/docker-engine.sh brings one"
        found = subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        return "there is no docker client"
    return "no Docker engine answers" if found.returncode else ""


def is_here(image: str) -> bool:
    """Whether the engine has an image; nothing is pulled."""
    found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False)
    return found.returncode == 0


class Project:
    """A running compose file. `left_out` names what cannot be had here."""

    def __init__(self, name: str, profiles: tuple[str, ...] = (), over: tuple[Path, ...] = ()) -> None:
        """`over` are compose files over the one there is."""
        self.name = name
        words = [word for profile in profiles for word in ("--profile", profile)]
        words += [word for file in (FILE, *over) for word in ("-f", str(file))]
        self._compose = ("docker", "compose", "-p", name, *words)
        self.environment = os.environ | dict.fromkeys(PORTS, "") | _stand_ins()
        self.file: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))
        services = self.file["services"]
        self.services = [service for service in services if self._can_be_had(services[service])]
        self._began_s = 0.0
        self.left_out = [service for service in services if service not in self.services]

    def compose(self, *words: str, timeout_s: float = PATIENCE_S, text: str | None = None) -> str:
        """What `docker compose` answers; a failure fails the test with what it said."""
        done = subprocess.run(
            (*self._compose, *words),
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"docker compose {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
        return done.stdout

    def up(self, *services: str) -> float:
        """Build and start services, or all that can be had; the seconds from starting until they are healthy."""
        self.services = list(services) or self.services
        self.compose("build", "--quiet", *self._built(), timeout_s=BUILD_S)
        self._began_s = time.time()
        # `--wait` would take the end of `secrets` for a failure.
        self.compose("up", "--detach", "--no-build", "--pull", "never", *self.services, timeout_s=UP_S)
        self.until(lambda: not self.unwell(), "every service healthy", lambda: self.logs(*self.unwell()))
        return time.time() - self._began_s

    def seconds_until(self, ts_ns: int) -> float:
        """From the start until a time of this machine's clock."""
        return ts_ns / 1e9 - self._began_s

    def down(self) -> None:
        """Leave nothing of it behind but the images."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "20", timeout_s=300.0)

    def states(self) -> dict[str, dict[str, Any]]:
        """What the engine knows of each container, by service."""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        found = [json.loads(line) for line in lines if line]
        return {state["Service"]: state for state in found}

    def containers(self, service: str) -> list[str]:
        """Their ids, the ones that run no more among them."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def image_of(self, service: str) -> str:
        """What its one container was made of."""
        (container,) = self.containers(service)
        return docker("inspect", "--format", "{{.Config.Image}}", container)

    def started_at(self, service: str) -> str:
        """When its container began last."""
        return docker("inspect", "--format", "{{.State.StartedAt}}", self.states()[service]["ID"])

    def unwell(self) -> list[str]:
        """The services that are not healthy; `secrets` is well once it has ended as it should."""
        states = self.states()
        states.setdefault("secrets", {"State": "missing"})
        return [name for name in self.services if not _is_well(name, states.get(name, {}))]

    def logs(self, *services: str) -> str:
        """The last lines of theirs."""
        return self.compose("logs", "--no-color", "--tail", "15", *services) if services else ""

    def run_in(self, service: str, *words: str) -> str:
        """What a command in a service's container answers."""
        return self.compose("exec", "-T", service, *words)

    def url(self, service: str, port: int) -> str:
        """Where a page is published."""
        address = self.compose("port", service, str(port)).strip()
        assert address.startswith("127.0.0.1:"), f"{service} is published at {address}"
        return f"http://{address}"

    def until(self, condition: Callable[[], bool], what: str, more: Callable[[], str] = lambda: "") -> None:
        """Wait for it; fails with what was waited for where it does not come."""
        again = stamina.retry_context(NotYetError, attempts=None, timeout=PATIENCE_S, wait_initial=0.5, wait_max=0.5)
        try:
            for attempt in again:
                with attempt:
                    if not condition():
                        raise NotYetError
        except NotYetError:
            pytest.fail(f"it did not come to this within {PATIENCE_S:g} s: {what}\n{more()}")

    def image_bytes(self, image: str) -> int:
        """What an image takes on disk, unpacked."""
        return int(docker("image", "inspect", "--format", "{{.Size}}", image))

    def _built(self) -> list[str]:
        return [name for name in self.services if "build" in self.file["services"][name]]

    @staticmethod
    def _can_be_had(service: dict[str, Any]) -> bool:
        build = service.get("build")
        if build is None:
            return is_here(service["image"])
        return build["dockerfile"] == "deploy/Dockerfile" and is_here("python:3.11-slim-bookworm")


def docker(*words: str, timeout_s: float = 120.0) -> str:
    """What the docker command answers; a failure fails the test with what it said."""
    done = subprocess.run(("docker", *words), capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def page(url: str, token: str = "") -> tuple[int, str]:
    """The status and the text of a page; 0 where nobody answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # of this machine
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # the same
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def _is_well(name: str, state: dict[str, Any]) -> bool:
    if name == "secrets":
        return bool(state.get("State") == "exited" and state["ExitCode"] == 0)
    return state.get("Health") == "healthy"


def _stand_ins() -> dict[str, str]:
    """Prometheus under whatever tag it is here."""
    images = ("prom/prometheus:v3.5.0", "prom/prometheus:latest")
    return {"PROMETHEUS_IMAGE": next((image for image in images if is_here(image)), images[0])}
