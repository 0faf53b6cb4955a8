"""Databases that a ledger can be on, each with nothing in it: a pytest plugin of fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import postgres_server
from sqlalchemy import create_engine, text


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server."""
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["file", "memory", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with nothing in it."""
    if request.param == "memory":
        return "sqlite://"
    if request.param == "file":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: str = request.getfixturevalue("postgres")
    with create_engine(server.replace("postgresql", "postgresql+psycopg"), isolation_level="AUTOCOMMIT").connect() as c:
        c.execute(text("DROP DATABASE IF EXISTS ledger WITH (FORCE)"))
        c.execute(text("CREATE DATABASE ledger"))
    return server.removesuffix("postgres") + "ledger"
