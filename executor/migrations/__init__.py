"""Alembic's scripts, run by `executor.opening` on the connection it hands over; there is no alembic.ini."""
