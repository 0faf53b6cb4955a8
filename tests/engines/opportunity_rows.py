"""Opportunities and universes to judge, a row or a few, worked out by hand."""

from collections.abc import Sequence

import numpy as np

from arbhub.columns import Depth, Opportunities, Side, Verdicts
from arbhub.engine import Engine
from arbhub.reference import Listing, ReferenceData, Universe

T0 = 1_600_000_000_000_000_000
MS = 1_000_000
Levels = Sequence[tuple[float, float]]


def universe(*listings: Listing, venues: tuple[str, ...] = ("A", "B", "C")) -> Universe:
    """Venues A, B, C as 0, 1, 2 and BTC/BRL, ETH/BRL as 0, 1; listed is only what is said."""
    made = Universe()
    made.merge(ReferenceData(venues, ("BTC/BRL", "ETH/BRL"), listings))
    return made


def opportunities(
    prices: Sequence[tuple[float, float]] = ((100.0, 102.0),),
    *,
    legs: Sequence[tuple[int, int]] = ((0, 1),),
    instrument: Sequence[int] = (0,),
    ts_ns: Sequence[int] = (0,),
    quoted_ns: Sequence[tuple[int, int]] = ((0, 0),),
    since_ns: Sequence[int] = (0,),
    asks: Sequence[Levels] | None = None,
    bids: Sequence[Levels] | None = None,
) -> Opportunities:
    """Rows of (buy_ask, sell_bid); a single value of anything else stands for all rows. Times after T0.

    Without levels both sides hold 10 at their best price.
    """
    n = max(len(prices), len(legs), len(instrument), len(ts_ns), len(quoted_ns), len(since_ns))

    def column(values: Sequence[float], kind: type = np.int64) -> np.ndarray:
        return np.array([*values] * (n if len(values) == 1 else 1), kind)

    ask, bid = column([a for a, _ in prices], np.float64), column([b for _, b in prices], np.float64)
    sides = [
        Side.from_levels(levels or [[(price, 10.0)] for price in best])
        for levels, best in ((asks, ask.tolist()), (bids, bid.tolist()))
    ]
    return Opportunities(
        sequence=np.arange(n),
        ts_ns=T0 + column(ts_ns),
        instrument=column(instrument),
        candidate=np.zeros(n, np.int64),
        buy_venue=column([buy for buy, _ in legs]),
        sell_venue=column([sell for _, sell in legs]),
        buy_ask=ask,
        buy_ask_size=sides[0].size[:, 0],
        sell_bid=bid,
        sell_bid_size=sides[1].size[:, 0],
        buy_ts_ns=T0 + column([buy for buy, _ in quoted_ns]),
        sell_ts_ns=T0 + column([sell for _, sell in quoted_ns]),
        edge_since_ns=T0 + column(since_ns),
        depth=Depth(*sides),
    )


def reasons(engine: Engine, verdicts: Verdicts) -> list[str | None]:
    """Each verdict's reason by name, None for an approval; a verdict that is neither fails."""
    assert [v == 2 for v in verdicts.verdict.tolist()] == [r > 0 for r in verdicts.reason.tolist()]
    assert set(verdicts.verdict.tolist()) <= {1, 2}
    return [engine.reasons[number - 1] if number else None for number in verdicts.reason.tolist()]
