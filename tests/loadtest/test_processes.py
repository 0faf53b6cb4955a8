"""Which processes a load run names, and what it finds out about them."""

import subprocess
import sys

import pytest

from loadtest.processes import Usage, name_of


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python -m arbhub hub --config FILE", "hub"),
        ("/somewhere/bin/python /somewhere/bin/arbhub engine fee --config FILE", "engine fee"),
        ("arbhub engine fee risk --config FILE", "engine fee risk"),
        ("python -m loadtest.baselines serial --listen HOST:1", "baseline serial"),
        ("python -m arbhub replay FILE", None),
        ("python -m loadtest run --rate 1", None),
        ("python -m arbhub", None),
        ("", None),
    ],
)
def test_services_are_known_by_their_command_lines(command: str, name: str | None) -> None:
    """Services and baselines have names; whatever else runs has none."""
    assert name_of(command.split()) == name


def test_use_is_counted_between_beginning_and_end() -> None:
    """What the process did before the beginning is not in it, what it did afterwards is; its peak is its peak."""
    usage = Usage({})
    assert usage.cpu_s() == {}
    usage.begin()
    sum(range(6_000_000))
    usage.end()
    assert 0 < usage.cpu_s()["driver"] < 60
    assert usage.peak_rss_mb()["driver"] >= usage.rss_mb()["driver"] > 10


def test_a_process_that_ended_is_left_out() -> None:
    """A service that dies during a run does not take the report with it."""
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as child:
        usage = Usage({"gone": child.pid})
        assert "gone" in usage.rss_mb()
    usage.end()
    assert "driver" in usage.cpu_s()
    assert "gone" not in usage.cpu_s() | usage.rss_mb() | usage.peak_rss_mb()
