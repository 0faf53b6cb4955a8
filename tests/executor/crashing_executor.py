"""A desk on a ledger that kills its own process: run as a program, once for each place to die at.

usage: crashing_executor.py DIRECTORY    prints a line a run: the ledger's name and the reports that got out
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from executor_probes import FedDesk
from executor_story import BALANCES, STORY
from sqlalchemy import event

from executor.ledger import SqlLedger
from executor.opening import open_ledger

ENOUGH = 200


def die_at(engine: Any, place: int) -> None:
    """Kill the process with SIGKILL before its `place`-th statement or commit, counted from 0."""
    left = [place]

    def count(*_: object) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    event.listen(engine, "before_cursor_execute", count)
    event.listen(engine, "commit", count)


def run(ledger: Path, place: int, out: int) -> None:
    """Trade the story until death, telling `out` of every report that would have been sent."""
    engine = open_ledger(f"sqlite:///{ledger}")
    die_at(engine, place)
    fed = FedDesk(journal=SqlLedger(engine), balances=BALANCES)
    for ticks, decisions in STORY:
        for report in fed.step(ticks, decisions):
            fills = [[f.client_order_id, f.price, f.quantity] for f in report.fills]
            os.write(out, (json.dumps([report.sequence, report.kind, fills]) + "\n").encode())


def main(directory: Path) -> None:
    """One child for each place, until one lives to the end of the story."""
    for place in range(ENOUGH):
        ledger, told = directory / f"{place}.db", directory / f"{place}.jsonl"
        child = os.fork()
        if child == 0:
            run(ledger, place, os.open(told, os.O_CREAT | os.O_WRONLY))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))
    sys.exit(3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
