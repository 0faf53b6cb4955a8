"""The last line of defence: what goes to standard output and standard error has no secret of the configuration in it.

Settings do not show their secrets. But libraries put addresses into their errors, and asyncio, gRPC and tracebacks
write past our log; so the streams themselves leave out what is known to be secret.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast
from urllib.parse import quote

import orjson

from arbhub.settings.secret import HIDDEN

MIN_CHARACTERS = 6
"""Shorter ones are words and numbers that occur everywhere. Settings hide these all the same."""


class HidingStream:
    """A text stream that writes `***` for each of its secrets; all else is the stream's own."""

    def __init__(self, stream: TextIO, secrets: Iterable[str]) -> None:
        self._stream = stream
        forms = {form for secret in secrets if len(secret) >= MIN_CHARACTERS for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def write(self, text: str) -> int:
        """Write, without secrets."""
        self._stream.write(self._secret.sub(HIDDEN, text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """The same."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def hide(secrets: Iterable[str]) -> None:
    """Leave these out of whatever this process writes to its standard streams from here on."""
    known = frozenset(secrets)
    if known:
        sys.stdout = cast(TextIO, HidingStream(sys.stdout, known))
        sys.stderr = cast(TextIO, HidingStream(sys.stderr, known))


def _forms(secret: str) -> Iterable[str]:
    """As it is, and as JSON, Python and URLs write it."""
    return secret, orjson.dumps(secret).decode()[1:-1], repr(secret)[1:-1], quote(secret, safe="")
