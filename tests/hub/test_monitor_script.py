"""deploy/monitor.sh against a hub that runs: its figures are the hub's own."""

import asyncio
import os
import re
from pathlib import Path

from http_probes import HttpClient, http_hub, trading_hub
from prometheus_client.parser import text_string_to_metric_families

SCRIPT = Path(__file__).parents[2] / "deploy/monitor.sh"


async def monitored(*words: str) -> tuple[int, str]:
    """Look once: the exit code, and all that was printed. Without Docker, whatever this machine has."""
    ran = await asyncio.create_subprocess_exec(
        "bash", str(SCRIPT), "--times", "1", *words,
        env={**os.environ, "DOCKER_HOST": "unix:///nobody/is/there"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip  # the words of one command stay together
    said, _ = await ran.communicate()
    assert ran.returncode is not None
    return ran.returncode, said.decode()


async def samples(hub: HttpClient) -> dict[str, float]:
    """The hub's figures by name, those of all labels together."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families((await hub.get("/metrics")).content):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


async def test_its_figures_are_the_hubs() -> None:
    """State, ticks, approvals, fills and engines, as /metrics has them."""
    async with trading_hub() as hub:
        found = await samples(hub)
        code, said = await monitored("--url", hub.url, "--logs", "0")
        assert code == 0
        assert 'hub ready: {"' in said
        assert "trading    active, executor up" in said
        decided = re.search(r"decided    (\d+) ticks, (\d+) approved, (\d+) denied", said)
        assert decided, said
        after = await samples(hub)
        assert found["arbhub_ticks_total"] <= int(decided[1]) <= after["arbhub_ticks_total"]
        assert int(decided[2]) > 0
        assert re.search(r"rounds     at most [\d.]+ ms for half of them, [\d.]+ ms for 99.99%", said), said
        assert "engines    spread fee liquidity risk, 0 timeouts, breakers open: none" in said
        named = set(re.findall(r'name == "(arbhub_\w+)"', SCRIPT.read_text()))
        quiet = {"arbhub_denied_decisions_total", "arbhub_realised_pnl"}  # nothing was denied or earned yet
        assert len(named) > 8
        assert named - quiet <= set(after)


async def test_a_log_is_shown(tmp_path: Path) -> None:
    """Its last lines, so many as are asked for."""
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthree\n")
    async with http_hub() as hub:
        code, said = await monitored("--url", hub.url, "--logs", "2", "--log-file", str(log))
        assert code == 0, said
        assert said.endswith("-- the last 2 lines of the log\ntwo\nthree\n")


async def test_a_token_is_sent_and_its_refusal_is_no_figure(tmp_path: Path) -> None:
    """Whoever is asked gets the file's token; what comes back instead of figures is not taken for them."""
    token, heads = tmp_path / "token", list[str]()
    token.write_text("0123456789abcdef\n")

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\nConnection: close\r\n\r\nno good")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        code, said = await monitored("--url", url, "--token-file", str(token))
    assert (code, "the hub gave no figures" in said) == (1, True)
    assert heads
    assert all("\r\nAuthorization: Bearer 0123456789abcdef\r\n" in head for head in heads)


async def test_no_hub_and_wrong_words_are_said() -> None:
    """Nobody there is told apart from a wrong command."""
    code, said = await monitored("--url", "http://127.0.0.1:1")
    assert (code, "Failed to connect" in said or "Couldn't connect" in said) == (1, True)
    assert await monitored("--interval", "soon") == (2, "monitor.sh: --interval should be a whole number, not soon\n")
    assert await monitored("--token-file", "/nobody") == (2, "monitor.sh: /nobody: cannot be read\n")
    assert (await monitored("--what"))[0] == 2
