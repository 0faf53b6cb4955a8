"""docker compose for real: the image is built, everything starts, trades, is seen, is broken, mends itself and goes.

Run by `make test-compose`, apart from the other tests: it takes minutes. Where no engine runs it is skipped, with the
reason; with REQUIRE_COMPOSE=1 that is a failure.
"""

import json
import os
import subprocess
from urllib.parse import quote

import pytest
from compose_hub import ComposeHub
from compose_project import DEVELOPMENT, FILE, ROOT, Project, docker, page, told

pytestmark = pytest.mark.timeout(1200)

MAX_IMAGE_BYTES = 450e6
FIRST_FILL_NS = "SELECT min(ts_ns) FROM fills"


def test_compose_takes_the_whole_file(project: Project) -> None:
    """All services, those left out here among them, with every profile and with the development file over it."""
    del project
    files = ("-f", str(FILE), "-f", str(DEVELOPMENT))
    for chosen in (files[:2], files):
        command = ("docker", "compose", *chosen, "--profile", "loadtest", "config", "--format", "json")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["services"]) == 16
        assert not done.stderr


def test_the_image_is_small_and_runs_as_nobody_special(project: Project) -> None:
    """Below the bound, not as root, without a compiler, a package manager or pip, and nothing can be written."""
    image = project.file["services"]["hub"]["image"]
    size = project.image_bytes(image)
    told(f"the image has {size / 1e6:.0f} MB")
    assert size < MAX_IMAGE_BYTES
    assert project.run_in("hub", "id", "-u").strip() == "10001"
    found = "for p in gcc cc apt-get dpkg pip pip3 strip; do command -v $p; done; true"
    assert project.run_in("hub", "sh", "-c", found) == ""
    tried = (
        "touch /opt/arbhub/x 2>/dev/null && echo written; grep ^Cap.*: /proc/self/status; grep NoNew /proc/self/status"
    )
    said = dict(line.split(":\t") for line in project.run_in("hub", "sh", "-c", tried).splitlines())
    assert {said[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert said["NoNewPrivs"] == "1"


def test_it_trades_on_paper(project: Project, hub: ComposeHub) -> None:
    """What feed and sandbox give is decided, approved and filled, and the ledger in PostgreSQL has it."""
    hub.until_ready()
    hub.until_more_fills()
    told(f"the first fill came {project.seconds_until(hub.rows(FIRST_FILL_NS)):.0f} s after the start")
    assert hub.rows("SELECT count(*) FROM fills f JOIN orders o USING (client_order_id)") > 0
    assert "EX" in project.run_in("hub", "arbhub", "trades", "--config", "/etc/arbhub.toml")


def test_strangers_see_that_it_lives_and_nothing_else(hub: ComposeHub) -> None:
    """The published port asks for the token."""
    assert hub.page("/health")[0] == 200
    for path in ("/metrics", "/ready", "/api/logs/trades"):
        assert hub.page(path)[0] == 401
        assert hub.page(path, hub.token)[0] in (200, 503)


def test_prometheus_scrapes_the_hub(project: Project) -> None:
    """With the token, which it reads from its file; and it has the hub's metrics."""
    base = project.url("prometheus", 9090)

    def value(query: str) -> list[str]:
        status, text = page(f"{base}/api/v1/query?query={quote(query)}")
        return [found["value"][1] for found in json.loads(text)["data"]["result"]] if status == 200 else []

    project.until(lambda: value('up{job="hub"}') == ["1"], "the hub scraped")
    project.until(lambda: bool(value('count({job="hub",__name__=~"arbhub_.+"})')), "its metrics")
    assert float(value('sum(arbhub_ticks_total{job="hub"})')[0]) > 0


def test_load_goes_through_the_hub(project: Project, hub: ComposeHub) -> None:
    """Ticks of a driver on the internal network are answered, each of them, beside the feed's own."""
    image = project.file["services"]["hub"]["image"]
    report = "/tmp/report.json"  # noqa: S108  # within the container
    drive = "python3 -m loadtest run --target hub:7401 --rate 200 --seconds 5 --instruments 20 --no-stalls"
    words = ("docker", "run", "--rm", "--network", f"{project.name}_backend", "--entrypoint", "sh", image)
    done = subprocess.run(
        (*words, "-c", f"{drive} --report {report} >&2 && cat {report}"),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["sent"] > 500
    assert result["decided"] == result["sent"]
    hub.until_more_fills()


@pytest.mark.parametrize(("blow", "mend"), [("kill", "start"), ("pause", "unpause")])
@pytest.mark.parametrize("engine", ["fee", "risk"])
def test_an_engine_goes_and_comes_back(project: Project, hub: ComposeHub, engine: str, blow: str, mend: str) -> None:
    """While it is away, gone or hanging, its silence is a veto on everything; once it is back, trading goes on."""
    hub.until_ready()
    silence = f"ENGINE_TIMEOUT:{engine}"
    before = hub.decisions().get(silence, 0)
    project.compose(blow, f"engine-{engine}")
    project.until(lambda: hub.decisions().get(silence, 0) > before + 20, f"vetoes for {engine}'s silence")
    then = hub.decisions()
    project.until(lambda: hub.decisions()[silence] > then[silence] + 50, "more of them")
    assert hub.decisions()["approved"] == then["approved"]
    project.compose(mend, f"engine-{engine}")
    hub.until_ready()
    hub.until_more_fills()


@pytest.mark.parametrize(("blow", "mend"), [("kill", "start"), ("pause", "unpause")])
def test_a_replica_goes_and_trading_goes_on(project: Project, hub: ComposeHub, blow: str, mend: str) -> None:
    """Of two replicas of an engine one goes, gone or hanging: the other one's verdicts are enough to approve."""

    def up() -> float:
        return hub.metric("arbhub_engine_replicas_up", "engine")["fee"]

    scaled = ("up", "--detach", "--no-deps", "--no-recreate", "--no-build", "--scale")
    (first,) = project.containers("engine-fee")
    project.compose(*scaled, "engine-fee=2", "engine-fee")
    project.until(lambda: up() == 2, "two replicas that can be asked", lambda: project.logs("engine-fee"))
    docker(blow, first)
    try:
        project.until(lambda: up() == 1, "one that the hub knows to be away")
        before = hub.decisions()["approved"]
        project.until(
            lambda: hub.decisions()["approved"] > before, "approvals without it", lambda: str(hub.decisions())
        )
        hub.until_more_fills()
        assert up() == 1  # all the while
    finally:
        docker(mend, first)
        project.compose(*scaled, "engine-fee=1", "engine-fee")
    project.until(lambda: not project.unwell(), "everybody healthy again", lambda: str(project.unwell()))
    hub.until_ready()


def test_a_service_that_ends_is_started_again(project: Project, hub: ComposeHub) -> None:
    """By Docker and nobody else; the hub finds the executor again, under a new epoch."""
    began, epochs = project.started_at("executor"), hub.rows("SELECT count(*) FROM epochs")
    project.run_in("executor", "sh", "-c", "kill -TERM 1")
    project.until(lambda: project.started_at("executor") != began, "the executor started again")
    project.until(lambda: not project.unwell(), "everybody healthy again", lambda: str(project.unwell()))
    hub.until_ready()
    hub.until_more_fills()
    assert hub.rows("SELECT count(*) FROM epochs") > epochs


def test_a_changed_file_starts_a_service_again_in_development() -> None:
    """The source is mounted, and what runs is what it says."""
    made = Project(f"arbhub-development-{os.getpid()}", over=(DEVELOPMENT,))
    try:
        made.up("sandbox")
        assert made.run_in("sandbox", "python3", "-c", "import sandbox; print(sandbox.__file__)").startswith("/source/")
        assert made.logs("sandbox").count("sandbox is up") == 1
        (ROOT / "sandbox" / "server.py").touch()
        made.until(lambda: made.logs("sandbox").count("sandbox is up") == 2, "the sandbox started again")
    finally:
        made.down()
