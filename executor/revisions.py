"""Which form a ledger has, and how it gets another: alembic's revisions, a straight line from oldest to newest.

Everything here happens on the caller's connection, in the transaction that it has begun. The tables that fence
executors off, `trading` and `epochs`, keep their form in every revision: releases that know different ones meet there.

A migration's module may have `lost(connection)`: what going down from it would lose, as a noun in a sentence, or ""
for nothing. Where it has none, or where something would be lost, going down must be forced.
"""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

VERSION_TABLE = "arbhub_ledger_version"
MIGRATIONS = Path(__file__).with_name("migrations")
BASE = "base"  # alembic's word for nothing


class RevisionError(Exception):
    """A ledger has a form that this release cannot do with, or cannot get another: a sentence without its subject."""


def head() -> str:
    """The newest revision that this release knows."""
    return known()[-1]


@cache
def known() -> tuple[str, ...]:
    """All revisions that this release knows, the oldest first."""
    return tuple(script.revision for script in _scripts())[::-1]


def current(connection: Connection) -> str | None:
    """The ledger's revision, None where there is no ledger yet; RevisionError where it is no ledger at all."""
    names = set(inspect(connection).get_table_names())
    if names and VERSION_TABLE not in names:
        some = ", ".join(sorted(names)[:3])
        raise RevisionError(f"is a database of something else, it has the tables {some}")
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def require_known(found: str | None) -> None:
    """RevisionError where this release does not know a ledger's revision."""
    if found is not None and found not in known():
        raise RevisionError(
            f"is of revision {found}, and this release knows none after {head()}: go back to the newer release, or let "
            f"that one take the ledger back by 'arbhub ledger migrate --to {head()}', as "
            "'deploy/deploy.sh --version previous' does"
        )


def require_head(connection: Connection) -> None:
    """RevisionError unless the ledger has the form that this release writes."""
    found = current(connection)
    require_known(found)
    if found != head():
        raise RevisionError(
            f"is of revision {found}, and this release writes {head()}, which it takes the ledger to when it starts"
        )


def upgrade(connection: Connection, to: str) -> None:
    """Take a ledger up to a revision, or make one of it."""
    command.upgrade(_config(connection), to)


def downgrade(connection: Connection, to: str, force: bool) -> None:
    """Take a ledger down to a revision, step by step; RevisionError where that would lose something, unless forced."""
    line = (BASE, *known())
    found = current(connection) or BASE
    for script in _scripts():
        at = line.index(script.revision)
        if line.index(to) < at <= line.index(found):
            _refuse_loss(connection, script, force)
            try:
                command.downgrade(_config(connection), line[at - 1])
            except CommandError as error:
                raise RevisionError(f"cannot be taken down from {script.revision}: {error}") from None


def _refuse_loss(connection: Connection, script: Script, force: bool) -> None:
    if not hasattr(script.module, "downgrade"):
        raise RevisionError(f"cannot be taken down from {script.revision}, whose migration has no way back")
    if force:
        return
    if not hasattr(script.module, "lost"):
        raise RevisionError(
            f"may lose something on the way down from {script.revision}, whose migration does not say what; "
            "--force takes it down all the same"
        )
    if lost := script.module.lost(connection):
        raise RevisionError(
            f"would lose {lost} on the way down from {script.revision}; --force takes it down all the same"
        )


def _scripts() -> list[Script]:
    return list(ScriptDirectory.from_config(_config()).walk_revisions())


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
