"""What is no ledger: one sentence for each, that says what is wrong and shows no password."""

import sqlite3
from pathlib import Path

import pytest

from arbhub.service import ServiceError
from executor.opening import open_ledger


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A directory with things that are no ledgers."""
    (tmp_path / "text.db").write_text("this is a text file, not a database, and long enough to be seen as such\n" * 99)
    (tmp_path / "directory.db").mkdir()
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE customers (id INTEGER)")
    other.close()
    open_ledger(f"sqlite:///{tmp_path / 'newer.db'}").dispose()
    open_ledger(f"sqlite:///{tmp_path / 'good.db'}").dispose()
    with sqlite3.connect(tmp_path / "newer.db") as newer:
        newer.execute("UPDATE arbhub_ledger_version SET version_num = '9999'")
    newer.close()
    return tmp_path


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:///{}/text.db", "ledger sqlite:///{}/text.db: file is not a database"),
        ("sqlite:///{}/directory.db", "ledger sqlite:///{}/directory.db: is a directory, it should be a file"),
        ("sqlite:///{}/no/ledger.db", "ledger sqlite:///{}/no/ledger.db: the directory {}/no does not exist"),
        (
            "sqlite:///{}/other.db",
            "ledger sqlite:///{}/other.db: is a database of something else, it has the tables customers",
        ),
        (
            "sqlite:///{}/newer.db",
            "ledger sqlite:///{}/newer.db: is of revision 9999, and this release knows none after 0001: *",
        ),
        ("sqlite:////proc/ledger.db", "ledger sqlite:////proc/ledger.db: unable to open database file"),
        ("sqlite:///file:{}/good.db?mode=ro&uri=true", "ledger sqlite:///file*: attempt to write a readonly database"),
        ("ledger.db", "ledger_url 'ledger.db' is no database URL: allowed are *"),
        ("", "ledger_url '' is no database URL: allowed are *"),
        ("redis://here", "ledger_url: databases of the kind 'redis' are not supported, allowed are *"),
        ("mysql://me:secret@here/x", "ledger_url: databases of the kind 'mysql' are not supported, allowed are *"),
        ("postgresql://me:secret@127.0.0.1:1/x", "ledger postgresql+psycopg://me:***@127.0.0.1:1/x: *"),
    ],
)
def test_what_is_no_ledger_is_said_in_one_sentence(places: Path, url: str, sentence: str) -> None:
    """The sentence names the ledger and what is wrong with it, in one line and without the password."""
    from fnmatch import fnmatchcase

    with pytest.raises(ServiceError) as caught:
        open_ledger(url.replace("{}", str(places)))
    said = str(caught.value)
    assert "\n" not in said
    assert "secret" not in said
    assert fnmatchcase(said, sentence.replace("{}", str(places)).replace("[", "[[]"))


def test_a_foreign_database_is_left_as_it_was(places: Path) -> None:
    """Refusing a database changes nothing in it."""
    with pytest.raises(ServiceError):
        open_ledger(f"sqlite:///{places / 'other.db'}")
    with sqlite3.connect(places / "other.db") as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]
    other.close()
