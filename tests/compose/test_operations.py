"""What an operator does to a running project, by the scripts of deploy/: look, mend, back up and put back."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compose_hub import FILLS, ComposeHub
from compose_project import ROOT, Project

from arbhub.state import ACTIVE, HALTED

pytestmark = pytest.mark.timeout(600)

TRADING = "SELECT state FROM trading"
EPOCH = "SELECT epoch FROM trading"
OPEN = "SELECT count(*) FROM decisions WHERE status = 'open'"
ENGINES = ("engine-fee", "engine-spread", "engine-liquidity")


class Operator:
    """Somebody at the machine of a project, with a folder to work in."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.folder, self._project = folder, project
        own = {"COMPOSE_PROJECT_NAME": project.name, "ARBHUB": str(Path(sys.executable).with_name("arbhub"))}
        self._environment = project.environment | own

    def run(self, script: str, *words: str | Path) -> tuple[int, str]:
        """The exit code of deploy/SCRIPT.sh, and all that it said."""
        ran = subprocess.run(
            [str(ROOT / f"deploy/{script}.sh"), *map(str, words)],
            cwd=self.folder, env=self._environment, check=False, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip  # the words of one command stay together
        return ran.returncode, ran.stdout

    def health(self, *words: str) -> tuple[int, dict[str, str]]:
        """The exit code of health.sh, and what it said last of each engine."""
        code, said = self.run("health", *words, *ENGINES)
        return code, dict(re.findall(r"engine-(\w+)-\d+: (.+)$", said, re.MULTILINE))

    def says(self, word: str) -> None:
        """Halt or resume trading."""
        self._project.run_in("hub", "arbhub", "admin", word, "--config", "/etc/arbhub.toml")

    def word(self) -> tuple[int, int]:
        """What the hub remembers of the last such word: the state, and when it was said."""
        remembered = json.loads(self._project.run_in("hub", "cat", "/var/lib/arbhub/trading.json"))
        return remembered["state"], remembered["said_ns"]


@pytest.fixture
def operator(project: Project, tmp_path: Path) -> Operator:
    """One who has done nothing yet."""
    return Operator(project, tmp_path)


def test_what_is_stopped_or_hangs_is_found_and_healthy_again(project: Project, operator: Operator) -> None:
    """First it is only said, then mended, and then there is nothing to say."""
    project.compose("stop", "engine-fee")
    project.compose("pause", "engine-spread")
    assert operator.health("--dry-run") == (2, {"fee": "exited", "spread": "paused", "liquidity": "well"})
    mended = "restarted, now well"
    assert operator.health() == (1, {"fee": mended, "spread": mended, "liquidity": "well"})
    assert operator.health() == (0, dict.fromkeys(("fee", "spread", "liquidity"), "well"))
    remembered = [line.split()[1] for line in (operator.folder / ".health-restarts").read_text().splitlines()]
    assert sorted(name.rpartition("-")[0].removeprefix(f"{project.name}-") for name in remembered) == [
        "engine-fee",
        "engine-spread",
    ]


def test_what_runs_is_seen_at_a_glance(project: Project, hub: ComposeHub, operator: Operator) -> None:
    """Services, the hub's word, figures that a trading hub has, and as many lines of the log as asked for."""
    hub.until_ready()
    token = operator.folder / "token"
    token.write_text(hub.token)
    words = ("--token-file", token, "--url", project.url("hub", 7408), "--interval", "1", "--times", "2", "--logs", "3")
    code, said = operator.run("monitor", *words)
    assert code == 0, said
    looks = [look.splitlines() for look in said.split("== ")[1:]]
    assert len(looks) == 2
    for look in looks:
        services = look[look.index("-- services") : look.index("-- figures")]
        assert {line.split()[0] for line in services if "(healthy)" in line} == set(project.services) - {"secrets"}
        assert any(line.startswith("hub ready: {") for line in services)
        figures = look[look.index("-- figures") :]
        assert "trading    active, executor up" in figures
        assert any(
            re.fullmatch(r"decided    [1-9]\d* ticks, [1-9]\d* approved, .* [1-9]\d* fills", line) for line in figures
        )
        assert len(figures) - figures.index("-- the last 3 lines of the log") == 1 + 3


def test_a_backup_is_put_back(project: Project, hub: ComposeHub, operator: Operator) -> None:
    """The ledger and the operator's word as they were, halted, whatever was said and traded since; then it goes on."""
    operator.says("halt")
    project.until(lambda: hub.rows(TRADING) == HALTED, "the ledger halted")
    project.until(lambda: hub.rows(OPEN) == 0, "what was under way filled")
    fills, epoch, word = hub.rows(FILLS), hub.rows(EPOCH), operator.word()
    code, said = operator.run("backup", "--compose", "kept")
    assert code == 0, said
    there = {str(file.relative_to(operator.folder / "kept")) for file in (operator.folder / "kept").rglob("*.*")}
    assert {"ledger.pgdump", "state/trading.json", "configs/arbhub.toml", "manifest.json"} <= there
    operator.says("resume")
    hub.until_more_fills()
    assert operator.word() != word
    code, said = operator.run("restore", "--compose", "kept")
    assert code == 2
    assert "--force stops them" in said
    assert hub.rows(TRADING) == ACTIVE
    code, said = operator.run("restore", "--compose", "--config", ROOT / "configs/compose.toml", "--force", "kept")
    assert code == 0, said
    project.until(lambda: hub.unready() is not None, "the hub's answer")
    assert (hub.rows(FILLS), hub.rows(TRADING), operator.word()) == (fills, HALTED, word)
    project.until(lambda: hub.rows(EPOCH) > epoch + 1, "an epoch of the hub's own")
    project.until(lambda: not project.unwell(), "everybody healthy again", lambda: str(project.unwell()))
    assert hub.rows(FILLS) == fills
    operator.says("resume")
    hub.until_ready()
    hub.until_more_fills()
