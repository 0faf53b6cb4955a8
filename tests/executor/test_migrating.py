"""`arbhub ledger`: a ledger goes up and down between releases that know different forms of it, and nothing is lost."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from executor_probes import A, B, Decision, FedDesk, Tick
from releases import BROKEN, COLUMN, SILENT, Release
from sqlalchemy import Engine, inspect, select, text

from arbhub.service import ServiceError
from executor import migrating, revisions, tables
from executor.journal import FencedError
from executor.ledger import LedgerUnavailableError, SqlLedger
from executor.opening import engine_on, ledger_url, open_ledger

pytest_plugins = ("databases",)
not_in_memory = pytest.mark.parametrize("url", ["file", "postgresql"], indirect=True)


class Place:
    """A ledger that releases are let at."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url, self._config = url, folder / "arbhub.toml"
        self._config.write_text(tomli_w.dumps({"executor": {"ledger_url": url}}))
        self.now = Release()
        self.next = Release(folder / "next", COLUMN)
        self.last = Release(folder / "last", COLUMN, SILENT)

    def asked(self, release: Release, *words: str) -> str:
        """What `arbhub ledger` says where it works."""
        code, said = release.arbhub("ledger", *words, "--config", str(self._config))
        assert code == 0, said
        return said

    def refused(self, release: Release, *words: str) -> str:
        """What it says where it must not."""
        code, said = release.arbhub("ledger", *words, "--config", str(self._config))
        assert code == 1, said
        return said

    def traded(self) -> None:
        """A filled decision, by this release."""
        engine = open_ledger(self.url)
        fed = FedDesk(journal=SqlLedger(engine))
        fed.step([A, B], [Decision(1, 0)])
        fed.finish()
        engine.dispose()

    def rows(self) -> dict[str, list[Any]]:
        """All that the ledger holds, but for epochs."""
        engine = engine_on(ledger_url(self.url))
        named = (t for t in tables.metadata.sorted_tables if t.name not in ("trading", "epochs"))
        with engine.begin() as connection:
            found = {table.name: sorted(connection.execute(select(table)).all(), key=str) for table in named}
        engine.dispose()
        return found

    def run(self, statement: str) -> list[Any]:
        """What the database answers; it is changed where the statement says so."""
        engine = engine_on(ledger_url(self.url))
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            found = [row[0] for row in result] if result.returns_rows else []
        engine.dispose()
        return found


@pytest.fixture
def place(tmp_path: Path, url: str) -> Place:
    """A place without a ledger, yet."""
    return Place(tmp_path, url)


def test_the_newest_revision_needs_no_configuration() -> None:
    """It is the release's own, and what a new ledger gets."""
    asked = subprocess.run(
        (sys.executable, "-m", "arbhub", "ledger", "head"), capture_output=True, timeout=60, check=True
    )
    assert asked.stdout.decode() == f"{revisions.head()}\n"


@not_in_memory
def test_a_ledger_goes_up_and_down_with_all_that_is_in_it(place: Place) -> None:
    """Each time into a new epoch; the release of the form it has then trades on, and one of an older form refuses."""
    assert place.asked(place.now, "revision") == "none"
    assert place.asked(place.now, "migrate") == "the ledger went from revision none to 0001, now in epoch 1"
    place.traded()
    before = place.rows()
    assert len(before["fills"]) == 2
    assert place.asked(place.now, "revision") == "0001"
    assert place.asked(place.next, "migrate") == "the ledger went from revision 0001 to 0002, now in epoch 3"
    assert place.asked(place.next, "revision") == "0002"
    assert place.run("SELECT note FROM decisions") == [""]
    assert place.rows() == before
    with pytest.raises(ServiceError, match="is of revision 0002") as caught:
        open_ledger(place.url)
    assert "knows none after 0001" in str(caught.value)
    assert "'arbhub ledger migrate --to 0001'" in str(caught.value)
    assert "knows none after 0001" in place.refused(place.now, "migrate", "--to", "0001")
    said = place.asked(place.next, "migrate", "--to", "0001")
    assert said == "the ledger went from revision 0002 to 0001, now in epoch 4"
    assert place.rows() == before
    place.traded()
    assert len(place.rows()["fills"]) == 4
    assert place.run("SELECT epoch FROM epochs ORDER BY epoch") == [1, 2, 3, 4, 5]


@not_in_memory
def test_who_is_there_already_is_left_alone(place: Place) -> None:
    """No epoch is taken, so that an executor that writes goes on."""
    fed = FedDesk(journal=SqlLedger(open_ledger(place.url)))
    assert place.asked(place.now, "migrate", "--to", "0001") == "the ledger is at revision 0001 already"
    fed.step([A, B], [Decision(1, 0)])
    assert fed.finish()


