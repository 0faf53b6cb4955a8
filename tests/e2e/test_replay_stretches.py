"""What a replay judges together: no further than reports let it, and no verdict is another for being asked ahead."""

import asyncio
from pathlib import Path

import numpy as np
import orjson

from arbhub.cli.replay_ahead import AskedAhead, asked_ahead
from arbhub.cli.replay_loop import Replay
from arbhub.columns import Opportunities, Verdicts
from arbhub.engine import Engine, EngineConfiguration, verdicts
from arbhub.reference import Universe
from arbhub.settings.engines import EnginesSettings, FeeSettings
from arbhub.settings.risk import RiskSettings
from arbhub.settings.schema import Settings
from engines.table import ENGINES
from feeds.capture import line
from feeds.market import BookUpdate


class CountingEngine(Engine):
    """Says the row's sequence plus the number of control frames so far, and keeps how many rows it was asked."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.controls = 0

    def configure(self, configuration: EngineConfiguration) -> None:
        """Count it."""
        self.controls += 1

    def reference(self, universe: Universe) -> None:
        """Count it."""
        self.controls += 1

    def judge(self, opportunities: Opportunities) -> Verdicts:
        """Approve with a number that tells when it was asked."""
        self.asked.append(len(opportunities))
        n = len(opportunities)
        return verdicts(np.zeros(n, np.int64), opportunities.sequence.astype(np.float64) + 1000.0 * self.controls)


def batch(*sequences: int) -> Opportunities:
    """Opportunities that mean nothing but their sequences."""
    ints, floats = np.array(sequences, np.int64), np.ones(len(sequences))
    return Opportunities(*(ints,) * 6, *(floats,) * 4, *(ints,) * 3)


def test_a_batch_is_judged_once_however_it_is_asked() -> None:
    """Stretches get their own part of one answer; sequences may have gaps."""
    engine = CountingEngine()
    ahead, whole = AskedAhead(engine), batch(3, 4, 8, 9)
    ahead.ahead(whole)
    assert ahead.judge(whole.slice(1, 3)).bps.tolist() == [4.0, 8.0]
    assert ahead.judge(whole.slice(0, 1)).bps.tolist() == [3.0]
    assert ahead.judge(whole.slice(2, 4)).bps.tolist() == [8.0, 9.0]
    assert engine.asked == [4]


def test_control_frames_and_new_batches_are_heard() -> None:
    """What was judged under other settings, other reference data or of another batch counts no more."""
    engine = CountingEngine()
    ahead, whole = AskedAhead(engine), batch(3, 4)
    ahead.ahead(whole)
    ahead.judge(whole.slice(0, 1))
    ahead.configure(EngineConfiguration())
    assert ahead.judge(whole.slice(0, 1)).bps.tolist() == [1003.0]
    ahead.reference(Universe())
    assert ahead.judge(whole.slice(0, 1)).bps.tolist() == [2003.0]
    ahead.ahead(batch(5, 6))
    assert ahead.judge(batch(6)).bps.tolist() == [2006.0]


def test_only_engines_that_hear_no_state_are_asked_ahead() -> None:
    """A report changes what risk says, so it is asked every time."""
    engines = asked_ahead({name: engine() for name, engine in ENGINES.items()})
    assert {name for name, engine in engines.items() if not isinstance(engine, AskedAhead)} == {"risk"}
    assert all(engine.wants_depth == ENGINES[name].wants_depth for name, engine in engines.items())


def book(ms: int, venue: str, bid: float | None, ask: float) -> BookUpdate:
    """One level of 1 a side; silent without a bid."""
    sides = ((), ()) if bid is None else (((bid, 1.0),), ((ask, 1.0),))
    return BookUpdate(ms * 1_000_000, venue, "BTC/USD", *sides)


def reasons(capture: Path, batch: int, risk: RiskSettings) -> dict[int, str | None]:
    """Why each tick was not approved, by its time in ms."""
    engines = EnginesSettings(fee=FeeSettings(taker_bps=dict.fromkeys("ABCD", 1.0)))
    settings = Settings(engines=engines, risk=risk)
    out = capture.with_suffix(f".{batch}")
    asyncio.run(Replay(settings, [capture], batch=batch, skip_bad=False).to_the_end(out))
    decided = [orjson.loads(text) for text in out.read_bytes().splitlines()]
    return {row["ts_ns"] // 1_000_000: row["reason"] for row in decided}


def agreed(capture: Path, updates: list[BookUpdate], risk: RiskSettings) -> dict[int, str | None]:
    """The reasons for these updates, which are the same tick by tick and all at once."""
    capture.write_bytes(b"".join(line(update) for update in sorted(updates, key=lambda update: update.ts_ns)))
    singly = reasons(capture, 1, risk)
    assert reasons(capture, 1000, risk) == singly
    return singly


OFFERED = [book(ms, "CD"[ms // 10 % 2], *((103.0, 104.0), (99.0, 100.0))[ms // 10 % 2]) for ms in range(110, 410, 10)]


def test_a_decision_is_felt_a_latency_later(tmp_path: Path) -> None:
    """The first of many opportunities starts a pause that is known when its orders have been matched, and no later."""
    why = agreed(tmp_path / "capture.jsonl", OFFERED, RiskSettings(cooldown_ms=110.0))
    assert {why[ms] for ms in range(120, 170, 10)} == {None}
    assert {why[ms] for ms in range(170, 230, 10)} == {"COOLDOWN"}


def test_a_tick_that_lets_a_trade_go_on_is_felt_a_latency_later(tmp_path: Path) -> None:
    """A's silence leaves a trade open until A's next book: what that trades back frees the instrument 50 ms later."""
    dealt = [book(0, "A", 99.0, 100.0), book(1, "B", 103.0, 104.0), book(20, "B", None, 0.0), book(60, "A", None, 0.0)]
    updates = [*dealt, *OFFERED, book(205, "A", 99.0, 100.0)]
    why = agreed(tmp_path / "capture.jsonl", updates, RiskSettings(max_open_per_instrument=1.0))
    assert {why[ms] for ms in range(120, 260, 10)} == {"MAX_OPEN_PER_INSTRUMENT"}
    assert why[260] is None
