"""deploy/compose.yaml as it stands: every service contained, within the machine, and open to nobody but this machine.

It needs no engine. YAML's own anchors and merges are what compose reads too; that compose takes the whole file is for
tests/compose to see.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from arbhub.settings.load import load

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENGINES = {"engine-spread", "engine-fee", "engine-liquidity", "engine-risk"}
PAGES = {"hub", "prometheus", "grafana", "jaeger", "locust"}
MACHINE_CPUS, MACHINE_BYTES = 2.0, 5.3e9
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}

every_service = pytest.mark.parametrize("name", SERVICES)


def limits(name: str) -> dict[str, Any]:
    """What a service may use at most."""
    found: dict[str, Any] = SERVICES[name]["deploy"]["resources"]["limits"]
    return found


def in_bytes(text: str) -> int:
    """Compose's way to write sizes."""
    return int(text[:-1]) * UNITS[text[-1]]


def test_everybody_is_there() -> None:
    """The services that a trade passes through, and those that show it."""
    stores, watchers = {"redis", "postgres"}, {"otel-collector", "jaeger", "prometheus", "grafana"}
    assert {"secrets", "sandbox", "feed", "hub", "executor", "locust"} | ENGINES | stores | watchers == set(SERVICES)
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["locust"]


@every_service
def test_contained(name: str) -> None:
    """Nothing to write on but what is mounted, no way to more rights, no capability at all."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert not {"cap_add", "privileged", "pid", "ipc", "devices"} & set(service)


@every_service
def test_limited(name: str) -> None:
    """Cores, memory, processes and logs end somewhere."""
    assert {"cpus", "memory", "pids"} == set(limits(name))
    assert {"max-size", "max-file"} == set(SERVICES[name]["logging"]["options"])


def test_the_limits_fit_the_machine() -> None:
    """All together, locust's and the one that ends at once among them."""
    assert sum(float(limits(name)["cpus"]) for name in SERVICES) <= MACHINE_CPUS + 1e-9
    assert sum(in_bytes(limits(name)["memory"]) for name in SERVICES) <= MACHINE_BYTES


def test_the_budget_in_the_docs_is_the_one_in_the_file() -> None:
    """Service by service, and the sum."""
    page = (ROOT / "docs" / "operations.md").read_text().partition("\n## Compose\n")[2].partition("\n## ")[0]
    rows = {row[0]: row[1:] for row in re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| (\d+) \|", page, re.MULTILINE)}
    told = {name: (limits(name)["cpus"], limits(name)["memory"].removesuffix("m")) for name in SERVICES}
    cpus = f"{sum(float(cpus) for cpus, _ in told.values()):.2f}"
    assert rows == told | {"together": (cpus, str(sum(int(memory) for _, memory in told.values())))}


@every_service
def test_only_pages_are_published_and_only_here(name: str) -> None:
    """On loopback, and from a network of their own; who has no page is on the internal one alone."""
    service = SERVICES[name]
    ports = service.get("ports", [])
    assert bool(ports) == (name in PAGES)
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT-\d+(-\d+)?\}:\d+", port) for port in ports)
    if name == "secrets":
        assert service["network_mode"] == "none"
    else:
        more = ["pages"] if name in PAGES else ["venues"] if name == "feed" else []
        assert service["networks"] == ["backend", *more]


