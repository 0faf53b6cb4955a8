"""What a replay says of its decisions: the counts of its report, and the lines of its decisions file."""

import math
from array import array
from collections import Counter
from collections.abc import Iterator

import numpy as np
import orjson

from arbhub.columns import NO_VENUE, Decisions, Floats
from arbhub.reference import Universe
from arbhub.state import DENIED, Report


class Tally:
    """What a replay counts."""

    def __init__(self) -> None:
        self.opportunities = self.gross_positive = self.approved = self.fills = 0
        self.rejected: Counter[str] = Counter()
        self.denied: Counter[str] = Counter()
        self.net_edges_bps, self.quantities = array("d"), array("d")
        self.pnl: dict[str, float] = {}
        self.unhedged: set[int] = set()

    def decided(self, d: Decisions) -> None:
        """Count a batch of decisions."""
        self.opportunities += int(np.count_nonzero(d.buy_venue != NO_VENUE))
        self.gross_positive += int(np.count_nonzero(d.gross_edge_bps > 0))
        counts = d.by_reason()
        approved = counts.pop("", 0)
        self.approved += approved
        self.rejected.update(counts)
        if approved:
            self.net_edges_bps.extend(d.net_edge_bps[d.approved].tolist())
            self.quantities.extend(d.quantity[d.approved].tolist())

    def reported(self, report: Report) -> None:
        """Count what became of an approved decision."""
        self.fills += len(report.fills)
        (self.unhedged.add if report.unhedged else self.unhedged.discard)(report.sequence)
        if report.kind == DENIED:
            self.denied[report.reason] += 1
        self.pnl |= {asset: pnl.cumulative for asset, pnl in report.values.pnl.items()}


def lines(d: Decisions, universe: Universe, version: str) -> Iterator[bytes]:
    """The decisions file's lines; null where a value has no meaning."""
    venues = dict(enumerate(universe.venues))
    table = zip(
        d.sequence.tolist(),
        d.ts_ns.tolist(),
        d.instrument.tolist(),
        d.buy_venue.tolist(),
        d.sell_venue.tolist(),
        _values(d.gross_edge_bps),
        _values(d.fee_bps),
        _values(d.slippage_bps),
        _values(d.quantity),
        _values(d.net_edge_bps),
        d.approved.tolist(),
        d.reason.tolist(),
        strict=True,
    )
    for sequence, ts_ns, symbol, buy, sell, gross, fee, slippage, quantity, net, approved, reason in table:
        line = {
            "sequence": sequence,
            "ts_ns": ts_ns,
            "symbol": universe.symbols[symbol],
            "buy_venue": venues.get(buy),
            "sell_venue": venues.get(sell),
            "gross_edge_bps": gross,
            "fee_bps": fee,
            "slippage_bps": slippage,
            "quantity": quantity,
            "net_edge_bps": net,
            "approved": approved,
            "reason": d.reasons[reason] or None,
            "config_version": version,
        }
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _values(column: Floats) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in column.tolist()]
