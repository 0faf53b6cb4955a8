"""The audit trail: a line for every admin act and every refusal, with who, what, which version and how it ended.

Each is a structured log line with `audit=true`, and a line of JSON in the file where one is configured, on disk by the
time `record` returns. Files are written in a thread, in order: the disk holds up no decision. A trail that cannot be
written is an error in the log but stops nobody: a halt must not wait for a full disk to be mended.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import orjson
import structlog

from arbhub.service import ServiceError

MAX_TEXT = 1000  # characters of a value: what a caller says is kept, however much of it there is, in a line

log = structlog.get_logger()


class Audit:
    """One trail. `failed` counts the lines that did not get to the file. Close it at the end."""

    def __init__(self, file: Path | None = None, wall_ns: Callable[[], int] = time.time_ns) -> None:
        """ServiceError where the file cannot be written."""
        self.failed = 0
        self._file, self._wall_ns, self._torn = file, wall_ns, False
        self._thread = ThreadPoolExecutor(1, "audit")
        if file is not None:
            try:
                os.close(_opened(file))
                _sync_folder(file.parent)
            except OSError as error:
                raise ServiceError(f"hub.audit_file: {file} cannot be written: {error.strerror}") from None

    async def record(self, *, who: str, what: str, outcome: str, version: str = "", **details: object) -> None:
        """Write one act down. `outcome` is "done" or says why not; `version` is the configuration's after it.

        Nobody may put a token or another secret into any of these.
        """
        said = {"who": who, "what": what, "version": version, "outcome": outcome, **details}
        entry = {name: _plain(value) for name, value in said.items()}
        log.info("admin", audit=True, **entry)
        if self._file is None:
            return
        at = datetime.fromtimestamp(self._wall_ns() / 1e9, UTC).isoformat()
        line = orjson.dumps({"at": at, "audit": True, **entry}) + b"\n"
        try:
            # Whoever acts may go away meanwhile; what is begun is written all the same.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._append, line))
        except OSError as error:
            self.failed += 1
            log.error("the audit trail was not written", file=str(self._file), error=error.strerror)

    def close(self) -> None:
        """Let what is under way be written."""
        self._thread.shutdown()

    def _append(self, line: bytes) -> None:
        assert self._file is not None  # noqa: S101  # nobody comes here without one
        file = _opened(self._file)
        try:
            whole = b"\n" + line if self._torn else line
            self._torn = os.write(file, whole) < len(whole)
            if self._torn:
                raise OSError(28, "the line was written in part")
            os.fsync(file)
        finally:
            os.close(file)


def _plain(value: object) -> object:
    """Numbers and truths as they are; the rest as text without control characters, which terminals would obey."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)[:MAX_TEXT]
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _opened(file: Path) -> int:
    # Opened for every line, so that a trail may be moved away while it is written.
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)


def _sync_folder(folder: Path) -> None:
    """That the file is there is on disk too."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