@not_in_memory
def test_an_executor_of_the_other_form_writes_no_more(place: Place) -> None:
    """It is fenced off, begins no epoch while the form is not its own, and trades again when it is."""
    fed = FedDesk(journal=SqlLedger(open_ledger(place.url)))
    place.asked(place.next, "migrate")
    with pytest.raises(FencedError):
        fed.step([A, B], [Decision(1, 0)])
    with pytest.raises(LedgerUnavailableError, match="is of revision 0002, and this release knows none after 0001"):
        fed.open()
    assert place.run("SELECT count(*) FROM decisions") == [0]
    place.asked(place.next, "migrate", "--to", "0001")
    assert fed.open().epoch == 4
    fed.step([Tick(500, "A", *A[2:4]), Tick(500, "B", *B[2:4])], [Decision(1, 500)])
    assert fed.finish()


@not_in_memory
def test_what_would_be_lost_is_lost_by_force_only(place: Place) -> None:
    """A migration says what; one that says nothing is not believed; what is refused half-way down is refused whole."""
    place.traded()
    place.asked(place.last, "migrate")
    place.run("UPDATE decisions SET note = 'kept'")
    said = place.refused(place.last, "migrate", "--to", "0001")
    assert "may lose something on the way down from 0003, whose migration does not say what; --force" in said
    assert place.asked(place.last, "revision") == "0003"
    assert place.asked(place.last, "migrate", "--to", "0002", "--force").startswith(
        "the ledger went from revision 0003"
    )
    epochs = place.run("SELECT epoch FROM trading")
    assert "would lose 1 notes on the way down from 0002; --force" in place.refused(
        place.last, "migrate", "--to", "0001"
    )
    assert (place.run("SELECT note FROM decisions"), place.run("SELECT epoch FROM trading")) == (["kept"], epochs)
    place.asked(place.last, "migrate", "--to", "0001", "--force")
    assert place.asked(place.now, "revision") == "0001"
    place.traded()


@not_in_memory
def test_a_migration_that_fails_changes_nothing(place: Place, tmp_path: Path) -> None:
    """The tables, the revision and the epoch stay, and the executor that writes goes on."""
    fed = FedDesk(journal=SqlLedger(open_ledger(place.url)))
    assert "nowhere" in place.refused(Release(tmp_path / "broken", BROKEN), "migrate")
    assert place.asked(place.now, "revision") == "0001"
    assert not _has(open_ledger(place.url), "remarks")
    fed.step([A, B], [Decision(1, 0)])
    assert fed.finish()


@not_in_memory
def test_nonsense_is_said(place: Place) -> None:
    """A revision that nobody knows, a database of something else, a ledger in memory: a sentence each."""
    assert "there is no revision 0009: this release knows 0001, 0002" in place.refused(
        place.next, "migrate", "--to", "0009"
    )
    assert place.asked(place.now, "revision") == "none"
    in_memory = ("--set", "executor.ledger_url=sqlite://")
    assert "in the executor's memory" in place.refused(place.now, "migrate", *in_memory)
    place.run("CREATE TABLE customers (id INTEGER)")
    for words in (["revision"], ["migrate"]):
        assert "is a database of something else, it has the tables customers" in place.refused(place.now, *words)


def test_a_ledger_with_anything_in_it_is_never_dropped(url: str) -> None:
    """The first revision is undone only where nothing was ever written, whatever the force."""
    engine = open_ledger(url)
    SqlLedger(engine).take_epoch()
    with pytest.raises(revisions.RevisionError, match="its epochs are not empty"), engine.begin() as connection:
        revisions.downgrade(connection, revisions.BASE, force=True)
    assert _has(engine, "fills")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM epochs"))
        connection.execute(text("INSERT INTO costs VALUES ('A/B', '1', '1')"))
    with pytest.raises(revisions.RevisionError, match="its costs are not empty"), engine.begin() as connection:
        revisions.downgrade(connection, revisions.BASE, force=True)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM costs"))
        revisions.downgrade(connection, revisions.BASE, force=True)
        assert inspect(connection).get_table_names() == [revisions.VERSION_TABLE]
    engine.dispose()


@pytest.mark.parametrize("url", ["file"], indirect=True)
def test_asking_makes_no_file(url: str, tmp_path: Path) -> None:
    """Where there is no ledger, there is none afterwards."""
    assert migrating.revision(url) is None
    assert list(tmp_path.iterdir()) == []


def _has(engine: Engine, table: str) -> bool:
    with engine.begin() as connection:
        return inspect(connection).has_table(table)
