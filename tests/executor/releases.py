"""Releases of arbhub that know different revisions of the ledger: this one, and such as come after it."""

import io
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from arbhub.cli.main import main
from executor import revisions

COLUMN = '''
"""A column more, of what each decision was worth to somebody."""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

def upgrade():
    op.add_column("decisions", sa.Column("note", sa.String(), nullable=False, server_default=""))

def lost(connection):
    notes = sa.select(sa.func.count()).select_from(sa.table("decisions")).where(sa.column("note") != "")
    found = connection.execute(notes).scalar_one()
    return f"{found} notes" if found else ""

def downgrade():
    op.drop_column("decisions", "note")
'''
SILENT = '''
"""A table more, and not a word of what is lost without it."""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"

def upgrade():
    op.create_table("remarks", sa.Column("text", sa.String()))

def downgrade():
    op.drop_table("remarks")
'''
BROKEN = '''
"""It changes something, and then fails."""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

def upgrade():
    op.create_table("remarks", sa.Column("text", sa.String()))
    op.execute("INSERT INTO nowhere VALUES (1)")
'''


class Release:
    """An arbhub on the command line, in this process, with migrations of its own after those that there are."""

    def __init__(self, folder: Path | None = None, *migrations: str) -> None:
        """`folder` gets a copy of the migrations; without one it is this very release."""
        self._migrations = revisions.MIGRATIONS if folder is None else folder
        if folder is not None:
            shutil.copytree(revisions.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
            for number, text in enumerate(migrations, start=2):
                (folder / f"versions/ledger_{number:04}.py").write_text(text)

    def arbhub(self, *words: str) -> tuple[int, str]:
        """Run a command to its end: its exit code, and the one line that it said."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            patch.setattr(revisions, "MIGRATIONS", self._migrations)
            patch.setattr(sys, "argv", ["arbhub", *words])
            revisions.known.cache_clear()
            with pytest.raises(SystemExit) as ended:
                main()
        revisions.known.cache_clear()
        assert said.getvalue().count("\n") == 1, said.getvalue()
        return int(ended.value.code or 0), said.getvalue().strip()
