"""docs/adding-an-engine.md, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
from reference.streams import dense_capture, write_capture

ROOT = Path(__file__).parents[2]
PACKAGES = ("arbhub", "hub", "engines", "feeds", "executor", "sandbox", "configs")


def replaced(path: Path, old: str, new: str) -> None:
    """Change a file where `old` stands; it has to stand there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def follow_the_page(copy: Path) -> None:
    """The file, the row and the section that the page tells to write."""
    engine, section, field = re.findall(r"```python\n(.*?)```", (ROOT / "docs/adding-an-engine.md").read_text(), re.S)
    (copy / "engines/inventory.py").write_text(engine)
    table, settings = copy / "engines/table.py", copy / "arbhub/settings/engines.py"
    replaced(table, "from engines.risk", "from engines.inventory import Inventory\nfrom engines.risk")
    replaced(table, "Liquidity, Risk)", "Liquidity, Risk, Inventory)")
    replaced(settings, "class EnginesSettings", f"{section}\n\nclass EnginesSettings")
    last = "    risk: RiskEngineSettings = RiskEngineSettings()\n"
    replaced(settings, last, last + field.splitlines()[-1] + "\n")


def test_the_page_makes_an_engine_that_has_a_say(tmp_path: Path) -> None:
    """With the engine of the page, a charge that no edge can bear stops what would lean positions further."""
    copy = tmp_path / "copy"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    follow_the_page(copy)
    write_capture(tmp_path / "dense.jsonl", dense_capture(4, 800, edge_bps=8.0))
    (tmp_path / "c.toml").write_text("[engines.fee.taker_bps]\nEX1 = 1.0\nEX2 = 1.0\nEX3 = 1.0\n")
    approved = []
    for charge in ("0.0", "1000.0"):
        command = (sys.executable, "-m", "arbhub", "replay", "dense.jsonl", "--config", "c.toml", "--set")
        done = subprocess.run(
            (*command, f"engines.inventory.charge_bps={charge}"),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            check=True,
            timeout=60,
        )
        approved.append(orjson.loads(done.stdout)["approved"])
    assert approved[0] > approved[1] > 0
