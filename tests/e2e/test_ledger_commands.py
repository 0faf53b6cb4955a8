"""`arbhub trades` and `arbhub pnl` on a real ledger: what they show, as tables and as JSON, and where there is none."""

import asyncio
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from running_arbhub import RunningArbhub


def arbhub(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = (sys.executable, "-m", "arbhub", *map(str, words))
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def shown(*words: str | Path) -> Any:
    """What a command prints as JSON."""
    done = await asyncio.to_thread(arbhub, *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


async def test_a_running_ledger_is_shown(tmp_path: Path) -> None:
    """While everything trades: the same trades over HTTP and on the terminal, and sums that are the ledger's own."""
    running = RunningArbhub(tmp_path)
    try:
        await running.start()
        await running.until(lambda s: s.fills >= 10, "ten fills")
        config = ("--config", running.folder / "demo.toml")
        found = await shown("trades", *config, "--limit", "5")
        assert len(found) == 5
        assert [int(t["id"].split("-")[1]) for t in found] == sorted(int(t["id"].split("-")[1]) for t in found)[::-1]
        url = f"http://{running.settings.hub.http_listen}"
        async with aiohttp.ClientSession(url) as session, session.get("/api/logs/trades?limit=200") as answer:
            page = await answer.json()
        by_id = {trade["id"]: trade for trade in page["trades"]}
        assert all(by_id[trade["id"]] == trade for trade in found if trade["status"] != "open")
        sums = (await shown("pnl", *config))["USDT"]
        assert sums["realised"] == sums["realised_in_ledger"]
        parts = sum(Decimal(line["realised"]) for line in sums["by_instrument"].values())
        assert abs(parts - Decimal(sums["realised"])) < Decimal("1e-20")  # an average cost is rounded far behind that
        await running.kill("hub")
        await running.kill("executor")  # nobody has to be there
        table = await asyncio.to_thread(arbhub, "trades", "--ledger", running.settings.executor.ledger_url.reveal())
        assert (await shown("trades", *config, "--limit", "1"))[0]["id"] in table.stdout
        assert "by venue" in (await asyncio.to_thread(arbhub, "pnl", *config)).stdout
    finally:
        await running.household.end()


@pytest.mark.parametrize("command", ["trades", "pnl"])
def test_without_a_ledger_there_is_one_sentence(tmp_path: Path, command: str) -> None:
    """Which names the ledger and what is the matter with it."""
    done = arbhub(command, "--ledger", f"sqlite:///{tmp_path}/none.db")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"arbhub: ledger sqlite:///{tmp_path}/none.db: there is no such file; "
        "the executor makes it when it first runs\n"
    )
