"""Every service as a process with certificates: they trade, nobody else is answered, and no secret is written down.

One run has a recognisable secret wherever a configuration may hold one; whatever any process says is searched for them.
"""

import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
import pytest_asyncio
import tomli_w
from grpc_health.v1 import health_pb2, health_pb2_grpc
from postgres_server import postgres_server
from redis_server import RedisServer, redis_server
from running_arbhub import PATIENCE_S, RunningArbhub

from arbhub.processes import Household, Service
from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import channel
from arbhub.settings.tls import TlsSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEDGER = "ledger-pass/word@1"
VENUE = "venue-password-2"
API_KEY = "exchange-key-3"
TOKEN = "admin-token-4-0123456789abcdefghij"  # noqa: S105  # of this test
WRONG = "wrong-password-5"
REDIS = "redis-password-6"
SECRETS = (LEDGER, quote(LEDGER, safe=""), VENUE, API_KEY, TOKEN, WRONG, REDIS, "PRIVATE KEY")


def arbhub(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = (sys.executable, "-m", "arbhub", *map(str, words))
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def section(folder: Path) -> dict[str, str]:
    """What `arbhub certs` says to configure."""
    names = {"ca": "ca.pem", "certificate": "{service}.pem", "key": "{service}.key"}
    return {key: str(folder / name) for key, name in names.items()}


@pytest.fixture(scope="module")
def ledger() -> Iterator[str]:
    """A database that takes LEDGER only."""
    with postgres_server(LEDGER) as url:
        yield url.replace(LEDGER, quote(LEDGER, safe=""))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """A second level that takes REDIS only."""
    async with redis_server(tmp_path_factory.mktemp("redis"), REDIS) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(
    tmp_path_factory: pytest.TempPathFactory, ledger: str, redis: RedisServer
) -> AsyncIterator[RunningArbhub]:
    """Everything running with certificates and secrets."""
    folder = tmp_path_factory.mktemp("arbhub")
    made = arbhub("certs", folder / "certs")
    assert made.returncode == 0, made.stderr
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)

    def change(content: dict[str, Any]) -> None:
        content["tls"] = section(folder / "certs")
        content["hub"] |= {"token_file": str(folder / "token"), "audit_file": str(folder / "audit.jsonl")}
        content["executor"]["ledger_url"] = ledger
        content["redis"] = {"url": redis.url}
        for venue in content["feed"]["venues"].values():
            venue["rest_url"] = venue["rest_url"].replace("://", f"://me:{VENUE}@")
            venue["options"]["apiKey"] = API_KEY

    running = RunningArbhub(folder, change=change)
    try:
        await running.start()
        yield running
    finally:
        await running.household.end()


async def test_closed_services_trade(closed: RunningArbhub) -> None:
    """Ticks are decided by all engines over mutual TLS, and approved ones are filled."""
    status = await closed.until(lambda s: s.approved > 0 and s.fills > 0 and s.reference_store.up, "fills")
    assert all(engine.up for engine in status.engines)
    assert closed.credentials.mutual


async def test_nobody_else_is_answered(closed: RunningArbhub, tmp_path: Path) -> None:
    """No service answers who has no certificate, or one of another authority; all answer who has one of theirs."""
    assert arbhub("certs", tmp_path / "certs").returncode == 0
    stranger = credentials_of(TlsSettings.model_validate(section(tmp_path / "certs")), CLIENT)
    services = [service for service in closed.services.values() if service.health]
    assert len(services) == 7
    for service in services:
        assert await _refusal(service.address, closed.credentials) is None
        for other in (INSECURE, stranger):
            assert await _refusal(service.address, other) is grpc.StatusCode.UNAVAILABLE
    began = await closed.until(lambda _: True, "any state")
    await closed.until(lambda s: s.approved > began.approved, "approvals")


async def _refusal(address: str, credentials: Credentials) -> grpc.StatusCode | None:
    """How a service refuses to say how it is; None where it does not."""
    async with channel(address, credentials) as wire:
        try:
            await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest(), timeout=10)
        except grpc.aio.AioRpcError as error:  # kept, it would keep the channel, which would go on trying
            return error.code()
    return None


