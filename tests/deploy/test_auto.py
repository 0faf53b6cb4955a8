"""deploy/auto.sh on a git remote of its own, with a deploy.sh that notes what it is asked for."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
RECORDING_DEPLOY = """#!/bin/sh
echo "$@" >>"$RECORD"
echo "$DEPLOY_STATE"
[ ! -e "$RECORD.refuse" ] || { echo "deploy.sh: hub could not be replaced"; exit 1; }
"""
TEST = "test -f good && pwd"


class Remote:
    """A repository in a folder, a clone of it where auto.sh is, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.origin, self.clone = folder, folder / "origin", folder / "clone"
        self._git(folder, "init", "-q", "-b", "main", str(self.origin))
        (self.origin / "deploy").mkdir()
        shutil.copy(DEPLOY / "auto.sh", self.origin / "deploy")
        (self.origin / ".gitignore").write_text(".auto/\n.deployed/\n")
        self.commit("the first one", good=True)
        self._git(folder, "clone", "-q", str(self.origin), str(self.clone))
        (folder / "deploy.sh").write_text(RECORDING_DEPLOY)
        (folder / "deploy.sh").chmod(0o755)

    def commit(self, subject: str, *, good: bool) -> str:
        """A new commit on main, whose test passes or not."""
        (self.origin / "good").write_text(subject) if good else (self.origin / "good").unlink()
        self._git(self.origin, "add", ".")
        self._git(self.origin, "commit", "-q", "-m", subject)
        return self._git(self.origin, "rev-parse", "HEAD").strip()

    def refuse(self) -> None:
        """Have deployments fail from now on."""
        (self.folder / "record.refuse").touch()

    def auto(self, *words: str) -> tuple[int, list[str]]:
        """Look once: the exit code, and the lines without their times."""
        ran = subprocess.run(
            ["bash", str(self.clone / "deploy/auto.sh"), "--env", "compose", "--once", "--test", TEST, *words],
            env=os.environ | {"DEPLOY": str(self.folder / "deploy.sh"), "RECORD": str(self.folder / "record")},
            check=False, capture_output=True, text=True,
        )  # fmt: skip  # the words of one command stay together
        assert ran.stderr == "" or ran.returncode, ran.stderr
        return ran.returncode, [line.partition("  ")[2] or line for line in (ran.stdout + ran.stderr).splitlines()]

    def deployed(self) -> list[str]:
        """The versions that deploy.sh was asked for."""
        file = self.folder / "record"
        return file.read_text().splitlines() if file.exists() else []

    def trees(self) -> set[str]:
        """Whose worktrees there are."""
        return {folder.name for folder in (self.clone / ".auto/trees").iterdir()}

    @staticmethod
    def _git(folder: Path, *words: str) -> str:
        command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """One with a first commit, whose tests pass."""
    return Remote(tmp_path)


def rolling(commit: str) -> str:
    """What deploy.sh is to be asked for."""
    return f"--env compose --mode rolling --version {commit}"


def test_a_new_commit_is_tested_and_deployed_once(remote: Remote) -> None:
    """In a worktree of its own; the next look finds nothing new."""
    commit = remote.commit("a better one", good=True)
    assert remote.auto() == (
        0,
        [
            f"{commit[:12]} is new on main: a better one",
            f"{commit[:12]} passes its tests: deploying",
            f"{commit[:12]} is deployed to compose",
        ],
    )
    assert remote.deployed() == [rolling(commit)]
    log = (remote.clone / f".auto/{commit}.log").read_text().splitlines()
    assert log == [str(remote.clone / ".auto/trees" / commit), str(remote.clone / ".deployed")]
    assert remote.auto() == (0, [])
    assert remote.deployed() == [rolling(commit)]


def test_a_commit_whose_tests_fail_is_not_deployed(remote: Remote) -> None:
    """Nor tried again; the next commit is."""
    bad = remote.commit("a bad one", good=False)
    code, said = remote.auto()
    assert code == 1
    assert said[-1] == f"{bad[:12]} fails its tests and is not deployed: {remote.clone}/.auto/{bad}.log"
    assert remote.auto() == (0, [])
    assert remote.deployed() == []
    better = remote.commit("mended", good=True)
    assert remote.auto()[0] == 0
    assert remote.deployed() == [rolling(better)]
    assert remote.trees() == {better}


def test_a_commit_that_could_not_be_deployed_is_not_tried_again(remote: Remote) -> None:
    """The reason is deploy.sh's last line."""
    remote.refuse()
    commit = remote.commit("one that does not start", good=True)
    code, said = remote.auto()
    assert (code, said[-1]) == (1, f"{commit[:12]} could not be deployed: deploy.sh: hub could not be replaced")
    assert remote.auto() == (0, [])
    assert remote.deployed() == [rolling(commit)]


def test_the_folders_of_what_serves_stay(remote: Remote) -> None:
    """Of the last two that were deployed, one of which may be rolled back to, and of no others."""
    commits = []
    for number in range(3):
        commits.append(remote.commit(f"number {number}", good=True))
        assert remote.auto()[0] == 0
    assert remote.trees() == set(commits[1:])
    remote.commit("a bad one", good=False)
    assert remote.auto()[0] == 1
    assert remote.trees() == set(commits[1:])


def test_what_cannot_be_looked_at_is_said(remote: Remote) -> None:
    """Wrong words, no remote, a branch that is not there, and somebody else who looks already."""
    assert remote.auto("--env", "moon") == (
        2, ["auto.sh: --env should be compose, testing, staging or production, not moon"]
    )  # fmt: skip  # a pair
    assert remote.auto("--interval", "x")[1] == ["auto.sh: --interval should be a whole number of seconds, not x"]
    assert remote.auto("--remote", "moon")[0] == 2
    code, said = remote.auto("--branch", "moon")
    assert code == 1
    assert "origin has no moon for us now: looking again later" in said
    with (remote.clone / ".auto/compose.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remote.auto() == (2, ["auto.sh: another one looks after compose already"])
