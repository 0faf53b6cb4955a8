"""Every overlay of deploy/k8s: valid to the letter, and by the rules of docs/operations.md, "Kubernetes"."""

from collections.abc import Iterator

import kubernetes_validate
import pytest
from rendered_cluster import ENVIRONMENTS, ROOT, Cluster, Edge, Workload, selects

from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from engines.hosting import hosted_by
from engines.table import ENGINES

KUBERNETES = "1.34"
DRAIN_S = 5  # what a service takes at most from SIGTERM to its end
STATELESS = {f"engine-{name}" for name, section in Settings().engines.table().items() if section.stateless}
OVERFLOW = {f"{name}-overflow" for name in STATELESS}
ALONE = {"feed", "hub", "executor", "engine-risk"}
STORES = {"postgres", "redis"}


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """An environment, rendered."""
    return Cluster(request.param)


def ours(cluster: Cluster) -> Iterator[tuple[Workload, Settings]]:
    """The workloads that run arbhub, each with what its process runs with."""
    return ((workload, cluster.settings(name)) for name, workload in cluster.ours.items())


def test_every_resource_is_valid(cluster: Cluster) -> None:
    """By the API's own schemas, strictly: a field that does not exist is an error."""
    for resource in cluster.resources:
        assert kubernetes_validate.validate(resource, KUBERNETES, strict=True) == KUBERNETES


def test_all_of_a_shard_is_there(cluster: Cluster) -> None:
    """Every service, the overflow pool, and the stores where they are not elsewhere; all in one namespace."""
    stores = STORES if cluster.environment == "testing" else set()
    assert cluster.ours.keys() == ALONE | STATELESS | OVERFLOW
    assert cluster.workloads.keys() - cluster.ours.keys() == stores
    assert {"engine-" + name for name in ENGINES} == STATELESS | {"engine-risk"}
    spaces = {r["metadata"].get("namespace") for r in cluster.resources if r["kind"] != "Namespace"}
    assert spaces == {f"arbhub-{cluster.environment}"}


def test_pods_are_contained(cluster: Cluster) -> None:
    """Nobody is root, writes to the image, gains rights, or is given an account; limits and the image are stated."""
    for workload in cluster.workloads.values():
        pod, container = workload.pod, workload.container
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for bound in ("requests", "limits"):
            assert container["resources"][bound].keys() == {"cpu", "memory"}
        assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
        name, _, tag = container["image"].partition(":")
        assert name in {"arbhub", *STORES}
        assert tag not in ("", "latest")
        assert not {"initContainers", "hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    (space,) = cluster.of_kind("Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_pod_is_killed_for_being_busy(cluster: Cluster) -> None:
    """Alive is who takes a connection; ready is who says so by gRPC's own health, at the port where it serves."""
    for workload in cluster.workloads.values():
        for probe in (workload.container["livenessProbe"], workload.container.get("startupProbe", {})):
            assert not {"grpc", "httpGet", "exec"} & probe.keys()
        assert workload.container["livenessProbe"]["tcpSocket"]["port"] in workload.ports()
    for workload in cluster.ours.values():
        assert workload.container["readinessProbe"]["grpc"] == {"port": workload.ports()["grpc"]}
        assert workload.container["startupProbe"]["tcpSocket"] == {"port": "grpc"}


def test_pods_end_in_order(cluster: Cluster) -> None:
    """They go on until names no longer lead to them, and then have the time that a drain takes."""
    for workload in cluster.ours.values():
        wait = workload.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert wait > 0
        assert workload.pod["terminationGracePeriodSeconds"] >= wait + DRAIN_S


def test_every_process_has_a_configuration_that_it_can_run_with(cluster: Cluster) -> None:
    """The environment's file with the pod's variables is valid, and has it listen where it is probed and called."""
    for workload, settings in ours(cluster):
        command, *words = workload.container["args"]
        if command == "engine":
            place, names = hosted_by(settings, words[:1])
            assert names == (words[0],)
        else:
            place = getattr(settings, command).listen
        assert place == f"0.0.0.0:{workload.ports()['grpc']}"
        assert words[-2:] == ["--config", "/etc/arbhub/settings.toml"]
    hub = cluster.ours["hub"]
    assert cluster.settings("hub").hub.http_listen == f"0.0.0.0:{hub.ports()['http']}"
    assert cluster.settings("hub").hub.admin_listen.startswith("127.0.0.1:")


def test_settings_are_the_environments_file(cluster: Cluster) -> None:
    """The ConfigMap that every pod mounts holds configs/ENVIRONMENT.toml as it is."""
    maps = {found["metadata"]["name"]: found["data"] for found in cluster.of_kind("ConfigMap")}
    wanted = (ROOT / "configs" / f"{cluster.environment}.toml").read_text()
    for workload in cluster.ours.values():
        (volume,) = (v for v in workload.pod["volumes"] if v["name"] == "settings")
        assert maps[volume["configMap"]["name"]] == {"settings.toml": wanted}


def test_secrets_are_named_only(cluster: Cluster) -> None:
    """None is part of this; those that pods name are the ones that the documentation says to make."""
    assert not cluster.of_kind("Secret")
    keys = {
        (found["secretKeyRef"]["name"], found["secretKeyRef"]["key"])
        for workload in cluster.workloads.values()
        for found in (variable.get("valueFrom") for variable in workload.container.get("env", ()))
        if found
    }
    volumes = [volume for workload in cluster.workloads.values() for volume in workload.pod.get("volumes", ())]
    files = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    passwords = {("ledger", "password"), ("redis", "password")} if cluster.environment == "testing" else set()
    assert keys == {("ledger", "url"), ("redis", "url")} | passwords
    assert files == {"hub-token"}


def test_stateless_engines_scale_early(cluster: Cluster) -> None:
    """At 30 % of the CPU, from two pods on, each engine by itself; nobody else does."""
    targets = {}
    for scaler in (found["spec"] for found in cluster.of_kind("HorizontalPodAutoscaler")):
        assert scaler["scaleTargetRef"]["kind"] == "Deployment"
        (metric,) = scaler["metrics"]
        assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 30}}
        targets[scaler["scaleTargetRef"]["name"]] = scaler["minReplicas"], scaler["maxReplicas"]
    assert targets.keys() == STATELESS
    assert all(2 <= least < most for least, most in targets.values())
    for name in STATELESS:
        assert "replicas" not in cluster.workloads[name].spec  # an apply would take back what was scaled


