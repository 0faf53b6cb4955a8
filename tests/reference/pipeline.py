"""arbhub's own way from ticks to decisions, as the hub goes it with every engine in its process, but without I/O.

What comes out is in the model's form, so that the two can be compared to the bit.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from arbhub import rows, rowwire, wire
from arbhub.columns import NO_VENUE, Decisions, Floats, Ints, Side, Ticks
from arbhub.engine import Engine, EngineConfiguration
from arbhub.reference import Listing, ReferenceData, Universe
from arbhub.rows import MAX_ROWS
from arbhub.settings.engines import EnginesSettings, FeeSettings, LiquiditySettings, SpreadSettings
from arbhub.state import ACTIVE, LedgerValues, Snapshot
from engines.table import ENGINES
from hub.book import Books, Resolved
from hub.policy import Ballot, Terms, decisions, fold
from hub.reasons import ReasonTable
from hub.rowbook import ResolvedRow, RowBooks
from hub.rowfold import decide, sound

from .model import Decision, ModelSettings, Tick

TTL_NS = 1_000_000_000


def configuration(settings: ModelSettings) -> EngineConfiguration:
    """The engines' configuration that the model's settings stand for; all risk limits are off."""
    spread = SpreadSettings(
        max_gross_edge_bps=settings.max_gross_edge_bps,
        max_leg_skew_ms=settings.max_leg_skew_ms,
        min_edge_age_ms=settings.min_edge_age_ms,
    )
    fee, liquidity = FeeSettings(taker_bps=settings.taker_bps), LiquiditySettings(max_notional=settings.max_notional)
    return EngineConfiguration(engines=EnginesSettings(spread=spread, fee=fee, liquidity=liquidity))


def listings(ticks: Iterable[Tick], settings: ModelSettings) -> tuple[Listing, ...]:
    """What a replay knows: every instrument of the capture on every venue that has a fee."""
    symbols = dict.fromkeys(tick.symbol for tick in ticks)
    pairs = [(venue, symbol) for venue in settings.taker_bps for symbol in symbols]
    found = [(*pair, settings.listings.get(pair, (0.0, 0.0, 0.0))) for pair in pairs]
    return tuple(
        Listing(venue, symbol, lot_size=lot, min_quantity=quantity, min_notional=notional)
        for venue, symbol, (lot, quantity, notional) in found
    )


class Pipeline:
    """Books, engines and fold of one hub, in the hub's order."""

    def __init__(self, settings: ModelSettings, data: ReferenceData, *, rows: bool = True) -> None:
        self._as_rows = rows
        self.universe, self.reasons = Universe(), ReasonTable()
        self.books = Books(self.universe, settings.max_quote_age_ms, settings.depth)
        self.engines: list[Engine] = [engine() for engine in ENGINES.values()]
        self._row_books = RowBooks(self.books)
        self._terms = Terms(self.universe, settings.min_net_edge_bps, TTL_NS)
        self._sequence = 0
        for engine in self.engines:
            engine.configure(configuration(settings))
        self.merge(data)
        for engine in self.engines:
            engine.snapshot(Snapshot(1, True, LedgerValues(trading_state=ACTIVE)))

    def merge(self, data: ReferenceData) -> None:
        """Take reference data in, as the hub does in the middle of a stream."""
        self.universe.merge(data)
        self.books.resize()
        for engine in self.engines:
            engine.reference(self.universe)

    def columns(self, ticks: Sequence[Tick]) -> Ticks:
        """Ticks as the hub has them: its own ids, columns."""
        return Ticks(
            np.array([tick.ts_ns for tick in ticks], np.int64),
            np.array([self.universe.symbol_ids[tick.symbol] for tick in ticks], np.int64),
            np.array([self.universe.venue_ids[tick.venue] for tick in ticks], np.int64),
            Side.from_levels([tick.bids for tick in ticks]),
            Side.from_levels([tick.asks for tick in ticks]),
            np.zeros(len(ticks), np.int64),
        )

    def decide(self, ticks: Sequence[Tick]) -> list[Decision]:
        """One batch into the books and through every engine, as rows where it is short enough."""
        batch, first = self.columns(ticks), self._sequence
        self._sequence += len(ticks)
        if self._as_rows and len(ticks) <= MAX_ROWS:
            rows = over_the_wire(batch)
            resolved = self._row_books.apply(rows, first)
            if resolved is not None:
                return self._judge_rows(rows, first, resolved)
        return self.judge(batch, first, self.books.apply(batch, first, depth=True))

    def peek(self, tick: Tick) -> Decision:
        """What the tick would be decided as, with the sequence 0."""
        batch = self.columns([tick])
        if self._as_rows:
            rows = over_the_wire(batch)
            resolved = self._row_books.peek(rows[0])
            if resolved is not None:
                return self._judge_rows(rows, 0, [resolved])[0]
        return self.judge(batch, 0, self.books.peek(batch, depth=True))[0]

    def judge(self, batch: Ticks, first: int, resolved: Resolved) -> list[Decision]:
        """Engines, fold and decisions."""
        o, names = resolved.opportunities, self.reasons
        ballots = [Ballot(e.name, e.judge(o), names.engine(e.reasons), names.timeout(e.name)) for e in self.engines]
        folded = fold(o, ballots, self._terms)
        decided = decisions((batch, first, resolved), folded, self._terms, names.names)
        since = np.zeros(len(batch), np.int64)
        since[resolved.rows] = o.edge_since_ns
        return self._rows(decided, since)

    def _judge_rows(self, ticks: Sequence[rows.Tick], first: int, resolved: Sequence[ResolvedRow]) -> list[Decision]:
        """As `judge`, and every step as rows, over the wire and back."""
        names, ballots = self.reasons, []
        asked = [row.opportunity for row in resolved if row.opportunity is not None]
        for engine in self.engines if asked else ():
            answer = rowwire.encode_verdicts(engine.judge_rows(opportunities_over_the_wire(asked)))
            verdicts = rowwire.decode_verdicts(answer, 0, len(answer))
            assert verdicts is not None
            assert sound(verdicts, len(asked), len(engine.reasons))
            ballots.append(Ballot(engine.name, verdicts, names.engine(engine.reasons), names.timeout(engine.name)))
        decided = decide(ticks, first, resolved, ballots, self._terms)
        since = [row.opportunity.edge_since_ns if row.opportunity else 0 for row in resolved]
        return self._rows(rows.decision_columns(decided, names.names), np.array(since))

    def _rows(self, d: Decisions, since: Ints) -> list[Decision]:
        assert (d.expires_ns == d.ts_ns + TTL_NS).all()
        names = [*self.universe.venues]
        legs = [
            [None if venue == NO_VENUE else names[venue] for venue in column.tolist()]
            for column in (d.buy_venue, d.sell_venue)
        ]
        columns = {
            "sequence": d.sequence.tolist(),
            "ts_ns": d.ts_ns.tolist(),
            "symbol": [self.universe.symbols[i] for i in d.instrument.tolist()],
            "buy_venue": legs[0],
            "sell_venue": legs[1],
            "gross_edge_bps": _meaningful(d.gross_edge_bps),
            "fee_bps": _meaningful(d.fee_bps),
            "slippage_bps": _meaningful(d.slippage_bps),
            "quantity": _meaningful(d.quantity),
            "net_edge_bps": _meaningful(d.net_edge_bps),
            "buy_limit": _meaningful(d.buy_limit),
            "sell_limit": _meaningful(d.sell_limit),
            "edge_since_ns": [s if v else None for s, v in zip(since.tolist(), legs[0], strict=True)],
            "approved": d.approved.tolist(),
            "reason": [d.reasons[code] or None for code in d.reason.tolist()],
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def over_the_wire(ticks: Ticks) -> list[rows.Tick]:
    """Ticks as they reach a hub that takes them as rows; written again, they are the same bytes."""
    encoded = wire.encode_ticks(ticks)
    decoded = rowwire.decode_ticks(encoded, 0, len(encoded))
    assert decoded is not None
    assert rowwire.encode_ticks(decoded) == encoded
    return decoded


def opportunities_over_the_wire(asked: Sequence[rows.Opportunity]) -> list[rows.Opportunity]:
    """Opportunities as they reach an engine that takes them as rows; as columns they are the same bytes."""
    encoded, depth = rowwire.encode_opportunities(asked), rowwire.encode_depth(asked)
    columns = rows.opportunity_columns(asked)
    assert columns.depth is not None
    assert (encoded, depth) == (wire.encode_opportunities(columns), wire.encode_depth(columns.depth))
    decoded = rowwire.decode_opportunities(
        encoded + depth, (1, 0, len(encoded)), (2, len(encoded), len(encoded + depth))
    )
    assert decoded is not None
    assert decoded == asked
    return decoded


def _meaningful(column: Floats) -> list[float | None]:
    """The column with None for NaN and infinity, as a decisions file has it."""
    return [value if math.isfinite(value) else None for value in column.tolist()]
