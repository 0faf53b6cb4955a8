"""Alembic's entry: migrate on the connection, and in the transaction, that `executor.revisions` was given."""

from alembic import context

from executor.revisions import VERSION_TABLE
from executor.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
