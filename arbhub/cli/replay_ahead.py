"""Engines asked ahead: one that does not hear the ledger's state judges a batch once, however often a replay asks.

An engine's verdict depends on the row and on control frames only. So a report, for which a replay has to ask anew,
changes nothing that an engine without `wants_state` has said.
"""

from collections.abc import Mapping

import numpy as np

from arbhub.columns import Opportunities, Verdicts
from arbhub.engine import Engine, EngineConfiguration
from arbhub.reference import Universe


class AskedAhead(Engine):
    """An engine that judges the batch told by `ahead` once, and answers for any stretch of it from that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.reasons, self.wants_depth = engine.name, engine.reasons, engine.wants_depth
        self._batch: Opportunities | None = None
        self._judged: Verdicts | None = None

    def ahead(self, batch: Opportunities) -> None:
        """What is asked next are stretches of this batch."""
        self._batch, self._judged = batch, None

    def configure(self, configuration: EngineConfiguration) -> None:
        """Hand new settings on."""
        self._engine.configure(configuration)
        self._judged = None

    def reference(self, universe: Universe) -> None:
        """Hand new reference data on."""
        self._engine.reference(universe)
        self._judged = None

    def judge(self, opportunities: Opportunities) -> Verdicts:
        """The verdicts on a stretch of the batch, its sequences in order and without a gap."""
        if self._batch is None or len(opportunities) == len(self._batch):
            return self._engine.judge(opportunities)
        if self._judged is None:
            self._judged = self._engine.judge(self._batch)
        start = int(np.searchsorted(self._batch.sequence, opportunities.sequence[0]))
        return self._judged.slice(start, start + len(opportunities))


def asked_ahead(engines: Mapping[str, Engine]) -> dict[str, Engine]:
    """The same engines by name, those that hear no state asked ahead."""
    return {name: engine if engine.wants_state else AskedAhead(engine) for name, engine in engines.items()}
