"""Every shell script of deploy/: what shellcheck says of it, and that it explains itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))  # what people call; those in folders are parts of them, or for containers


@pytest.mark.parametrize("script", sorted(DEPLOY.rglob("*.sh")), ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    """Not even a matter of style."""
    if shutil.which("shellcheck") is None:
        assert "CI" not in os.environ, "CI must have shellcheck"
        pytest.skip("shellcheck is not installed")
    found = subprocess.run(
        ["shellcheck", "--norc", "--external-sources", str(script)], check=False, capture_output=True, text=True
    )
    assert found.stdout == ""
    assert found.returncode == 0


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_explains_itself(script: Path) -> None:
    """With --help it says how to use it and does nothing; it stops at the first failure, and evaluates no text."""
    asked = subprocess.run(
        [str(script), "--help"], check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert asked.stdout.startswith(f"usage: deploy/{script.name} ")
    assert asked.stderr == ""
    text = script.read_text()
    assert "\nset -euo pipefail\n" in text
    assert "eval " not in text
