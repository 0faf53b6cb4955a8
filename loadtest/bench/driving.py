"""Running the open-loop driver, or another of our commands, as a process of its own, and reading its report.

The driver is known by its command line and its report alone, as by anybody else.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from arbhub.service import ServiceError
from loadtest.bench.site import Running, Site

LAST_LINES = 3
START_S = 2.0  # what a run takes beside its seconds: imports, making the ticks, connecting


@dataclass(frozen=True, slots=True)
class Load:
    """What the driver is asked to send, in ticks a second and seconds."""

    rate: float
    seconds: float
    depth: int = 1
    instruments: int = 200
    venues: int = 4
    mode: str = "stream"
    window: int = 1
    warm_up_s: float = 2.0
    """Services of a case are fresh: their first rounds are slow."""

    @property
    def takes_s(self) -> float:
        """About how long a run takes; millions of ticks take a while to make."""
        ticks = self.rate * (self.seconds + self.warm_up_s)
        return START_S + self.seconds + self.warm_up_s + ticks * self.depth / 2e6


async def drive(site: Site, running: Running, load: Load, seed: int = 1) -> dict[str, Any]:
    """One run, and its report; ServiceError with the driver's last words where there is none."""
    words = ["--target", running.target, "--rate", f"{load.rate:g}", "--seconds", f"{load.seconds:g}"]
    words += ["--depth", str(load.depth), "--instruments", str(load.instruments), "--venues", str(load.venues)]
    words += [
        "--window",
        str(load.window),
        "--mode",
        load.mode,
        "--warm-up",
        f"{load.warm_up_s:g}",
        "--seed",
        str(seed),
    ]
    return await reported(site, "loadtest", ["run", *words])


async def reported(site: Site, module: str, words: list[str]) -> dict[str, Any]:
    """Run `python -m MODULE WORDS... --report FILE` to its end, and read the file."""
    file = site.folder / "report.json"
    file.unlink(missing_ok=True)
    code, said = await _finished(module, [*words, "--report", str(file)], site.folder / "command.log")
    if code or not file.exists():
        raise ServiceError(f"{module} {words[0]} ended with {code}: {said}")
    report: dict[str, Any] = orjson.loads(file.read_bytes())
    return report


async def _finished(module: str, words: list[str], log: Path) -> tuple[int, str]:
    """How it ended and what it said last. Cancelled, it ends the process before it goes."""
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()  # it holds nothing that wants an orderly end
            await process.wait()
    return code, _last_words(log)


def _last_words(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