def test_a_drain_of_nodes_leaves_each_engine_one(cluster: Cluster) -> None:
    """A budget an engine, for its pods and no others; pods are spread over zones by their own labels."""
    budgets = [budget["spec"] for budget in cluster.of_kind("PodDisruptionBudget")]
    assert sorted(map(sorted, (cluster.selected(b["selector"]) for b in budgets))) == sorted([n] for n in STATELESS)
    assert all(budget["minAvailable"] == 1 for budget in budgets)
    for name in STATELESS | OVERFLOW:
        (spread,) = cluster.workloads[name].pod["topologySpreadConstraints"]
        assert spread["topologyKey"] == "topology.kubernetes.io/zone"
        assert cluster.selected(spread["labelSelector"]) == {name}


def test_there_is_one_writer(cluster: Cluster) -> None:
    """Of all that must not be twice there is one pod, and the old one ends before the new one begins."""
    for name in ALONE:
        workload = cluster.workloads[name]
        assert workload.spec["replicas"] == 1
        ends_first = workload.resource["kind"] == "StatefulSet" or workload.spec["strategy"] == {"type": "Recreate"}
        assert ends_first
    assert {name for name in ALONE if cluster.workloads[name].resource["kind"] == "StatefulSet"} == {"hub", "executor"}


def test_names_lead_to_every_replica(cluster: Cluster) -> None:
    """What the hub calls is a Service with these pods behind it, headless where there are replicas."""
    headless = {s["metadata"]["name"] for s in cluster.of_kind("Service") if s["spec"].get("clusterIP") == "None"}
    assert headless == STATELESS | OVERFLOW
    for service in cluster.of_kind("Service"):
        name = service["metadata"]["name"]
        assert cluster.behind(name) == {name}
        ports = cluster.workloads[name].ports()
        assert all(ports[port["targetPort"]] == port["port"] for port in service["spec"]["ports"])


def needed(cluster: Cluster) -> Iterator[Edge]:
    """The calls that the processes make by their configurations."""
    hub = cluster.settings("hub")
    called = [hub.executor.listen, *hub.engines.hosts()]
    assert IN_PROCESS not in called
    for address in called:
        name, _, port = address.partition(":")
        yield from (Edge("hub", workload, int(port)) for workload in cluster.behind(name))
    name, _, port = cluster.settings("feed").hub.listen.partition(":")
    yield from (Edge("feed", workload, int(port)) for workload in cluster.behind(name))
    if cluster.environment == "testing":
        yield from (Edge(caller, "postgres", 5432) for caller in ("hub", "executor"))
        yield from (Edge(caller, "redis", 6379) for caller in ("hub", "feed"))


def test_the_network_allows_what_is_needed_and_nothing_else(cluster: Cluster) -> None:
    """Of all calls between pods those that the configuration makes; everything is denied first."""
    (deny,) = (p["spec"] for p in cluster.of_kind("NetworkPolicy") if p["metadata"]["name"] == "deny-all")
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(selects(deny["podSelector"], workload.labels) for workload in cluster.workloads.values())
    assert cluster.edges("egress", "to") == set(needed(cluster))
    assert cluster.edges("ingress", "from") == set(needed(cluster))


def test_little_is_called_beyond(cluster: Cluster) -> None:
    """Names, exchanges and the stores that run elsewhere; from there only the scrape comes in."""
    names = {(name, "kube-system", 53) for name in ("feed", "hub", "executor")}
    wanted = names | {("feed", "0.0.0.0/0", 443)}
    if cluster.environment != "testing":
        private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
        wanted |= {(name, cidr, 5432) for name in ("hub", "executor") for cidr in private}
        wanted |= {(name, cidr, 6379) for name in ("hub", "feed") for cidr in private}
    assert cluster.outside("egress", "to") == wanted
    (feed,) = (p["spec"] for p in cluster.of_kind("NetworkPolicy") if p["metadata"]["name"] == "feed")
    blocks = [peer["ipBlock"] for rule in feed["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert [{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= set(block["except"]) for block in blocks] == [True]
    assert cluster.outside("ingress", "from") == {("hub", "monitoring", 7408)}


def test_the_overflow_pool_is_apart(cluster: Cluster) -> None:
    """A fixed size, no scaling, labels and Services of its own; nobody who is here may call it."""
    for name in OVERFLOW:
        workload = cluster.workloads[name]
        assert workload.spec["replicas"] == 1
        assert workload.labels["arbhub/pool"] == "overflow"
        assert not any(edge.called == name for edge in cluster.edges("ingress", "from"))
        hub = {"app.kubernetes.io/name": "hub", "arbhub/pool": "overflow"}
        (policy,) = (p["spec"] for p in cluster.of_kind("NetworkPolicy") if p["metadata"]["name"] == name)
        (rule,) = policy["ingress"]
        assert [selects(peer["podSelector"], hub) for peer in rule["from"]] == [True]
