"""`arbhub demo`: the whole of arbhub for a few seconds, on this machine alone."""

import asyncio
import contextlib
import shutil
import tempfile
import time
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import orjson
import tomli_w
import typer
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.live import Live

from arbhub.cli.app import app, settings_of
from arbhub.cli.demo_table import line, summary, table
from arbhub.cli.up import services
from arbhub.processes import Household, free_ports
from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.service import run_until_signal, until
from arbhub.v1 import hub_pb2
from arbhub.watching import Gone, watched

READY_S = 90.0
STATE_EVERY_S = 0.25
PLAIN_LINE_EVERY = 8  # states


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to trade.")] = 20.0,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the last state here.")] = None,
) -> None:
    """Trade on paper for a few seconds: local exchange, ccxt feed, hub, four engine processes, executor.

    Needs no network, no keys and no other software. Ctrl-C ends it at any time.
    """
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="arbhub-demo-"))
    show = Demo(folder, seconds, console)
    run_until_signal(show.run)  # where this fails, the logs stay for whoever looks for the reason
    console.print(summary(show.last, show.traded_s))
    if report:
        report.write_bytes(orjson.dumps(as_report(show.last), option=orjson.OPT_INDENT_2) + b"\n")
    shutil.rmtree(folder)


class Demo:
    """One showing. `last` is the hub's state as last seen, `traded_s` for how long it was watched."""

    def __init__(self, folder: Path, seconds: float, console: Console) -> None:
        self.last, self.traded_s = hub_pb2.Status(), 0.0
        self._folder, self._seconds, self._console = folder, seconds, console
        self._config = folder / "demo.toml"
        self._config.write_text(tomli_w.dumps(on_free_ports(folder)))
        self._settings = settings_of(self._config, None)
        self._credentials = credentials_of(self._settings.tls, CLIENT)

    async def run(self, shutdown: asyncio.Event) -> None:
        """Start everything, show it for its time, end everything."""
        household = Household(self._folder, self._credentials)
        wanted = services(self._settings, ("--config", str(self._config)), engines=True)
        try:
            self._console.print(f"starting {len(wanted)} services; logs and configuration in {self._folder}")
            await household.start(wanted)
            if await until(shutdown, household.ready(READY_S)):
                self._introduce(household)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds):
                        await until(shutdown, self._watch(household))
        finally:
            await household.end()

    def _introduce(self, household: Household) -> None:
        for child in household.children:
            # Whole on one line, however long: it is there to be copied.
            self._console.print(f"{child.process.pid:>7}  {child.service.command}", highlight=False, soft_wrap=True)
        self._console.print("kill one and start it again with the command beside it: the hub goes on\n")

    async def _watch(self, household: Household) -> None:
        began = time.monotonic()
        live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        count = 0
        with live or contextlib.nullcontext():
            async for status in watched(self._settings.hub.listen, STATE_EVERY_S, self._credentials):
                if isinstance(status, Gone):
                    continue
                self.last, self.traded_s, count = status, time.monotonic() - began, count + 1
                if live:
                    live.update(table(status, household), refresh=True)
                elif count % PLAIN_LINE_EVERY == 0:
                    self._console.print(line(status), highlight=False, soft_wrap=True)


def on_free_ports(folder: Path) -> dict[str, Any]:
    """The demo's configuration with every address on a port that is free now, and the ledger in `folder`."""
    text = resources.files("configs").joinpath("demo.toml").read_text()
    used = sorted({port for port in range(7400, 7410) if f":{port}" in text})
    for port, free in zip(used, free_ports(len(used)), strict=True):
        text = text.replace(f":{port}", f":{free}")
    content = tomllib.loads(text)
    content["hub"]["state_dir"] = str(folder / "state")
    content["executor"]["ledger_url"] = f"sqlite:///{folder / 'ledger.db'}"
    return content


def as_report(status: hub_pb2.Status) -> dict[str, Any]:
    """The state as JSON values, under the names of the proto."""
    return MessageToDict(status, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
