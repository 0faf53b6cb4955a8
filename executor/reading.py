"""Looking into a ledger without a hand on it: nothing is written, migrated or locked, and the executor is not held up.

Whatever stands in the way is one `ServiceError` sentence.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from decimal import localcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from arbhub.service import ServiceError
from executor.money import CONTEXT
from executor.opening import explained, is_in_memory, ledger_url, shown_url
from executor.revisions import VERSION_TABLE

BUSY_S = 1.0
CONNECT_S = 3


@contextlib.contextmanager
def reading(text: str, statement_s: float = 60.0) -> Iterator[Connection]:
    """A connection to the ledger at the URL `text`, all of whose queries see one state of it.

    `statement_s` bounds a query where the database can (PostgreSQL).
    """
    with looking(text, statement_s) as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            shown = shown_url(ledger_url(text))
            raise ServiceError(f"ledger {shown}: is no ledger, or nothing was ever written to it")
        yield connection


@contextlib.contextmanager
def looking(text: str, statement_s: float = 60.0) -> Iterator[Connection]:
    """The same on a database that need not be a ledger."""
    url = ledger_url(text)
    with explained(url), localcontext(CONTEXT), _engine(url, shown_url(url), statement_s).begin() as connection:
        yield connection


def _engine(url: URL, shown: str, statement_s: float) -> Engine:
    return _sqlite(url, shown) if url.get_backend_name() == "sqlite" else _server(url, statement_s)


def _sqlite(url: URL, shown: str) -> Engine:
    if is_in_memory(url):
        raise ServiceError(f"ledger {shown}: is in the executor's memory, where nobody else can read it")
    file = Path(str(url.database))
    if not file.is_file():
        raise ServiceError(f"ledger {shown}: there is no such file; the executor makes it when it first runs")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{file.resolve().as_uri()}?mode=ro",
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")  # a reader of a write-ahead log neither waits for the writer nor stops it


def _server(url: URL, statement_s: float) -> Engine:
    options = f"-c default_transaction_read_only=on -c statement_timeout={int(statement_s * 1000)}"
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_S, "options": options}
    return create_engine(url, poolclass=NullPool, isolation_level="REPEATABLE READ", connect_args=arguments)
