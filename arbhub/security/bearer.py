"""The bearer token of the admin and HTTP ports: compared in constant time, and not for ever anew.

Who fails again and again is not listened to for a while, with the right token neither: otherwise the rate would bind
nobody. There is a rate for each peer and one for all together; the latter leaves out peers that were let in before, so
that strangers' attempts never keep an operator from halting the trade. Memory is bounded: the peers longest unheard are
forgotten, and the rate for all still holds. Pure but for the clock that is handed in.
"""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from arbhub.security.secretfile import read_secret
from arbhub.service import ServiceError

MIN_CHARACTERS = 32
MAX_HEADER = 4096
HEADER = "authorization"

V = TypeVar("V")


class Access(Enum):
    """What came of a check, with a sentence for the caller."""

    GRANTED = "granted"
    WRONG = "a bearer token is needed here, as in 'Authorization: Bearer TOKEN', and the one given is not ours"
    LIMITED = "too many attempts without the right bearer token: try again later"


class Allowance:
    """So many failures at once, and another one every so often. Starts full."""

    __slots__ = ("_at_s", "_every_s", "_left", "_most")

    def __init__(self, most: int, every_s: float, now_s: float) -> None:
        self._most, self._every_s = most, every_s
        self._left, self._at_s = float(most), now_s

    def is_left(self, now_s: float) -> bool:
        """Whether another failure would be within the rate."""
        self._left = min(self._most, self._left + max(0.0, now_s - self._at_s) / self._every_s)
        self._at_s = now_s
        return self._left >= 1

    def take(self) -> None:
        """One has happened."""
        self._left -= 1


class Bearer:
    """One token. `granted`, `wrong` and `limited` count what was answered.

    The token itself is not kept, only its hash, so nothing that shows this object can show it.
    """

    PEER = (5, 10.0)
    """Failures of one peer: at once, and the seconds until it has another one."""
    ALL = (50, 1.0)
    MAX_PEERS = 1024
    MAX_KNOWN = 64

    def __init__(self, token: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self.granted = self.wrong = self.limited = 0
        self._digest, self._now_s = sha256(token.encode()).digest(), now_s
        self._everybody = Allowance(*self.ALL, now_s())
        self._peers: OrderedDict[str, Allowance] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def check(self, header: str | bytes | None, peer: str) -> Access:
        """Whether the caller's Authorization header, None where it has none, has the token.

        `peer` is where it calls from, an address without a port.
        """
        now_s = self._now_s()
        own = self._allowance(peer, now_s)
        if not own.is_left(now_s) or not (peer in self._known or self._everybody.is_left(now_s)):
            self.limited += 1
            return Access.LIMITED
        if self._is_ours(header):
            self.granted += 1
            _remember(self._known, peer, None, self.MAX_KNOWN)
            return Access.GRANTED
        self.wrong += 1
        own.take()
        if peer not in self._known:
            self._everybody.take()
        return Access.WRONG

    def _allowance(self, peer: str, now_s: float) -> Allowance:
        allowance = self._peers.get(peer) or Allowance(*self.PEER, now_s)
        _remember(self._peers, peer, allowance, self.MAX_PEERS)
        return allowance

    def _is_ours(self, header: str | bytes | None) -> bool:
        given = header.encode("utf-8", "surrogateescape") if isinstance(header, str) else header or b""
        scheme, _, token = given[:MAX_HEADER].partition(b" ")
        right = hmac.compare_digest(sha256(token.strip(b" ")).digest(), self._digest)
        return right and scheme.lower() == b"bearer" and len(given) <= MAX_HEADER


def _remember(kept: OrderedDict[str, V], key: str, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


def read_token(path: Path, key: str = "hub.token_file") -> str:
    """The token in a file that only we can read; ServiceError in a sentence that shows neither it nor the path.

    Only a caller needs the token itself; who checks it takes `bearer_of`.
    """
    try:
        token = read_secret(key, path, shown=False).decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if len(token) < MIN_CHARACTERS or len(token) > MAX_HEADER // 2 or not token.isprintable() or " " in token:
        raise ServiceError(
            f"{key}: the file it names should have one token of at least {MIN_CHARACTERS} plain characters without "
            f"spaces, such as 'openssl rand -hex 32' makes"
        )
    return token


def bearer_of(path: Path | None) -> Bearer | None:
    """What checks the token in the file that hub.token_file names; None where there is no such setting."""
    return None if path is None else Bearer(read_token(path))


def presented(token: str) -> tuple[tuple[str, str], ...]:
    """What a gRPC caller sends with its calls, as their `metadata`."""
    return ((HEADER, f"Bearer {token}"),)
