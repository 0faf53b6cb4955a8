"""deploy.sh for real: a release takes over under load, is rolled back with its ledger, and a broken one is undone.

It is the last one here, as what runs afterwards is another image. A client in a container offers ticks all the while,
about a hundred a second, and knows of each how often it was answered.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compose_hub import ComposeHub
from compose_project import FILE, ROOT, Project, docker, told

pytestmark = pytest.mark.timeout(1200)

HERE = Path(__file__).parent
DEPLOY_S = 400.0
ROLLED = ("engine-spread", "engine-fee", "engine-liquidity", "engine-risk", "executor", "hub", "feed")
VERSIONS = "/opt/arbhub/lib/python3.11/site-packages/executor/migrations/versions"
MIGRATION = '''
"""A column more, which nobody has filled in."""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

def upgrade():
    op.add_column("fills", sa.Column("note", sa.String(), nullable=False, server_default=""))

def lost(connection):
    return ""

def downgrade():
    op.drop_column("fills", "note")
'''
NEXT = f"FROM {{base}}\nLABEL next=1\nCOPY --chmod=644 ledger_0002.py {VERSIONS}/\n"
BROKEN = """FROM {base}
ENTRYPOINT ["sh", "-c", "if [ $1 = hub ]; then echo this hub is broken >&2; exit 3; fi; exec arbhub \\"$@\\"", "broken"]
"""
EPOCHS, REVISION = "SELECT max(epoch) FROM epochs", "SELECT version_num::int FROM arbhub_ledger_version"


@pytest.fixture(scope="module")
def releases(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The version that runs, one that comes after it, and one whose hub ends at once; as images of their own."""
    folder = tmp_path_factory.mktemp("releases")
    (folder / "ledger_0002.py").write_text(MIGRATION)
    base = project.file["services"]["hub"]["image"]
    made = {"current": base.removeprefix("arbhub:")}
    for name, text in (("next", NEXT), ("broken", BROKEN)):
        made[name] = f"test-{name}-{os.getpid()}"
        (folder / name).write_text(text.format(base=base if name == "next" else f"arbhub:{made['next']}"))
        docker("build", "--quiet", "--tag", f"arbhub:{made[name]}", "--file", str(folder / name), str(folder))
    yield made
    for name in ("broken", "next"):
        subprocess.run(("docker", "image", "rm", f"arbhub:{made[name]}"), capture_output=True, check=False)


class Deployments:
    """deploy.sh on the running project, with a history of its own."""

    def __init__(self, project: Project, folder: Path) -> None:
        quick = f"{FILE}:{HERE / 'quick_start.yaml'}"
        own = {"COMPOSE_PROJECT_NAME": project.name, "COMPOSE_FILE": quick, "DEPLOY_STATE": str(folder)}
        self._environment = project.environment | own
        self.folder = folder

    def run(self, *words: str) -> tuple[int, str]:
        """Its exit code and what it said."""
        done = subprocess.run(
            (str(ROOT / "deploy/deploy.sh"), "--env", "compose", *words),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEPLOY_S,
            check=False,
        )
        told(f"deploy.sh {' '.join(words)}: {done.returncode}\n{done.stdout}")
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def deployments(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Deployments:
    """None so far."""
    return Deployments(project, tmp_path_factory.mktemp("deployed"))


class SteadyClient:
    """The container in which steady_ticks.py runs."""

    def __init__(self, project: Project) -> None:
        self.name = f"{project.name}-steady"
        mounted = f"{HERE / 'steady_ticks.py'}:/steady_ticks.py:ro"
        where = ("--network", f"{project.name}_backend", "--volume", mounted, "--entrypoint", "python3")
        image = project.file["services"]["hub"]["image"]
        docker("run", "--detach", "--name", self.name, *where, image, "/steady_ticks.py", "hub:7401")

    def report(self) -> dict[str, Any]:
        """End it, and what it says then."""
        docker("stop", "--time", "60", self.name)
        report: dict[str, Any] = json.loads(docker("logs", self.name).splitlines()[-1])
        told(f"the client: {report}")
        return report

    def gone(self) -> None:
        """Leave nothing of it behind."""
        subprocess.run(("docker", "rm", "--force", self.name), capture_output=True, check=False)


@pytest.fixture
def client(project: Project, hub: ComposeHub) -> Iterator[SteadyClient]:
    """Ticks, from before the test until it asks for the report."""
    hub.until_ready()
    made = SteadyClient(project)
    yield made
    made.gone()


def answered_once(report: dict[str, Any]) -> None:
    """Every tick, whatever was done meanwhile, and some were approved."""
    assert report["ticks"] > 1000
    assert (report["unanswered"], report["answered_again"], report["wrong"]) == (0, 0, [])
    assert sum(report["reasons"].values()) == report["ticks"]
    assert report["reasons"]["approved"] > 0


def test_another_release_takes_over_under_load(
    project: Project, hub: ComposeHub, releases: dict[str, str], deployments: Deployments, client: SteadyClient
) -> None:
    """Service by service, ledger included: each tick is answered once, in rising epochs, and trading goes on."""
    epoch = hub.rows(EPOCHS)
    code, said = deployments.run("--mode", "rolling", "--version", releases["next"])
    assert code == 0, said
    assert {project.image_of(service) for service in ROLLED} == {f"arbhub:{releases['next']}"}
    assert hub.rows(REVISION) == 2
    hub.until_more_fills()
    answered_once(report := client.report())
    assert hub.rows(EPOCHS) >= epoch + 2  # a new one with the new executor, and with the new hub
    assert max(int(number) for number in report["approved_by_epoch"]) > epoch
    assert len(list((deployments.folder / "backups").iterdir())) == 1


def test_the_version_before_comes_back_with_its_ledger(
    project: Project, hub: ComposeHub, releases: dict[str, str], deployments: Deployments, client: SteadyClient
) -> None:
    """The executor alone, to save minutes: it is what the ledger is taken down for."""
    code, said = deployments.run("--mode", "rolling", "--version", "previous", "--only", "executor")
    assert code == 0, said
    assert project.image_of("executor") == f"arbhub:{releases['current']}"
    assert hub.rows(REVISION) == 1
    hub.until_ready()
    hub.until_more_fills()
    answered_once(client.report())


def test_a_broken_release_changes_nothing(
    project: Project, hub: ComposeHub, releases: dict[str, str], deployments: Deployments, client: SteadyClient
) -> None:
    """Its hub ends at once: the engine that was replaced before it comes back, and the hub never went away."""
    before = project.image_of("hub"), project.image_of("engine-fee"), project.states()["hub"]["ID"]
    code, said = deployments.run(
        "--mode", "hotfix", "--version", releases["broken"], "--only", "engine-fee", "--only", "hub"
    )
    assert code == 1
    assert "this hub is broken" in said
    assert "what served before serves" in said.splitlines()[-1]
    assert (project.image_of("hub"), project.image_of("engine-fee"), project.states()["hub"]["ID"]) == before
    assert not project.unwell()
    hub.until_more_fills()
    answered_once(client.report())
