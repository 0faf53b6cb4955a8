"""Reason codes: the hub's own, and those that engines bring, as numbers within one hub's life.

Code 0 is "approved". An engine states its reasons when it connects; they are given codes then, once each.
"""

from collections.abc import Sequence

import numpy as np

from arbhub.columns import Ints

APPROVED, SHED, NO_COUNTERPART, SAME_VENUE, EXECUTOR_UNAVAILABLE, QUANTITY_TOO_SMALL, NET_EDGE_TOO_LOW = range(7)
OWN = (
    "",
    "SHED",
    "NO_COUNTERPART",
    "SAME_VENUE",
    "EXECUTOR_UNAVAILABLE",
    "QUANTITY_TOO_SMALL",
    "NET_EDGE_TOO_LOW",
)


class ReasonTable:
    """Names by code; grows as engines state theirs."""

    def __init__(self) -> None:
        self.names: list[str] = list(OWN)
        self._codes = {name: code for code, name in enumerate(OWN)}

    def code(self, name: str) -> int:
        """The code of a reason, given now if it had none."""
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]

    def timeout(self, engine: str) -> int:
        """The code of an engine's silence."""
        return self.code(f"ENGINE_TIMEOUT:{engine}")

    def engine(self, reasons: Sequence[str]) -> Ints:
        """Codes of an engine's reasons, indexed by its own numbers (from 1; 0 stands for none)."""
        return np.array([APPROVED, *(self.code(reason) for reason in reasons)], np.int64)
