"""Opening a ledger: the engine for a URL, the migrations, and a check that it is a ledger and adds up.

Whatever is wrong with the URL or what lies there ends as one `ServiceError` sentence.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from arbhub.reference import split_symbol
from arbhub.service import ServiceError
from arbhub.settings.secret import redacted
from executor import revisions, tables
from executor.money import CONTEXT
from executor.orders import Key

_ALLOWED = 'allowed are "sqlite:///FILE", "sqlite://" (in memory) and "postgresql://USER:PASSWORD@HOST/NAME"'


def open_ledger(text: str) -> Engine:
    """An engine on a ledger of the newest form that adds up; ServiceError says what is wrong otherwise."""
    url = ledger_url(text)
    shown = shown_url(url)
    with explained(url):
        engine = engine_on(url)
        with engine.begin() as connection:
            _migrate(connection, shown)
            _check(connection, shown)
    return engine


@contextlib.contextmanager
def explained(url: URL) -> Iterator[None]:
    """What a database says goes wrong within the block, as a ServiceError."""
    shown = shown_url(url)
    try:
        yield
    except ModuleNotFoundError as error:
        raise ServiceError(f"ledger {shown}: the driver {error.name} is not installed") from None
    except DBAPIError as error:
        raise ServiceError(_sentence(shown, url, error)) from None
    except SQLAlchemyError as error:
        raise ServiceError(f"ledger {shown}: {_one_line(error)}") from None


def shown_url(url: URL) -> str:
    """It without a secret, wherever in it there is one."""
    return redacted(url.render_as_string(hide_password=False))


def ledger_url(text: str) -> URL:
    """A setting as a database URL of a kind that a ledger can be on."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ServiceError(f"ledger_url {redacted(text)!r} is no database URL: {_ALLOWED}") from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ServiceError(f"ledger_url: databases of the kind {url.drivername!r} are not supported, {_ALLOWED}")
    return url


def is_in_memory(url: URL) -> bool:
    """Whether it is SQLite's database without a file, which only its own process has."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def engine_on(url: URL) -> Engine:
    """An engine that writes to a database as a ledger is written to."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    # One connection is one in-memory database: everyone must share it.
    memory: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engine = create_engine(url, **(memory if is_in_memory(url) else {}))
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own transactions would begin too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    # Take the write lock at once: what the fence says must still hold when we write.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(connection: Connection, shown: str) -> None:
    try:
        revisions.require_known(revisions.current(connection))
        revisions.upgrade(connection, revisions.head())
    except revisions.RevisionError as error:
        raise ServiceError(f"ledger {shown}: {error}") from None
    # Changes nothing, but fails where nothing can be changed: better now than at the first decision.
    connection.execute(update(tables.trading).values(epoch=tables.trading.c.epoch))


def _check(connection: Connection, shown: str) -> None:
    """Every position and every balance is the sum of the fills."""
    with localcontext(CONTEXT):
        positions, changes = _sums(connection)
        kept = [
            (tables.positions, "symbol", "quantity", positions),
            (tables.balances, "asset", "change", changes),
        ]
        for table, name, amount, sums in kept:
            columns = table.c.venue, table.c[name], table.c[amount]
            written = {(v, n): x for v, n, x in connection.execute(select(*columns))}
            for key in sorted(written.keys() | sums.keys()):
                have, want = written.get(key, Decimal(0)), sums[key]
                if have != want:
                    raise ServiceError(
                        f"ledger {shown}: the {table.name} say {have} {key[1]} on {key[0]}, but its fills "
                        f"add up to {want}; nothing is traded on a ledger that does not add up"
                    )


def _sums(connection: Connection) -> tuple[Counter[Key], Counter[Key]]:
    positions: Any = Counter()
    changes: Any = Counter()
    f = tables.fills.c
    rows = connection.execute(select(f.venue, f.symbol, f.buy, f.price, f.quantity, f.fee))
    for venue, symbol, buy, price, quantity, fee in rows:
        base, quote = split_symbol(symbol)
        signed = quantity if buy else -quantity
        positions[venue, symbol] += signed
        changes[venue, base] += signed
        changes[venue, quote] -= signed * price + fee
    return positions, changes


def _sentence(shown: str, url: URL, error: DBAPIError) -> str:
    name = url.database or ""
    is_path = url.get_backend_name() == "sqlite" and name and not name.startswith("file:")
    file = Path(name) if is_path else None
    if file and file.is_dir():
        return f"ledger {shown}: is a directory, it should be a file"
    if file and not file.parent.is_dir():
        return f"ledger {shown}: the directory {file.parent} does not exist"
    return f"ledger {shown}: {_one_line(error.orig or error)}"


def _one_line(error: BaseException) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
