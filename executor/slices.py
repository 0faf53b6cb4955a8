"""An ExecuteBatch off the wire, checked whole before any of it counts. `ColumnError` names the column."""

from dataclasses import dataclass

import numpy as np

from arbhub.columns import Bools, Decisions, Floats, Ints, Ticks
from arbhub.reference import Universe
from arbhub.v1 import executor_pb2
from arbhub.wire import ColumnError, decode_decisions, decode_ticks


@dataclass(frozen=True, slots=True)
class Slice:
    """Ticks with their sequences, and approved decisions whose ticks came no later."""

    tick_sequence: Ints
    ticks: Ticks
    decisions: Decisions


def decode_batch(message: executor_pb2.ExecuteBatch, universe: Universe) -> list[Slice]:
    """The slices in order; ids must be of the universe, and prices of approved decisions must be prices."""
    return [_slice(part, universe) for part in message.slices]


def _slice(message: executor_pb2.ExecuteSlice, universe: Universe) -> Slice:
    ticks = decode_ticks(message.ticks)
    sequence = np.array(message.tick_sequence).astype(np.int64, copy=False)
    if len(sequence) != len(ticks):
        raise ColumnError(f"column tick_sequence has {len(sequence)} values where the slice has {len(ticks)} ticks")
    decisions = decode_decisions(message.decisions, ())
    symbols, venues = len(universe.symbols), len(universe.venues)
    _known("instrument", ticks.instrument, symbols)
    _known("venue", ticks.venue, venues)
    d, approved = decisions, decisions.approved
    _known("instrument", d.instrument[approved], symbols)
    _known("buy_venue", d.buy_venue[approved], venues)
    _known("sell_venue", d.sell_venue[approved], venues)
    for name in ("buy_limit", "sell_limit", "buy_ask", "sell_bid"):
        _priced(name, getattr(d, name), approved)
    return Slice(sequence, ticks, decisions)


def _known(column: str, ids: Ints, count: int) -> None:
    if len(ids) and int(ids.max()) >= count:
        raise ColumnError(f"column {column} has the id {int(ids.max())} where reference data name {count}")


def _priced(column: str, prices: Floats, approved: Bools) -> None:
    bad = approved & ~((prices > 0) & (prices < np.inf))
    if bad.any():
        raise ColumnError(f"column {column} has {prices[bad][0]} in an approved decision, which is no price")
