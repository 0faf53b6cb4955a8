"""A backup on disk: a folder with a copy of the ledger, the state folder, configurations and whatever else is given.

manifest.json says what it is, SHA256SUMS the sum of every other file, in the form of sha256sum. A folder of the final
name is whole: it is written beside that and moved there at the end. All of it is its owner's alone, as configurations
may hold passwords.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from arbhub.service import ServiceError

FORMAT = 1
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
STATE, CONFIGS, MORE = "state", "configs", "more"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is. `ledger` names the file of its ledger."""

    made_at: str
    arbhub: str
    config_version: str
    ledger: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Parts:
    """What goes into a backup beside the ledger: files and folders, each by the place it has in it."""

    state: Path | None
    configs: tuple[Path, ...]
    more: tuple[Path, ...]

    def files(self) -> Iterator[tuple[str, Path]]:
        """(place within the backup, file); ServiceError where one is not there."""
        if self.state is not None and self.state.is_dir():  # a hub that never ran has none
            yield from _below(STATE, self.state)
        for place, paths in ((CONFIGS, self.configs), (MORE, self.more)):
            for path in paths:
                if path.is_dir():
                    yield from _below(f"{place}/{path.name}", path)
                elif path.is_file():
                    yield f"{place}/{path.name}", path
                else:
                    raise ServiceError(f"{path}: there is no such file or folder to back up")


def write(folder: Path, parts: Parts, ledger: Callable[[Path], Manifest]) -> list[str]:
    """Write a backup at `folder`, which must not be there; the files in it. `ledger` writes its copy into a folder."""
    if folder.exists():
        raise ServiceError(f"{folder}: is there already; a backup is never written over another")
    new = folder.with_name(f"{folder.name}.partial")
    if new.exists():
        raise ServiceError(f"{new}: a backup that was not finished: another is under way, or remove it")
    new.mkdir(parents=True, mode=0o700)
    try:
        manifest = ledger(new)
        for place, file in parts.files():
            to = new / place
            to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(file, to)
        (new / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
        names = sorted(_names(new))
        (new / SUMS).write_text("".join(f"{_sum(new / name)}  {name}\n" for name in names))
        for name in (*names, SUMS):
            (new / name).chmod(0o600)
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new)
        raise
    return names


def checked(folder: Path) -> Manifest:
    """What a backup is, all of it read and found to be as it was written; ServiceError says what is not."""
    try:
        sums = dict(_sums_of((folder / SUMS).read_text()))
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text()))
    except OSError as error:
        raise ServiceError(f"{folder}: is no backup, or not all of one: {error.filename}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise ServiceError(f"{folder}: {MANIFEST} or {SUMS} is damaged: {error}") from None
    if manifest.format != FORMAT:
        raise ServiceError(f"{folder}: is of format {manifest.format}, this version of arbhub reads {FORMAT}")
    if Path(manifest.ledger).name not in sums or manifest.ledger != Path(manifest.ledger).name:
        raise ServiceError(f"{folder}: {MANIFEST} is damaged: it names the ledger {manifest.ledger!r}")
    there = set(_names(folder)) - {SUMS}
    for name in sorted(sums.keys() | there):
        if name not in there:
            raise ServiceError(f"{folder}: {name} is missing")
        if name not in sums:
            raise ServiceError(f"{folder}: {name} was not there when the backup was made")
        if _sum(folder / name) != sums[name]:
            raise ServiceError(f"{folder}: {name} is not as it was written: its checksum differs")
    return manifest


def in_the_way(folder: Path, place: str, to: Path) -> list[Path]:
    """The files that putting back a part of a backup at `to` would replace with others."""
    pairs = ((to / name, folder / place / name) for name in _names(folder / place))
    return [there for there, copy in pairs if there.exists() and there.read_bytes() != copy.read_bytes()]


def put_back(folder: Path, place: str, to: Path) -> list[Path]:
    """Put the files of a part of a backup back at `to`, each as a whole; where they are then."""
    put = []
    for name in sorted(_names(folder / place)):
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f"{target.name}.new")
        shutil.copyfile(folder / place / name, new)
        new.chmod(0o600)
        new.replace(target)
        put.append(target)
    return put


def _below(place: str, folder: Path) -> Iterator[tuple[str, Path]]:
    return ((f"{place}/{name}", folder / name) for name in _names(folder))


def _names(folder: Path) -> Iterator[str]:
    return (str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _sums_of(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        found, _, name = line.partition("  ")
        if not name:
            raise ValueError(f"{line!r} is no line of {SUMS}")
        yield name, found


def _sum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
