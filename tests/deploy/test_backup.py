"""deploy/backup.sh and restore.sh on real ledgers, while an executor writes to them."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from postgres_server import postgres_server
from sqlalchemy import create_engine, select, text
from writing_executor import WritingExecutor

from executor import tables
from executor.opening import open_ledger

DEPLOY = Path(__file__).parents[2] / "deploy"
Rows = dict[str, set[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL server that asks for a password."""
    with postgres_server("secret") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Two empty places for ledgers, of one kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'one.db'}", f"sqlite:///{tmp_path / 'two.db'}"
    at: str = request.getfixturevalue("server")
    with create_engine(at.replace("postgresql", "postgresql+psycopg"), isolation_level="AUTOCOMMIT").connect() as c:
        for name in ("one", "two"):
            c.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            c.execute(text(f"CREATE DATABASE {name}"))
    return at.removesuffix("postgres") + "one", at.removesuffix("postgres") + "two"


class Machine:
    """A folder with a configuration, a ledger and a hub's state, on which the scripts are run."""

    def __init__(self, folder: Path, ledger_url: str) -> None:
        self.folder, self.config, self.state = folder, folder / "arbhub.toml", folder / "state"
        folder.mkdir()
        self.state.mkdir()
        self.ledger_url = ledger_url
        (self.state / "history.json").write_text("[]")
        content = {"executor": {"ledger_url": ledger_url}, "hub": {"state_dir": str(self.state)}}
        self.config.write_text(tomli_w.dumps(content))

    def run(self, script: str, *words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run deploy/SCRIPT.sh with the machine's configuration."""
        environment = {**os.environ, "ARBHUB": str(Path(sys.executable).with_name("arbhub")), **environ}
        command = ["bash", str(DEPLOY / f"{script}.sh"), "--config", str(self.config), *map(str, words)]
        return subprocess.run(command, cwd=self.folder, env=environment, check=False, capture_output=True, text=True)

    def done(self, script: str, *words: str | Path, **environ: str) -> str:
        """The same where it has to work; what it printed."""
        ran = self.run(script, *words, **environ)
        assert ran.returncode == 0, ran.stderr
        assert "secret" not in ran.stdout + ran.stderr
        return ran.stdout

    def refused(self, script: str, *words: str | Path, **environ: str) -> str:
        """The same where it must not; the sentence that says why."""
        ran = self.run(script, *words, **environ)
        assert ran.returncode in (1, 2), ran.stdout
        assert ran.stderr.count("\n") == 1, ran.stderr
        return ran.stderr

    def rows(self) -> Rows:
        """All that the ledger holds, which is found to add up."""
        engine = open_ledger(self.ledger_url)
        with engine.begin() as connection:
            found = {
                t.name: {tuple(row) for row in connection.execute(select(t))} for t in tables.metadata.sorted_tables
            }
        engine.dispose()
        return found

    def traded(self, trades: int) -> None:
        """Let an executor trade into the ledger, and end."""
        with WritingExecutor(self.ledger_url) as executor:
            executor.until(trades)


@pytest.fixture
def machines(tmp_path: Path, urls: tuple[str, str]) -> tuple[Machine, Machine]:
    """Two machines, neither of which ever traded."""
    return Machine(tmp_path / "one", urls[0]), Machine(tmp_path / "two", urls[1])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a ledger in a file."""
    return Machine(tmp_path / "one", f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_backup_is_one_state_of_a_ledger_that_is_written_to(machines: tuple[Machine, Machine]) -> None:
    """Restored elsewhere it adds up, is what was there at one moment, and begins with a new epoch."""
    here, there = machines
    with WritingExecutor(here.ledger_url) as executor:
        executor.until(trades=30)
        here.done("backup", "kept")
        before = len(executor.traded)
        executor.until(trades=before + 10)
    (there.state / "history.json").unlink()
    said = there.done("restore", here.folder / "kept")
    full, kept = here.rows(), there.rows()
    assert 30 <= len(kept["fills"]) / 2 <= before + 1
    for name in ("orders", "fills", "decisions"):
        # The last trade may have been between its orders and their fills.
        assert len(kept[name] - full[name]) <= 2, name
    assert kept["fills"] <= full["fills"]
    (((_, epoch, _),), ((_, last, _),)) = kept["trading"], full["trading"]
    assert epoch > last == executor.epochs[-1]
    assert f"now in epoch {epoch}" in said
    assert (there.state / "history.json").read_text() == "[]"
    there.traded(3)  # it goes on from there


def test_what_is_only_in_the_log_of_a_file_is_in_its_backup(machine: Machine, tmp_path: Path) -> None:
    """SQLite writes ahead: as long as somebody reads, the file itself may have nothing of the latest trades."""
    machine.traded(1)
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM fills").fetchone()
        machine.traded(3)
        machine.done("backup", "kept")
    with contextlib.closing(sqlite3.connect(machine.folder / "kept/ledger.sqlite")) as copy:
        copied = set(copy.execute("SELECT client_order_id FROM fills"))
    assert {(row[0],) for row in machine.rows()["fills"]} == copied


def test_a_ledger_that_is_there_is_replaced_only_by_force(machines: tuple[Machine, Machine]) -> None:
    """Unasked nothing happens; by force an executor that writes is fenced off and goes on from what was restored."""
    machine, _ = machines
    machine.traded(5)
    machine.done("backup", "kept")
    old = machine.rows()["fills"]
    with WritingExecutor(machine.ledger_url) as executor:
        executor.until(trades=5, epochs=1)
        said = machine.refused("restore", "kept")
        assert "there is a ledger at" in said
        assert "--force replaces it" in said
        executor.until(trades=len(executor.traded) + 1)
        assert len(executor.epochs) == 1
        machine.done("restore", "--force", "kept")
        executor.until(epochs=2)
        executor.until(trades=len(executor.traded) + 3)
    after = machine.rows()
    assert executor.epochs[1] > executor.epochs[0] + 1
    assert old <= after["fills"]
    assert not [row for row in after["fills"] if str(row[0]).startswith(f"e{executor.epochs[0]}-")]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda kept: (kept / "ledger.sqlite").write_bytes(b"x"), "ledger.sqlite is not as it was written"),
        (lambda kept: (kept / "configs/arbhub.toml").write_text(""), "configs/arbhub.toml is not as it was written"),
        (lambda kept: (kept / "state/history.json").unlink(), "state/history.json is missing"),
        (lambda kept: (kept / "state/more.json").write_text(""), "state/more.json was not there when the backup was"),
        (lambda kept: (kept / "SHA256SUMS").unlink(), "is no backup, or not all of one"),
        (lambda kept: (kept / "manifest.json").write_text("{"), "is damaged"),
        (shutil.rmtree, "is no backup, or not all of one"),
    ],
)
def test_a_damaged_backup_is_not_restored(machine: Machine, damage: Any, expected: str) -> None:
    """Whatever was changed is named, and what is there stays as it is, by force too."""
    machine.traded(3)
    machine.done("backup", "kept")
    before = machine.rows()
    damage(machine.folder / "kept")
    assert expected in machine.refused("restore", "--force", "kept")
    assert machine.rows() == before


def test_a_backup_is_its_owners_alone_and_never_overwritten(machine: Machine) -> None:
    """Configurations may hold passwords; a second backup of the same name is refused; sha256sum agrees."""
    machine.traded(3)
    machine.done("backup", "kept")
    kept = machine.folder / "kept"
    assert {file.stat().st_mode & 0o077 for file in (kept, *kept.rglob("*")) if file.is_file() or file == kept} == {0}
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=kept, check=True, capture_output=True)
    assert "is there already" in machine.refused("backup", "kept")


def test_a_backup_that_fails_leaves_nothing(machine: Machine) -> None:
    """Without a ledger there is no backup, nor half of one."""
    assert "is not there, or nothing was ever written to it" in machine.refused("backup", "kept")
    machine.traded(1)
    assert "there is no such file or folder" in machine.refused("backup", "kept", "--", "--also", "nothing")
    assert sorted(file.name for file in machine.folder.iterdir()) == ["arbhub.toml", "state"]


def test_state_that_differs_is_replaced_only_by_force(machine: Machine) -> None:
    """A hub's state, like a ledger; configurations come back where they are asked for."""
    machine.traded(3)
    machine.done("backup", "kept")
    ledger = Path(machine.ledger_url.removeprefix("sqlite:///"))
    for file in ledger.parent.glob("ledger.db*"):
        file.unlink()
    (machine.state / "history.json").write_text("[1]")
    assert "history.json: is there, and is another" in machine.refused("restore", "kept")
    assert not ledger.exists()
    machine.done("restore", "--force", "kept", "--", "--configs", "configs")
    assert (machine.state / "history.json").read_text() == "[]"
    assert (machine.folder / "configs/arbhub.toml").read_text() == machine.config.read_text()


def test_the_wrong_kind_of_ledger_is_said(machine: Machine, tmp_path: Path) -> None:
    """A copy of a file does not go into a server, nor a ledger in memory anywhere."""
    machine.traded(3)
    machine.done("backup", "kept")
    elsewhere = ("--", "--set", "executor.ledger_url=postgresql://127.0.0.1:1/x")
    assert "names a ledger of another kind" in machine.refused("restore", "kept", *elsewhere)
    in_memory = ("--", "--set", "executor.ledger_url=sqlite://")
    assert "in the executor's memory" in machine.refused("backup", "more", *in_memory)
    foreign = tmp_path / "foreign.db"
    with create_engine(f"sqlite:///{foreign}").begin() as connection:
        connection.execute(text("CREATE TABLE theirs (x)"))
    there = ("--", "--set", f"executor.ledger_url=sqlite:///{foreign}")
    assert "is a database of something else" in machine.refused("restore", "kept", *there)


def test_tools_may_run_beside_the_server(server: str, tmp_path: Path) -> None:
    """Words before pg_dump and psql, as for a container's: they find the server by themselves."""
    name = "postgresql+psycopg" + server.removeprefix("postgresql")
    with create_engine(name, isolation_level="AUTOCOMMIT").connect() as connection:
        for database in ("one", "two"):
            connection.execute(text(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE {database}"))
    port = server.rpartition(":")[2].partition("/")[0]
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    at_home = f"env PATH={programs}:{os.environ['PATH']} PGHOST=127.0.0.1 PGPORT={port} PGPASSWORD=secret"
    here, there = (Machine(tmp_path / n, server.removesuffix("postgres") + n) for n in ("one", "two"))
    here.traded(3)
    nowhere = "executor.ledger_url=postgresql://arbhub@postgres.invalid/"
    here.done("backup", "kept", "--", "--pg-tools", at_home, "--set", f"{nowhere}one")
    there.done("restore", here.folder / "kept", "--", "--pg-tools", at_home, "--set", f"{nowhere}two")
    assert there.rows()["fills"] == here.rows()["fills"]


DOCKER = """#!/bin/sh
case "$*" in
    info) ;;
    *config*--images) printf 'arbhub:1\\nredis:7\\narbhub:1\\n' ;;
    save*) shift; [ "$1" = --output ] && echo "saved $3 $4" > "$2" ;;
    load*) cp "$3" "$LOADED" ;;
    *) exit 9 ;;
esac
"""


def test_images_are_saved_and_loaded_where_asked(machine: Machine) -> None:
    """By the docker command, those that the compose file names; without it one sentence says so."""
    machine.traded(3)
    bare, programs, loaded = machine.folder / "bare", machine.folder / "docker", machine.folder / "loaded"
    for folder in (bare, programs):
        folder.mkdir()
        for program in ("bash", "basename", "dirname", "date", "mktemp", "mkdir", "rm", "sort", "sh", "cp"):
            (folder / program).symlink_to(str(shutil.which(program)))
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)
    assert "needs docker, which is not installed" in machine.refused("backup", "kept", "--images", PATH=str(bare))
    assert "--compose needs docker, which is not" in machine.refused("restore", "kept", "--compose", PATH=str(bare))
    machine.done("backup", "kept", "--images", PATH=str(programs))
    machine.done("restore", "--force", "--images", "kept", PATH=str(programs), LOADED=str(loaded))
    assert loaded.read_text() == "saved arbhub:1 redis:7\n"
    machine.done("backup", "less")
    said = machine.run("restore", "--force", "--images", "less", PATH=str(programs)).stderr
    assert "has no images: it was made without --images" in said


@pytest.mark.parametrize(
    ("script", "words", "expected"),
    [
        ("backup", ["one", "two"], "one FOLDER, not two: one and two"),
        ("backup", ["--force", "one"], "there is no option --force"),
        ("backup", ["--env", "testing", "one"], "--env or --config, not both"),
        ("restore", [], "which backup: name its FOLDER"),
        ("restore", ["--what", "one"], "there is no option --what"),
    ],
)
def test_a_wrong_command_is_said(machine: Machine, script: str, words: list[str], expected: str) -> None:
    """Before anything is done."""
    assert expected in machine.refused(script, *words)
