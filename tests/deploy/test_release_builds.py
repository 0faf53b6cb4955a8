"""deploy/deploy.sh where a version is a commit or a tag: what goes into its image."""

import subprocess
from pathlib import Path

from told_engine import DEPLOY, ToldEngine


def test_a_commit_is_built_from_what_is_committed(tmp_path: Path) -> None:
    """Never from files that are not; a branch moves, so its commit is the version; a tag is one itself."""
    engine, clone = ToldEngine(tmp_path, turns={}), tmp_path / "clone"
    git = ("git", "-C", str(clone), "-c", "user.name=t", "-c", "user.email=t@example.com")
    (clone / "deploy").mkdir(parents=True)
    for file in (*DEPLOY.glob("*.sh"), *DEPLOY.glob("*.yaml")):
        (clone / "deploy" / file.name).write_bytes(file.read_bytes())
        (clone / "deploy" / file.name).chmod(file.stat().st_mode)
    (clone / "configs").mkdir()
    (clone / "configs/.env.compose").write_text("DEPLOY_CONFIG=configs/compose.toml\n")
    for words in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "one"), ("tag", "v1")):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (clone / "dirty").write_text("not committed")
    hotfix = ("--env", "compose", "--mode", "hotfix", "--only", "engine-fee", "--settle", "0", "--timeout", "0")
    assert engine.run(clone / "deploy/deploy.sh", *hotfix, "--version", "main")[0] == 0
    assert engine.run(clone / "deploy/deploy.sh", *hotfix, "--version", "v1")[0] == 0
    built = [line for line in engine.done() if line.startswith("build")]
    assert built == [f"build arbhub:{commit[:12]} configs deploy", "build arbhub:v1 configs deploy"]
    assert engine.history() == [["found", "a"], ["hotfix", commit[:12]], ["hotfix", "v1"]]
