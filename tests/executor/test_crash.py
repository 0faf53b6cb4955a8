"""kill -9 at every statement and commit of the ledger, then a restart: nothing twice, nothing lost, all adds up."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from executor_probes import FedDesk
from executor_story import BALANCES, STORY, books
from sqlalchemy import Engine, select

from arbhub.state import DENIED, EXECUTED, FLATTENED
from executor import tables
from executor.ledger import SqlLedger
from executor.opening import open_ledger

Told = list[tuple[int, int, list[tuple[str, float, float]]]]


@pytest.fixture(scope="module")
def wrecks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger, and what was reported of it, for every place to die at."""
    directory = tmp_path_factory.mktemp("wrecks")
    program = Path(__file__).with_name("crashing_executor.py")
    subprocess.run([sys.executable, program, directory], check=True, timeout=100)
    return directory


def told(path: Path) -> Told:
    """The reports that got out before death."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


def test_a_restart_finds_everything_right_wherever_the_old_one_was_killed(wrecks: Path) -> None:
    """What was reported is there, sums are sums of fills, and the story told again adds no fill to old decisions."""
    ledgers = sorted(wrecks.glob("*.db"), key=lambda path: int(path.stem))
    assert len(ledgers) > 40
    reported = [check(ledger, told(ledger.with_suffix(".jsonl"))) for ledger in ledgers]
    assert reported[0] == 0
    assert reported[-1] == 7
    assert set(reported) >= {0, 2, 3}


def check(ledger: Path, reports: Told) -> int:
    """Restart on one ledger; returns how many reports had got out."""
    engine = open_ledger(f"sqlite:///{ledger}")  # refuses what does not add up
    before = fills(engine)
    for _, kind, filled in reports:
        assert kind == DENIED or all(before[name, price] >= quantity for name, price, quantity in filled)
    fed = FedDesk(journal=SqlLedger(engine), balances=BALANCES)
    half_done = {(r.approved.epoch, r.approved.sequence) for group in fed.desk._stranded.values() for r in group}
    fed.step(books(1000, 5.0))
    fed.finish()
    # Old decisions gain nothing but what trades them back, and then nothing is left open.
    after = fills(engine)
    assert before.items() <= after.items()
    assert all("-flat-" in name for name, _ in after.keys() - before.keys())
    assert {report.sequence for report in fed.reports} == {sequence for _, sequence in half_done}
    assert not fed.desk._stranded
    o, d = tables.orders.c, tables.decisions.c
    with engine.begin() as connection:
        assert connection.execute(select(o.client_order_id).where(o.status == "sent")).all() == []
        assert connection.execute(select(d.sequence).where(d.status == "open")).all() == []
    net = sum(h.quantity for h in fed.desk._account.books.holdings.values())
    assert net == 0
    engine.dispose()
    open_ledger(f"sqlite:///{ledger}").dispose()
    return len(reports)


def fills(engine: Engine) -> dict[tuple[str, float], float]:
    """Quantity filled by (client order id, price)."""
    f = tables.fills.c
    with engine.begin() as connection:
        found = connection.execute(select(f.client_order_id, f.price, f.quantity)).all()
    return {(name, float(price)): float(quantity) for name, price, quantity in found}


def test_the_story_is_told_to_its_end_without_a_crash() -> None:
    """What the crash tests interrupt: five decisions, one of them twice, two of them traded back."""
    fed = FedDesk(balances=BALANCES)
    for ticks, decisions in STORY:
        fed.step(ticks, decisions)
    assert Counter(r.kind for r in fed.reports) == {EXECUTED: 4, DENIED: 1, FLATTENED: 2}
