"""Copies of a ledger, and a ledger made from one: SQLite's own backup, PostgreSQL's pg_dump and pg_restore.

A copy is one state of the ledger, whoever writes meanwhile. A ledger is put back in one transaction, in which a new
epoch is taken above every epoch that either of the two has seen: an executor that was writing to the old one is fenced
off, and no epoch, and so no order's id, comes a second time. What goes wrong is one `ServiceError` sentence.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy.engine import URL

from arbhub.service import ServiceError
from executor.opening import is_in_memory, ledger_url, shown_url
from executor.revisions import VERSION_TABLE

BUSY_S = 30.0
CONNECT_S = "10"
MARGIN = 1000  # SQLite lets nobody wait from the look at its epoch to the new content: others may take some meanwhile
_PSQL = ("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")
# Whoever writes holds a row of it first: having waited here, we wait for nobody later.
_LOCK = b"""
SET lock_timeout = '30s';
LOCK TABLE trading IN ACCESS EXCLUSIVE MODE;
SELECT epoch AS held FROM trading \\gset
"""
_NO_LEDGER = b"\\set held 0\n"
_TAKE = """
SET search_path TO DEFAULT; -- the restored script ends with an empty one
UPDATE trading SET epoch = greatest(epoch, :held) + 1;
INSERT INTO epochs (epoch, taken_ns) SELECT epoch, floor(extract(epoch FROM clock_timestamp()) * 1e9) FROM trading;
"""


class Vault(Protocol):
    """A ledger as something to copy and to put back."""

    file_name: str
    """What a copy of it is called, which says its kind."""

    def copy_to(self, file: Path) -> None:
        """Write one state of it to a file that is not there yet."""

    def epoch(self) -> int | None:
        """The epoch that holds it; None where there is no ledger yet."""

    def put_back(self, file: Path) -> int:
        """Make it what the copy is, in one transaction; the epoch that it is in then."""


def vault(text: str, tools: Sequence[str] = ()) -> Vault:
    """The ledger at a URL. `tools`: words before pg_dump, pg_restore and psql, where these run somewhere else."""
    url = ledger_url(text)
    return _SqliteVault(url) if url.get_backend_name() == "sqlite" else _PostgresVault(url, tools)


class _SqliteVault:
    file_name = "ledger.sqlite"

    def __init__(self, url: URL) -> None:
        self._shown = shown_url(url)
        if is_in_memory(url):
            raise ServiceError(f"ledger {self._shown}: is in the executor's memory: there is nothing to copy")
        self._file = Path(str(url.database))

    def copy_to(self, file: Path) -> None:
        with self._explained():
            if self.epoch() is None:
                raise ServiceError(f"ledger {self._shown}: is not there, or nothing was ever written to it")
            with _opened(self._file, "ro") as source, _opened(file, "rwc") as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # a copy is one file, without a log beside it

    def epoch(self) -> int | None:
        if not self._file.is_file() or not self._file.stat().st_size:
            return None
        with self._explained(), _opened(self._file, "ro") as ledger:
            return _sqlite_epoch(ledger, self._shown)

    def put_back(self, file: Path) -> int:
        held = self.epoch() or 0
        with self._explained(), tempfile.TemporaryDirectory(prefix="arbhub-restore-") as folder:
            fresh = Path(folder) / file.name
            shutil.copyfile(file, fresh)
            with _opened(fresh, "rw") as copy:
                copied = _sqlite_epoch(copy, str(file))
                if copied is None:
                    raise ServiceError(f"{file}: holds no ledger")
                epoch = max(held, copied) + MARGIN
                copy.executescript(_take(epoch))
                with _opened(self._file, "rwc") as ledger:
                    copy.backup(ledger)
        return epoch

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ServiceError(f"ledger {self._shown}: {error}") from None


@contextlib.contextmanager
def _opened(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(
        sqlite3.connect(f"{file.resolve().as_uri()}?mode={mode}", BUSY_S, isolation_level=None, uri=True)
    ) as connection:
        yield connection


def _sqlite_epoch(ledger: sqlite3.Connection, shown: str) -> int | None:
    tables = {name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if VERSION_TABLE not in tables:
        raise ServiceError(f"ledger {shown}: is a database of something else")
    return int(ledger.execute("SELECT epoch FROM trading").fetchone()[0])


class _PostgresVault:
    file_name = "ledger.pgdump"

    def __init__(self, url: URL, tools: Sequence[str]) -> None:
        self._shown, self._tools = shown_url(url), tuple(tools)
        if tools:  # they are at home with the server, and know where it is and who they are
            self._where = [
                "--username",
                url.username or str(url.query.get("user", "postgres")),
                "--dbname",
                url.database or "postgres",
            ]
        else:
            without = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
            self._where = ["--dbname", without.render_as_string(hide_password=False)]
        self._environment = {**os.environ, "PGCONNECT_TIMEOUT": CONNECT_S}
        if url.password:
            self._environment["PGPASSWORD"] = str(url.password)  # what is in the command anybody can read in ps

    def copy_to(self, file: Path) -> None:
        if self.epoch() is None:
            raise ServiceError(f"ledger {self._shown}: nothing was ever written to it")
        with file.open("xb") as out:
            self._run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", *self._where, out=out)

    def epoch(self) -> int | None:
        named = self._ask("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        if not named:
            return None
        if VERSION_TABLE not in named:
            raise ServiceError(f"ledger {self._shown}: is a database of something else")
        return int(self._ask("SELECT epoch FROM trading")[0])

    def put_back(self, file: Path) -> int:
        held = self.epoch()
        with tempfile.TemporaryFile() as script:
            script.write(_LOCK if held is not None else _NO_LEDGER)
            script.flush()
            with file.open("rb") as dump:
                words = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--file=-")
                self._run("pg_restore", *words, source=dump, out=script)
            script.seek(0, os.SEEK_END)
            script.write(_TAKE.encode())
            script.seek(0)
            self._run(*_PSQL, "--single-transaction", "--output=/dev/null", "--file=-", *self._where, source=script)
        epoch = self.epoch()
        if epoch is None:
            raise ServiceError(f"{file}: holds no ledger")
        return epoch

    def _ask(self, query: str) -> list[str]:
        return self._run(*_PSQL, "--tuples-only", "--no-align", *self._where, "--command", query).split()

    def _run(self, program: str, *words: str, source: IO[bytes] | None = None, out: IO[bytes] | None = None) -> str:
        command = [*self._tools, program if self._tools else _program(program), *words]
        environment = None if self._tools else self._environment
        try:
            done = subprocess.run(  # noqa: S603  # the operator's own words and ours, and no shell
                command,
                stdin=source or subprocess.DEVNULL,
                stdout=out or subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                check=False,
            )
        except OSError as error:
            raise ServiceError(f"{command[0]}: cannot be run: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"ended with {done.returncode}"]
            first = next((line for line in said if "error" in line.lower()), said[-1])
            raise ServiceError(f"ledger {self._shown}: {program}: {first}")
        return done.stdout.decode() if done.stdout else ""


def _program(name: str) -> str:
    """The newest that is installed: an older pg_dump refuses a newer server."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"),
        key=lambda found: [int(n) for n in found.parts[4].split(".") if n.isdigit()],
    )
    path = str(installed[-1]) if installed else shutil.which(name)
    if path is None:
        raise ServiceError(f"{name} is not installed: it is in Debian's package postgresql-client")
    return path


def _take(epoch: int) -> str:
    return (
        f"BEGIN IMMEDIATE; INSERT INTO epochs (epoch, taken_ns) VALUES ({epoch}, {time.time_ns()}); "  # noqa: S608  # ours
        f"UPDATE trading SET epoch = {epoch}; COMMIT;"
    )
