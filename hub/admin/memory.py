"""What a hub remembers over restarts: the configurations that were in force, and the operator's word on trading.

Two files in the state folder, each replaced as a whole: what is there after a crash is the old or the new. Without a
folder everything is remembered until the hub ends. Numbers of versions only ever rise.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from arbhub.service import ServiceError
from arbhub.settings.schema import Settings
from arbhub.state import TRADING_STATES
from hub.admin.changes import Content, changed, content, digest, with_content

HISTORY, TRADING = "history.json", "trading.json"
MAX_VERSIONS = 100


@dataclass(frozen=True, slots=True)
class Committed:
    """A configuration that came into force. `base` is the digest of what the hub's file said then."""

    number: int
    version: str
    committed_ns: int
    who: str
    why: str
    changed: tuple[str, ...]
    base: str
    content: Content


@dataclass(frozen=True, slots=True)
class TradingWord:
    """The operator's last word; `pending`: the ledger does not have it yet."""

    state: int
    why: str
    who: str
    said_ns: int
    pending: bool = True


@dataclass(slots=True)
class Memory:
    """`folder` None: in memory only. What cannot be read or written is an OSError, what makes no sense a ServiceError.

    `versions` has the latest last. A failed write changes nothing here either.
    """

    folder: Path | None
    versions: tuple[Committed, ...] = ()
    trading: TradingWord | None = None
    _base: str = ""

    @classmethod
    def opened(cls, state_dir: str) -> "Memory":
        """What the folder holds; it is made where there is none."""
        if not state_dir:
            return cls(None)
        folder = Path(state_dir)
        folder.mkdir(parents=True, exist_ok=True)
        memory = cls(folder)
        with _sensible(folder / HISTORY):
            memory.versions = tuple(_committed(entry) for entry in _read(folder / HISTORY) or ())
        with _sensible(folder / TRADING):
            word = _read(folder / TRADING)
            memory.trading = _word(word) if word else None
        return memory

    def begin(self, settings: Settings, now_ns: int) -> tuple[Settings, Committed]:
        """What a hub starts with whose file says this: what was last committed, unless the file has changed since."""
        self._base = digest(content(settings))
        last = self.versions[-1] if self.versions else None
        if last is not None and last.base == self._base:
            with contextlib.suppress(ValueError):  # written when other settings were known: the file counts
                settings = with_content(settings, last.content)
        if last is not None and last.content == content(settings) and last.version == settings.version(last.number):
            entry = replace(last, base=self._base)
            if entry != last:
                self._write((*self.versions[:-1], entry))
            return settings, entry
        entry = self.entry(settings, "start" if last is None else "start with another file", "", now_ns)
        self.commit(entry)
        return settings, entry

    def entry(self, settings: Settings, why: str, who: str, now_ns: int) -> Committed:
        """What would be the next version."""
        last = self.versions[-1] if self.versions else None
        number, live = (last.number if last else 0) + 1, content(settings)
        keys = tuple(changed(last.content, live)) if last else ()
        return Committed(number, settings.version(number), now_ns, who, why, keys, self._base, live)

    def commit(self, entry: Committed) -> None:
        """Write a version down; it is safe once this returns."""
        self._write((*self.versions, entry)[-MAX_VERSIONS:])

    def said(self, word: TradingWord) -> None:
        """Write the operator's word down."""
        if self.folder is not None:
            _replace(self.folder / TRADING, json.dumps(asdict(word)))
        self.trading = word

    def _write(self, versions: tuple[Committed, ...]) -> None:
        if self.folder is not None:
            _replace(self.folder / HISTORY, json.dumps([asdict(entry) for entry in versions]))
        self.versions = versions


def _committed(entry: dict[str, Any]) -> Committed:
    committed = Committed(**entry | {"changed": tuple(entry["changed"])})
    if not isinstance(committed.number, int) or not isinstance(committed.content, dict):
        raise TypeError("a version has a number and a content")
    return committed


def _word(entry: dict[str, Any]) -> TradingWord:
    word = TradingWord(**entry)
    if word.state not in TRADING_STATES.values():
        raise ValueError(f"there is no trading state {word.state}")
    return word


def _read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else None


@contextlib.contextmanager
def _sensible(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise ServiceError(
            f"{file}: is not what a hub writes there ({error}): mend it, or move it away to begin without"
        ) from None


def _replace(file: Path, text: str) -> None:
    """Write a file so that a crash leaves the old or the new one, whole; for the owner's eyes only."""
    new = file.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:  # noqa: PTH123  # of a number
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
