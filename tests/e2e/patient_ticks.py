"""Known ticks from a client that gives none up: what has no answer when a stream ends is offered to the next one.

That is what a client may do at an orderly end: a hub that drains answers all that it accepted. What is due while there
is no stream waits for one.
"""

import time

import numpy as np
from known_ticks import KnownTicks

from arbhub.columns import Ints
from arbhub.queueing import Shed
from arbhub.v1 import hub_pb2


class PatientTicks(KnownTicks):
    """`answers` counts them for each tick; `stream` is the number of the stream that its answer came over."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.answers, self.stream = np.zeros(len(self.answered_ns), np.int64), np.zeros(len(self.answered_ns), np.int64)
        self.streams = 0
        self._kept: Ints = np.zeros(0, np.int64)

    @property
    def settled(self) -> bool:
        """Whether every tick that was due has an answer."""
        return bool(self.answers[: self.due].all())

    def after(self, from_ns: int, streams: int) -> Ints:
        """When answers came over later streams than so many, since a time; monotonic ns, ascending."""
        found = (self.answered_ns >= from_ns) & (self.stream > streams)
        return np.sort(self.answered_ns[found])

    def traded(self) -> set[tuple[int, int]]:
        """Epoch and sequence of every approval that an answer has told of."""
        return set(zip(self.epoch[self.approved].tolist(), self.sequence[self.approved].tolist(), strict=True))

    def _offer(self, rows: Ints, now_ns: int) -> None:
        waiting = np.concatenate([self._kept, rows])
        shed = self._link.offer(waiting, self._key[waiting])
        if shed is None:
            self._kept = waiting
            return
        self._kept = waiting[:0]
        self.sent_ns[waiting] = now_ns
        self.wrong += [f"{len(part.rows)} ticks overflowed the client's queue" for part in shed]

    def received(self, message: bytes) -> None:
        """Names come first over a stream."""
        was_up = self._link.up
        super().received(message)
        self.streams += self._link.up and not was_up

    def down(self, lost: list[Shed[Ints]]) -> None:
        """What was under way goes before what came later, in the order of the market."""
        rows = [part.payload[part.rows] for part in lost]
        self._kept = np.sort(np.concatenate([*rows, self._kept]))
        self._sequence = -1

    def _decided(self, batch: hub_pb2.DecisionBatch) -> None:
        now_ns = time.monotonic_ns()
        super()._decided(batch)
        rows = np.nonzero(self.answered_ns >= now_ns)[0]
        self.answers[rows] += 1
        self.stream[rows] = self.streams
