"""An executor whose ledger finds its disk full for as long as a file exists: run as a program.

usage: crowded_disk_executor.py FILE executor --config ...    the words behind FILE are those of `arbhub`

SQLite itself refuses to let the ledger grow: its page limit is set to what there is, and lifted again.
"""

import sys
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from arbhub.cli.main import main

NO_LIMIT = 1_073_741_823  # pages: what SQLite has where nobody sets one


def crowd(full: Path) -> None:
    """Before every transaction, look whether the disk is to be full."""

    def on_checkout(connection: Any, _record: object, _proxy: object) -> None:
        # SQLite raises a limit below the present size to that size.
        connection.execute(f"PRAGMA max_page_count={1 if full.exists() else NO_LIMIT}")

    event.listen(Pool, "checkout", on_checkout)


if __name__ == "__main__":
    crowd(Path(sys.argv.pop(1)))
    main()
