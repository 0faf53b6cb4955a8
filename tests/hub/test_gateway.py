"""A real nginx asks the hub by `auth_request`, configured with the fragment that docs/gateway.md shows."""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from http_probes import DEAR_QUERY, Answer, HttpClient, trading_hub
from hub_probes import within

from arbhub.processes import free_ports

DOCUMENT = Path(__file__).parents[2] / "docs" / "gateway.md"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
SILENT = "venue=B&symbol=BTC/USD&ts_ns=1000000"


def fragment(hub: str, trading: str, listen: str) -> str:
    """What the document shows, at these addresses."""
    (shown,) = re.findall(r"```nginx\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for there, here in (("127.0.0.1:7408", hub), ("127.0.0.1:9000", trading), ("127.0.0.1:8080", listen)):
        assert shown.count(there) == 1
        shown = shown.replace(there, here)
    return str(shown)


def configuration(folder: Path, gateway: str, trading: str) -> str:
    """A whole nginx that needs nothing beyond a folder, with somebody behind it who takes every order."""
    temporary = "".join(f"{name}_temp_path {folder / name};\n" for name in TEMPORARY)
    return (
        f"daemon off;\nmaster_process off;\npid {folder / 'nginx.pid'};\nerror_log stderr;\n"
        "events { worker_connections 64; }\n"
        f"http {{\naccess_log off;\n{temporary}{gateway}"
        f"server {{ listen {trading}; location / {{ return 200 ordered; }} }}\n}}\n"
    )


@contextlib.asynccontextmanager
async def nginx_of(folder: Path, hub: HttpClient) -> AsyncIterator[str]:
    """The address of an nginx in front of somebody who trades, and beside the hub."""
    listen, trading = (f"127.0.0.1:{port}" for port in free_ports(2))
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, fragment(hub.url.removeprefix("http://"), trading, listen), trading))
    words = ("-p", str(folder), "-e", "stderr", "-c", str(file))
    with (folder / "nginx.log").open("wb") as log:
        nginx = await asyncio.create_subprocess_exec(str(shutil.which("nginx")), *words, stderr=log)
    try:
        await within(listening(listen, nginx), "nginx")
        yield listen
    finally:
        with contextlib.suppress(ProcessLookupError):
            nginx.terminate()
        await nginx.wait()


async def listening(address: str, nginx: asyncio.subprocess.Process) -> None:
    """Return once it listens."""
    host, _, port = address.rpartition(":")
    while True:
        assert nginx.returncode is None, "nginx ended: its log is beside its configuration"
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            return
        await asyncio.sleep(0.02)


async def order(listen: str, query: str) -> Answer:
    """An order for the tick of a query."""
    async with aiohttp.ClientSession() as session, session.post(f"http://{listen}/orders?{query}", data="x") as answer:
        return Answer(answer.status, await answer.text(), answer.headers)


@pytest.fixture(autouse=True)
def _nginx_is_there() -> None:
    if not shutil.which("nginx"):
        assert "CI" not in os.environ, "CI must have nginx"
        pytest.skip("nginx is not installed")


async def test_orders_pass_only_with_a_verdict(tmp_path: Path) -> None:
    """Approved ones are passed on, rejected ones refused with the reason; without a verdict nothing passes."""
    async with trading_hub() as hub, nginx_of(tmp_path, hub) as gateway:
        approved = await order(gateway, DEAR_QUERY)
        assert (approved.status, approved.content, approved.headers["X-Arbhub-Reason"]) == (200, "ordered", "APPROVED")
        rejected = await order(gateway, SILENT)
        assert (rejected.status, rejected.headers["X-Arbhub-Reason"]) == (403, "NO_COUNTERPART")
        assert (await order(gateway, DEAR_QUERY.replace("venue=B", "venue=Z"))).status == 500
        assert (await order(gateway, "")).status == 500


async def test_without_the_hub_no_order_passes(tmp_path: Path) -> None:
    """A hub that has gone is no yes."""
    async with contextlib.AsyncExitStack() as outliving:
        async with trading_hub() as hub:
            gateway = await outliving.enter_async_context(nginx_of(tmp_path, hub))
            assert (await order(gateway, DEAR_QUERY)).status == 200
        assert (await order(gateway, DEAR_QUERY)).status == 500
