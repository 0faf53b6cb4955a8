"""A ledger's form as something to ask for and to change, beside executors that run or not.

A change is one transaction. It waits until nobody writes, and takes a new epoch: an executor that was writing is
fenced off, and begins no epoch on a ledger of a form that is not its own. What stands in the way is one `ServiceError`.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select, text
from sqlalchemy.engine import URL

from arbhub.service import ServiceError
from executor import revisions, tables
from executor.ledger import begin_epoch
from executor.opening import engine_on, explained, is_in_memory, ledger_url, shown_url
from executor.reading import looking


@dataclass(frozen=True, slots=True)
class Moved:
    """From which revision to which a ledger went, and its epoch since; None in place of what is not there."""

    was: str | None
    now: str
    epoch: int | None


def revision(ledger: str) -> str | None:
    """The revision of the ledger at a URL, None where there is none yet."""
    url = _shared(ledger)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        return None
    with _said(url), looking(ledger) as connection:
        return revisions.current(connection)


def migrate(ledger: str, to: str | None = None, force: bool = False) -> Moved:
    """Take the ledger at a URL up or down to a revision, the newest unless one is named; where there is none, make it.

    Where it is there already nothing is done, and nobody fenced off. `force`: go down even where that loses something.
    """
    url = _shared(ledger)
    with _said(url):
        engine = engine_on(url)
        try:
            with engine.begin() as connection:
                return _moved(connection, to or revisions.head(), force)
        finally:
            engine.dispose()


def _moved(connection: Connection, to: str, force: bool) -> Moved:
    if to not in revisions.known():
        raise ServiceError(f"there is no revision {to}: this release knows {', '.join(revisions.known())}")
    was = revisions.current(connection)
    if was is not None:
        _wait_for_writers(connection)
        was = revisions.current(connection)
    revisions.require_known(was)
    if was == to:
        return Moved(was, to, None)
    if was is None or revisions.known().index(was) < revisions.known().index(to):
        revisions.upgrade(connection, to)
    else:
        revisions.downgrade(connection, to, force)
    held = connection.execute(select(tables.trading.c.epoch)).scalar_one()
    return Moved(was, to, begin_epoch(connection, held))


def _wait_for_writers(connection: Connection) -> None:
    """Whoever writes holds a row of `trading` first: having waited here, we wait for readers only."""
    if connection.dialect.name == "postgresql":  # SQLite's lock is taken as the transaction begins
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
        connection.execute(text("LOCK TABLE trading IN ACCESS EXCLUSIVE MODE"))


def _shared(ledger: str) -> URL:
    url = ledger_url(ledger)
    if is_in_memory(url):
        raise ServiceError(f"ledger {shown_url(url)}: is in the executor's memory, where it always has the newest form")
    return url


@contextlib.contextmanager
def _said(url: URL) -> Iterator[None]:
    try:
        with explained(url):
            yield
    except revisions.RevisionError as error:
        raise ServiceError(f"ledger {shown_url(url)}: {error}") from None