async def test_a_service_that_is_left_open_is_not_believed(closed: RunningArbhub) -> None:
    """An engine without certificates is as good as down: nothing is approved until the closed one is back."""
    name, reason = "engine fee", "ENGINE_TIMEOUT:fee"
    await closed.kill(name)
    config = closed.folder / "open.toml"
    config.write_text(tomli_w.dumps({"engines": tomllib.loads(closed.config.read_text())["engines"]}))
    address = closed.services[name].address
    careless = Household(closed.folder, INSECURE)
    try:
        await careless.start([Service("careless engine", ("engine", "fee", "--config", str(config)), address)])
        await careless.ready(PATIENCE_S)
        before = await closed.until(lambda s: s.rejected.get(reason, 0) > 0, reason)
        after = await closed.until(lambda s: s.rejected.get(reason, 0) > before.rejected[reason] + 20, "more of it")
        assert after.approved == before.approved
    finally:
        await careless.end()
    await closed.start(name)
    await closed.until(lambda s: s.approved > after.approved, "approvals")


async def test_files_that_do_not_fit_end_a_service_with_one_sentence(closed: RunningArbhub) -> None:
    """Which key, which file, and why; and no traceback."""
    other = closed.folder / "certs" / "feed.key"
    done = arbhub("engine", "fee", "--config", closed.config, "--set", f"tls.key={other}")
    certificate = closed.folder / "certs" / "engine.pem"
    assert (done.returncode, done.stderr) == (
        1,
        f"arbhub: tls.key: {other} is not the key of tls.certificate, {certificate}\n",
    )


async def test_no_secret_is_written_down(closed: RunningArbhub, ledger: str, redis: RedisServer) -> None:
    """Not even when all goes wrong: wrong passwords, no ledger, Redis or venues, settings that are none."""
    said = []
    wrong = ledger.replace(quote(LEDGER, safe=""), WRONG)
    gone = wrong.replace("127.0.0.1:", "127.0.0.1:1/")
    for url in (wrong, gone, f"mysql://me:{WRONG}@db/x", f"postgresql://me:{WRONG}@@db/x", f"postgresql:me:{WRONG}"):
        done = arbhub("executor", "--config", closed.config, "--set", f"executor.ledger_url={url}")
        assert done.returncode in (1, 2)
        assert "ledger_url" in done.stderr or "ledger postgresql" in done.stderr
        said.append(done)
    changed = closed.folder / "changed.toml"
    changed.write_text(closed.config.read_text().replace(ledger, wrong))
    said.append(arbhub("admin", "reload", changed, "--config", closed.config))
    assert "executor.ledger_url" in said[-1].stderr
    said.append(arbhub("admin", "reload", "--set", f"redis.url=redis://:{WRONG}@x:y", "--config", closed.config))
    said.extend(arbhub("admin", act, "--json", "--config", closed.config) for act in ("status", "history"))
    said.extend(arbhub(look, "--ledger", url) for look in ("trades", "pnl") for url in (wrong, gone))
    said.extend(arbhub(look, "--config", closed.config) for look in ("trades", "pnl"))
    said.append(arbhub("config", "check", closed.config))
    said.append(arbhub("config", "check", closed.config, "--set", "executor.latency=1"))
    said.append(arbhub("hub", "--config", closed.config, "--set", f"hub.listen={wrong}"))
    said.append(arbhub("config", "check", closed.config, "--set", f"redis.url=redis://:{WRONG}@127.0.0.1:x"))
    await redis.kill()
    await closed.until(lambda s: not s.reference_store.up, "Redis gone")
    redis.password = WRONG  # from the hub's side, its own is wrong now
    await redis.start()
    state = await closed.until(lambda s: "invalid username-password" in s.reference_store.detail, "a wrong password")
    await closed.kill("sandbox")
    await closed.kill("feed")
    await closed.start("feed")  # its client complains of the addresses that it cannot reach
    complaints = closed.folder / "feed.log"
    await closed.until(lambda _: "markets not loaded" in complaints.read_text(), "the feed's complaint")
    await closed.start("sandbox")
    await closed.until(lambda s: any(b.usable for b in s.books), "books again")
    await closed.household.end()
    logs = {file.name: file.read_text(errors="replace") for file in closed.folder.glob("*.log")}
    assert set(logs) >= {f"{name}.log" for name in closed.services}
    assert "://me:***@127.0.0.1" in logs["feed.log"]
    logs["audit"] = (closed.folder / "audit.jsonl").read_text()
    remembered = [file for file in (closed.folder / "state").rglob("*") if file.is_file()]
    assert remembered
    logs |= {f"state/{file.name}": file.read_text() for file in remembered}
    assert "not connected" in logs["hub.log"]
    assert "connection failed" in "".join(done.stderr for done in said)
    written = [str(state), *logs.values(), *(done.stdout + done.stderr for done in said)]
    for secret in SECRETS:
        assert not [text for text in written if secret in text]
