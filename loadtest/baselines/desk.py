"""One stream's market: the hub's books and fold, taken one tick at a time.

A tick enters the books when it is taken up, in the order of the stream, before anything is waited for; so however
many ticks are asked about at a time, each is judged by the books as of itself.
"""

import asyncio
from dataclasses import fields

import numpy as np

from arbhub.columns import Decisions, Ints, Ticks, Verdicts
from arbhub.control import encode_reference
from arbhub.engine import EngineConfiguration
from arbhub.reference import ReferenceData, Universe
from arbhub.settings.schema import Settings
from arbhub.v1 import engine_pb2
from hub.book import Books
from hub.policy import Ballot, Terms, decisions, fold
from hub.reasons import ReasonTable
from loadtest.baselines.asking import Answers, Design, Question, RemoteEngine

AT_A_TIME = 64  # ticks asked about; more only wait in gRPC's queues


class Desk:
    """A market from its reference data on. `universe` has the client's ids, as they were given."""

    def __init__(self, settings: Settings, engines: list[RemoteEngine], design: Design, data: ReferenceData) -> None:
        hub = settings.hub
        self.universe, self._reasons = Universe(), ReasonTable()
        self.universe.merge(data)
        self.universe.merge(settings.reference.data())  # the configuration's word stands
        self._settings, self._engines, self._design = settings, engines, design
        self._books = Books(self.universe, hub.max_quote_age_ms, hub.depth)
        self._terms = Terms(self.universe, hub.min_net_edge_bps, int(hub.decision_ttl_ms * 1e6), executor_up=False)
        self._deadline_s = hub.deadline_ms / 1e3
        self._codes: list[tuple[Ints, int]] = []
        self._sequence = 0

    async def open(self) -> None:
        """Tell every engine its settings and the market; AioRpcError where one is not there."""
        s = self._settings
        content = EngineConfiguration(engines=s.engines, risk=s.risk).model_dump_json().encode()
        configuration = engine_pb2.Configuration(version=s.version(), settings_json=content).SerializeToString()
        reference = encode_reference(self.universe).SerializeToString()
        for engine in self._engines:
            await engine.begin(configuration, reference)
            table = self._reasons
            self._codes.append((table.engine(tuple(engine.hello.reasons)), table.timeout(engine.name)))

    async def decide(self, ticks: Ticks) -> Decisions:
        """A decision a tick, in order, once all of them are made."""
        ticks = ticks.truncated(self._books.depth)
        made: dict[int, Decisions] = {}
        rows = iter(range(len(ticks)))

        async def take_up() -> None:
            for row in rows:
                made[row] = await self._decide(ticks.slice(row, row + 1))

        async with asyncio.TaskGroup() as takers:
            for _ in range(min(AT_A_TIME, len(ticks))):
                takers.create_task(take_up())
        return _joined([made[row] for row in range(len(ticks))] or [await self._decide(ticks)])

    async def _decide(self, tick: Ticks) -> Decisions:
        first = self._sequence
        self._sequence += len(tick)
        resolved = self._books.apply(tick, first, depth=True)
        answers: Answers = [None] * len(self._engines)
        if len(resolved.opportunities):
            question = Question.of(resolved.opportunities)
            answers = await self._design(self._engines, question, self._deadline_s)
        folded = fold(resolved.opportunities, self._ballots(answers), self._terms)
        return decisions((tick, first, resolved), folded, self._terms, self._reasons.names)

    def _ballots(self, answers: Answers) -> list[Ballot[Verdicts | None]]:
        asked = zip(self._engines, answers, self._codes, strict=True)
        return [Ballot(engine.name, answer, *codes) for engine, answer, codes in asked]


def _joined(parts: list[Decisions]) -> Decisions:
    """All rows in order; the reasons of one desk are one list."""
    columns = (f.name for f in fields(Decisions) if f.name != "reasons")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    return Decisions(**joined, reasons=parts[-1].reasons)