def test_one_network_leads_out() -> None:
    """The feed's, to the venues; of the others one is internal, and one hands no packet on."""
    networks = COMPOSE["networks"]
    assert set(networks) == {"backend", "pages", "venues"}
    assert networks["backend"]["internal"] is True
    assert networks["pages"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


@every_service
def test_healthy_means_that_somebody_answered(name: str) -> None:
    """Every service that stays is asked; what compose can wait for is said to be there."""
    service = SERVICES[name]
    asked = service["healthcheck"]
    assert asked.get("disable", False) == (name == "secrets")
    if name != "secrets":
        assert asked["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries", "start_period"} <= set(asked)
    assert service["restart"] == ("no" if name == "secrets" else "unless-stopped")


@every_service
def test_no_secret_stands_in_the_file(name: str) -> None:
    """Passwords come in files, from volumes that are written by one service and read by who needs them."""
    service = SERVICES[name]
    for key, value in service.get("environment", {}).items():
        assert key.endswith("FILE") or not re.search("PASSWORD|SECRET|TOKEN|KEY", key), (key, value)
    for volume in service.get("volumes", []):
        if volume.split(":")[0] in ("token", "ledger-secret", "redis-secret", "grafana-secret"):
            assert volume.endswith(":ro") == (name != "secrets")


def told(name: str) -> dict[str, str]:
    """A service's variables, where nobody has set what they come from."""
    said: dict[str, str] = SERVICES[name]["environment"]
    return {key: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value) for key, value in said.items()}


@pytest.mark.parametrize("configuration", ["compose", "testing", "staging", "production"])
def test_every_configuration_fits_the_file(configuration: str) -> None:
    """Whichever is mounted: each service listens at the port at which the others look for it, under its name."""
    file = ROOT / "configs" / f"{configuration}.toml"
    settings = load(file, environ=told("hub"))
    addresses = {f"engine-{name}": str(engine.place) for name, engine in settings.engines.table().items()}
    addresses |= {"hub": settings.hub.listen, "executor": settings.executor.listen}
    for name, address in addresses.items():
        host, _, port = address.partition(":")
        assert host == name
        command = SERVICES[name]["command"]
        assert command[-1].endswith(f"=0.0.0.0:{port}")
        load(file, [command[-1]], environ=told(name))
        assert SERVICES[name]["healthcheck"]["test"][-1] == f"127.0.0.1:{port}"
    assert settings.feed.listen.rpartition(":")[2] == SERVICES["feed"]["healthcheck"]["test"][-1].rpartition(":")[2]


def test_what_runs_by_itself_trades_on_paper() -> None:
    """Where nobody names a configuration."""
    assert load(ROOT / "configs" / "compose.toml", environ=told("executor")).executor.trading_mode == "paper"


def test_one_at_a_time_serves() -> None:
    """Who may be there once only takes turns, each by a file of its own, in a folder that both containers have."""
    files = {}
    for name, service in SERVICES.items():
        command = service.get("command", [])
        if "--turn" in command:
            files[name] = command[command.index("--turn") + 1]
            assert "turns:/run/arbhub/turns" in service["volumes"]
        else:
            assert not any(volume.startswith("turns:") for volume in service.get("volumes", []))
    assert {name: Path(file).parent for name, file in files.items()} == dict.fromkeys(
        ("feed", "hub", "engine-risk", "executor"), Path("/run/arbhub/turns")
    )
    assert len(set(files.values())) == len(files)


def test_prometheus_takes_its_configuration() -> None:
    """Every key of it is one that Prometheus knows."""
    promtool = shutil.which("promtool")
    if promtool is None:
        assert "CI" not in os.environ, "CI must have Prometheus' promtool"
        pytest.skip("promtool is not installed")
    file = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
    command = [promtool, "check", "config", "--syntax-only", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_traces_go_from_the_collector_to_jaeger() -> None:
    """At the addresses that compose gives both; every part of the pipeline is configured."""
    collector = yaml.safe_load((ROOT / "deploy" / "otel" / "collector.yaml").read_text())
    pipeline = collector["service"]["pipelines"]["traces"]
    for kind, names in pipeline.items():
        assert set(names) <= set(collector[kind])
    assert collector["exporters"]["otlp"]["endpoint"] == "jaeger:4317"
    assert collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == "0.0.0.0:4317"
    asked = SERVICES["otel-collector"]["healthcheck"]["test"][-1]
    assert asked == f"http://{collector['extensions']['health_check']['endpoint']}/"
    limit = collector["processors"]["memory_limiter"]["limit_mib"]
    assert limit * 2**20 < in_bytes(limits("otel-collector")["memory"])
