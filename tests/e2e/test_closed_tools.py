"""The commands that call closed services: they are let in with the certificates that `arbhub certs` makes."""

import asyncio
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
import tomli_w
from webhook import Webhook, silent_port

from arbhub.processes import Household, Service, free_ports
from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.settings.load import load

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_PORTS = {"admin_listen": "", "http_listen": "", "state_dir": ""}  # several hubs run at once here
CAPTURE = b'{"ts_ns":%d,"venue":"EX%d","symbol":"BTC/BRL","bids":[[1.0,1.0]],"asks":[[2.0,1.0]]}\n'


async def python(*words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a module to its end."""
    command, env = (sys.executable, "-m", *map(str, words)), {**os.environ, **environ}
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=100, check=False, env=env
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def config(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A hub and an engine process at a unix socket, both closed; their configuration."""
    folder = tmp_path_factory.mktemp("closed")
    certs = await python("arbhub", "certs", folder / "certs")
    hub, engines = f"127.0.0.1:{free_ports(1)[0]}", f"unix:{folder}/engines.sock"
    content = {
        **tomllib.loads(certs.stdout),
        "hub": {"listen": hub, "deadline_ms": 500.0, **NO_PORTS},
        "engines": {name: {"place": engines} for name in ("spread", "fee", "liquidity", "risk")},
        "executor": {"listen": "127.0.0.1:1"},
    }
    file = folder / "arbhub.toml"
    file.write_text(tomli_w.dumps(content))
    words = ("--config", str(file))
    household = Household(folder, credentials_of(load(file).tls, CLIENT))
    try:
        hosted = Service("engines", ("engine", "spread", "fee", "liquidity", "risk", *words), engines)
        await household.start([hosted, Service("hub", ("hub", *words), hub)])
        await household.ready(45)
        yield file
    finally:
        await household.end()


async def test_certificates_are_made_once(tmp_path: Path) -> None:
    """What to configure is alone on standard output; a second time it is refused, unless replacing is asked for."""
    made = await python("arbhub", "certs", tmp_path / "certs", "--host", "hub.example", "--days", "2")
    assert made.returncode == 0
    file = tmp_path / "arbhub.toml"
    file.write_text(made.stdout)
    assert credentials_of(load(file).tls, "hub").mutual
    assert stat.S_IMODE((tmp_path / "certs" / "hub.key").stat().st_mode) == 0o600
    again = await python("arbhub", "certs", tmp_path / "certs")
    assert (again.returncode, again.stdout) == (1, "")
    assert "already: --force replaces" in again.stderr
    assert (await python("arbhub", "certs", tmp_path / "certs", "--force")).returncode == 0


@pytest.mark.parametrize("mode", ["stream", "unary"])
async def test_a_load_run(config: Path, tmp_path: Path, mode: str) -> None:
    """With the configuration's certificates every tick is answered."""
    report = tmp_path / "report.json"
    run = ("loadtest", "run", "--target", load(config).hub.listen, "--rate", "50", "--seconds", "1", "--mode", mode)
    done = await python(*run, "--warm-up", "0", "--no-stalls", "--report", report, "--config", config)
    assert done.returncode == 0, done.stderr
    counted = orjson.loads(report.read_bytes())
    assert counted["decided"] == counted["sent"] > 0


async def test_locust(config: Path) -> None:
    """Its users take their certificates from the environment."""
    settings = load(config)
    tls = {f"ARBHUB_TLS__{key.upper()}": str(path) for key, path in settings.tls.model_dump().items()}
    file = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
    words = ("locust", "-f", file, "--headless", "-u", "2", "-r", "2", "-t", "2s", "--host", settings.hub.listen)
    done = await python(*words, "--json", **tls)
    assert done.returncode == 0, done.stderr
    rows = orjson.loads(done.stdout)
    assert sum(row["num_requests"] for row in rows) > 0
    assert sum(row["num_failures"] for row in rows) == 0


async def test_a_replay_asks_closed_engines(config: Path, tmp_path: Path) -> None:
    """Engine processes judge a recording over mutual TLS."""
    capture, report = tmp_path / "capture.jsonl", tmp_path / "report.json"
    capture.write_bytes(b"".join(CAPTURE % (n, n % 2) for n in range(1, 9)))
    done = await python("arbhub", "replay", capture, "--config", config, "--report", report)
    assert done.returncode == 0, done.stderr
    assert orjson.loads(report.read_bytes())["ticks"] == 8


async def test_top_watches_a_closed_hub(config: Path) -> None:
    """With the configuration's certificates it is shown, without them it is as if it were not there."""
    shown = await python("arbhub", "top", "--config", config, "--once", "--interval", "0.2")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "executor: down, nothing is approved" in shown.stdout
    refused = await python("arbhub", "top", "--address", load(config).hub.listen, "--once")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no answer from a hub at" in refused.stderr


async def test_notify_watches_a_closed_hub(config: Path, tmp_path: Path) -> None:
    """It tells that the executor is missing, answers health checks to its like, and SIGTERM ends it with 0.

    Though a channel is still waiting for an answer that does not come.
    """
    listen, urls = f"127.0.0.1:{free_ports(1)[0]}", tmp_path / "urls"
    words = ("notify", "--config", str(config), "--set", f"notify.urls_file={urls}", "--set", f"notify.listen={listen}")
    household = Household(tmp_path, credentials_of(load(config).tls, CLIENT))
    with silent_port() as silent:
        async with Webhook().served() as webhook:
            urls.touch(0o600)
            urls.write_text(f"json://127.0.0.1:{silent}/?rto=300\n{webhook.url}\n")
            try:
                await household.start([Service("notify", (*words, "--set", "notify.settle_s=0.0"), listen)])
                await household.ready(45)
                await webhook.until(lambda one: "the executor is lost" in one.message, "the executor's absence")
            finally:
                await household.end()
    assert household.children[0].process.returncode == 0
    assert (
        '"channel":"line 1 (json)","event":"messages left unsent at the end"' in (tmp_path / "notify.log").read_text()
    )


async def test_up_waits_for_closed_services(config: Path, tmp_path: Path) -> None:
    """`arbhub up` sees that everything is up by health checks that its services answer."""
    content = load(config).model_dump(mode="json", include={"tls"})
    feed, hub, executor = (f"127.0.0.1:{port}" for port in free_ports(3))
    capture = tmp_path / "capture.jsonl"
    capture.write_bytes(CAPTURE % (1, 1))
    content |= {"hub": {"listen": hub, **NO_PORTS}, "executor": {"listen": executor, "ledger_url": "sqlite://"}}
    content["feed"] = {"listen": feed, "source": "replay", "captures": [str(capture)]}
    file = tmp_path / "arbhub.toml"
    file.write_text(tomli_w.dumps(content))
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arbhub", "up", "--config", str(file)), stderr=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    try:
        assert up.stderr
        async with asyncio.timeout(60):
            said = [line async for line in _until_up(up.stderr)]
        assert b"everything is up" in said[-1]
    finally:
        up.terminate()
        await up.communicate()
    assert up.returncode == 0


async def _until_up(lines: asyncio.StreamReader) -> AsyncIterator[bytes]:
    async for line in lines:
        yield line
        if b"everything is up" in line:
            return
