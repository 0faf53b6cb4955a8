"""Every route, tried by its own description: what the document allows is answered as it says, all else is refused."""

import asyncio
import sys
from pathlib import Path

from http_probes import RecordedTrades, RecordingAdmin, http_hub
from hub_probes import ScriptedExecutor, client_of, market, status_of

from hub.http.app import Backing

TRIED = Path(__file__).with_name("schemathesis.toml")


async def test_every_route_keeps_to_its_description(tmp_path: Path) -> None:
    """Schemathesis finds no answer that the document does not know, and no wrong input that is taken."""
    async with (
        ScriptedExecutor().served() as executor,
        http_hub(Backing(RecordedTrades(3), RecordingAdmin()), executor, deadline_ms=50.0) as hub,
        client_of(hub.grpc, market(("EX1", "EX2"), ("BTC/USDT",))),
    ):
        await status_of(hub.grpc, lambda s: s.executor_up, "the executor")
        words = ("--config-file", str(TRIED), "run", f"{hub.url}/openapi.json", "--no-color")
        tried = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,  # it remembers things
        )
        said, _ = await tried.communicate()
        assert tried.returncode == 0, said.decode()
        assert b"Tested: 7" in said, said.decode()
        assert (await hub.get("/health")).status == 200
