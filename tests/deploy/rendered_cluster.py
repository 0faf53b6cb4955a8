"""An overlay of deploy/k8s as `kubectl kustomize` renders it: who is run, and who may call whom."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from arbhub.settings.load import load
from arbhub.settings.schema import Settings

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ("testing", "staging", "production")
Labels = Mapping[str, str]
Json = dict[str, Any]


class Edge(NamedTuple):
    """A pod of one workload may open a connection to one of another."""

    caller: str
    called: str
    port: int


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet, and its pods."""

    resource: Json

    @property
    def name(self) -> str:
        return str(self.resource["metadata"]["name"])

    @property
    def spec(self) -> Json:
        found: Json = self.resource["spec"]
        return found

    @property
    def labels(self) -> Labels:
        """Of its pods."""
        found: Labels = self.spec["template"]["metadata"]["labels"]
        return found

    @property
    def pod(self) -> Json:
        found: Json = self.spec["template"]["spec"]
        return found

    @property
    def container(self) -> Json:
        """Its only one."""
        (container,) = self.pod["containers"]
        found: Json = container
        return found

    @property
    def is_ours(self) -> bool:
        """Whether it runs arbhub."""
        return bool(self.container["name"] == "arbhub")

    def ports(self) -> dict[str, int]:
        """By name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}


class Cluster:
    """What an environment's overlay asks for."""

    def __init__(self, environment: str) -> None:
        self.environment = environment
        self.resources: list[Json] = [*yaml.safe_load_all(rendered(environment))]
        pods = self.of_kind("Deployment") + self.of_kind("StatefulSet")
        self.workloads = {workload.name: workload for workload in map(Workload, pods)}
        self.ours = {name: workload for name, workload in self.workloads.items() if workload.is_ours}

    def of_kind(self, kind: str) -> list[Json]:
        """All resources of a kind."""
        return [resource for resource in self.resources if resource["kind"] == kind]

    def selected(self, selector: Json) -> set[str]:
        """The workloads whose pods a label selector selects."""
        return {name for name, workload in self.workloads.items() if selects(selector, workload.labels)}

    def behind(self, service: str) -> set[str]:
        """The workloads behind a Service."""
        (found,) = (s for s in self.of_kind("Service") if s["metadata"]["name"] == service)
        return self.selected({"matchLabels": found["spec"]["selector"]})

    def settings(self, name: str) -> Settings:
        """What the process of a workload runs with: the file that it mounts, and its variables over it."""
        workload = self.ours[name]
        environ = {key: value for source in workload.container["envFrom"] for key, value in self._map(source).items()}
        for variable in workload.container["env"]:
            environ[variable["name"]] = variable.get("value", "postgresql://user@nowhere/ledger")
        if "ARBHUB_REDIS__URL" in environ:
            environ["ARBHUB_REDIS__URL"] = "redis://nowhere:6379/0"  # a Secret's
        return load(ROOT / "configs" / f"{self.environment}.toml", (), environ)

    def _map(self, source: Json) -> dict[str, str]:
        """The content of a ConfigMap that is named as a source of variables."""
        name = source["configMapRef"]["name"]
        (found,) = (m["data"] for m in self.of_kind("ConfigMap") if m["metadata"]["name"] == name)
        content: dict[str, str] = found
        return content

    # Network policies

    def edges(self, direction: str, other: str) -> set[Edge]:
        """Who may call whom of the pods here, by what one side's policies state; a call needs both sides'."""
        found: set[Edge] = set()
        for mine in self.workloads:
            for rule in self._rules(direction, mine):
                for peer in (p for p in rule[other] if p.keys() == {"podSelector"}):
                    pairs = [(mine, theirs) for theirs in self.selected(peer["podSelector"])]
                    calls = pairs if direction == "egress" else [(theirs, mine) for _, theirs in pairs]
                    found.update(Edge(*call, port["port"]) for call in calls for port in rule["ports"])
        return found

    def outside(self, direction: str, other: str) -> set[tuple[str, str, int]]:
        """Who may call whom beyond the pods here: a workload, where (or whence) and the port."""
        found: set[tuple[str, str, int]] = set()
        for name in self.workloads:
            for rule in self._rules(direction, name):
                for peer in rule[other]:
                    if "ipBlock" in peer:
                        where = str(peer["ipBlock"]["cidr"])
                    elif "namespaceSelector" in peer:
                        where = str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
                    else:
                        continue
                    found.update((name, where, port["port"]) for port in rule["ports"])
        return found

    def _rules(self, direction: str, name: str) -> Iterator[Json]:
        """Of all policies that select a workload's pods; none at all would mean that anything goes."""
        labels = self.workloads[name].labels
        for policy in (p["spec"] for p in self.of_kind("NetworkPolicy")):
            if direction.capitalize() in policy["policyTypes"] and selects(policy["podSelector"], labels):
                yield from policy.get(direction, ())


def selects(selector: Json, labels: Labels) -> bool:
    """Whether a label selector selects these labels; an empty one selects all."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    expressions: Iterable[Json] = selector.get("matchExpressions", ())
    assert all(e["operator"] == "In" for e in expressions), "an operator that is not understood here"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(e["key"]) in e["values"] for e in expressions
    )


def rendered(environment: str) -> str:
    """The overlay's resources as YAML; no cluster is asked. kubectl is no Python package: it has to be there."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        reason = "kubectl (1.27 or newer, for its kustomize) is not on the PATH: overlays cannot be rendered"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    overlay = ROOT / "deploy/k8s/overlays" / environment
    done = subprocess.run((kubectl, "kustomize", overlay), check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr  # a warning is about to be an error
    return done.stdout
