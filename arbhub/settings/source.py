"""Where a service's configuration came from, so that it can be read again, or another in its place."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from arbhub.settings.load import load, load_text
from arbhub.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class Source:
    """The file and the options a service was started with. Variables and options count over any text."""

    path: Path | None = None
    assignments: tuple[str, ...] = ()

    def read(self, text: str | None = None, sets: Iterable[str] = ()) -> Settings:
        """The file as it is now, or `text` in its place, with `sets` over all; SettingsError says what is wrong."""
        assignments = (*self.assignments, *sets)
        if text is None:
            return load(self.path, assignments)
        return load_text(text, "the configuration sent", assignments)
