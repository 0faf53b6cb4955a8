"""Prometheus' own checker, which Debian's package prometheus brings."""

import os
import shutil
import subprocess

import pytest

PATIENCE_S = 60.0


def promtool(*words: str, given: str = "") -> tuple[int, str]:
    """Its exit code and all it said; without it the test is skipped, but never in CI."""
    if not shutil.which("promtool"):
        assert "CI" not in os.environ, "CI must have Prometheus' promtool"
        pytest.skip("promtool is not installed")
    ran = subprocess.run(
        ["promtool", *words],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return ran.returncode, ran.stdout
