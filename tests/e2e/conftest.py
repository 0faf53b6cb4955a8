"""The fixture of the end-to-end tests."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from e2e.running import RunningArbhub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def arbhub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningArbhub]:
    """Everything running, ended afterwards."""
    running = RunningArbhub(tmp_path_factory.mktemp("arbhub"))
    try:
        await running.start()
        yield running
    finally:
        await running.household.end()
