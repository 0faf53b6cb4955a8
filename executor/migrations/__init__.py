"""Alembic's scripts, run by `executor.revisions` on the connection it hands over; there is no alembic.ini."""
