"""One running project for all that is tested on it, and an engine to run it on."""

import os
from collections.abc import Iterator

import pytest
from compose_hub import ComposeHub
from compose_project import Project, no_engine, told


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    """An engine to test on."""
    if reason := no_engine():
        if os.environ.get("REQUIRE_COMPOSE") == "1":
            pytest.fail(f"{reason}, and REQUIRE_COMPOSE=1 wants one")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def project() -> Iterator[Project]:
    """Everything that can be had here, running and healthy."""
    made = Project(f"arbhub-test-{os.getpid()}", profiles=("loadtest",))
    told(f"left out, as their images are not here: {', '.join(made.left_out) or 'nothing'}")
    try:
        told(f"everything healthy after {made.up():.0f} s")
        yield made
    finally:
        made.down()


@pytest.fixture(scope="session")
def hub(project: Project) -> ComposeHub:
    """The hub's page, with its token."""
    return ComposeHub(project)
