"""A hub whose admin and HTTP ports ask for a token: who has it is let in, and whoever comes is written down."""

import asyncio
import json
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import tomli_w

from arbhub.processes import Household, Service, free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = {"token_file": "token", "audit_file": "audit", "state_dir": "state"}
TOKEN = "0123456789abcdef" * 4


def configured(folder: Path, **hub: Any) -> Path:
    """A configuration of a hub alone, on free ports, with a token."""
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    listen, admin, http, executor = (f"127.0.0.1:{port}" for port in free_ports(4))
    files = {key: str(folder / name) for key, name in FILES.items()}
    ports = {"listen": listen, "admin_listen": admin, "http_listen": http}
    file = folder / "hub.toml"
    file.write_text(tomli_w.dumps({"hub": {**ports, **files, **hub}, "executor": {"listen": executor}}))
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def config(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The configuration of a hub that runs."""
    folder = tmp_path_factory.mktemp("closed")
    file, household = configured(folder), Household(folder)
    try:
        await household.start([Service("hub", ("hub", "--config", str(file)), settings_of(file)["listen"])])
        await household.ready(45)
        yield file
    finally:
        await household.end()


def settings_of(config: Path) -> dict[str, str]:
    """Its [hub]."""

    section: dict[str, str] = tomllib.loads(config.read_text())["hub"]
    return section


async def arbhub(*words: str) -> tuple[int, str]:
    """How a command ended, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arbhub", *words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode()


def written(config: Path) -> list[dict[str, Any]]:
    """The audit trail."""
    return [json.loads(line) for line in Path(settings_of(config)["audit_file"]).read_text().splitlines()]


async def test_an_operator_needs_the_token(config: Path) -> None:
    """A halt without it changes nothing; with the hub's configuration it is done. Both are in the trail, with who."""
    code, said = await arbhub("admin", "halt", "--address", settings_of(config)["admin_listen"])
    assert (code, "a bearer token is needed" in said) == (1, True), said
    code, said = await arbhub("admin", "halt", "--config", str(config), "--json")
    assert (code, json.loads(said)["state"]) == (0, "TRADING_STATE_HALTED"), said
    refused, done = written(config)[-2:]
    assert ("token" in refused["outcome"], refused["who"]) == (True, "from 127.0.0.1")
    assert (done["what"], done["outcome"], done["version"][:2]) == ("trading state", "done", "1-")
    assert done["who"].endswith("from 127.0.0.1")


async def test_http_needs_the_token_too(config: Path) -> None:
    """For all that changes or shows the ledger; liveness is for everybody."""
    base = f"http://{settings_of(config)['http_listen']}"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/health") as answer:
            assert answer.status == 200
        async with session.post(f"{base}/admin/reload-config", json={}) as answer:
            assert answer.status == 401
        async with session.post(f"{base}/admin/reload-config", json={"dry_run": True}, headers=bearer) as answer:
            assert (answer.status, (await answer.json())["committed"]) == (200, False)
    assert written(config)[-1]["what"] == "reload"
    assert TOKEN not in str(written(config))


@pytest.mark.parametrize("key", ["admin_listen", "http_listen"])
async def test_no_port_is_open_to_others_without_it(tmp_path: Path, key: str) -> None:
    """A hub that would listen to other machines without asking for anything does not start."""
    file = configured(tmp_path, **{key: f"0.0.0.0:{free_ports(1)[0]}"})
    lines = [line for line in file.read_text().splitlines() if not line.startswith("token_file")]
    file.write_text("\n".join(lines))
    code, said = await arbhub("hub", "--config", str(file))
    assert (code, f"hub.{key}: 0.0.0.0" in said, "bearer token" in said) == (1, True, True), said
