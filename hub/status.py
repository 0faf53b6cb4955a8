"""The hub's state as a Status message, for the demo's table and whoever else watches.

It is made between rounds, so it is kept short: where there are many instruments, the latest edges only, and the
books of none.
"""

import time
from collections.abc import Iterator
from itertools import islice

from arbhub.limits import daily_losses
from arbhub.state import FillRow, LedgerValues, Pnl
from arbhub.v1 import hub_pb2
from arbhub.v1.ledger_pb2 import TradingState
from hub.hub import Hub
from hub.reference_store import ReferenceStore
from hub.seats import Seat
from hub.statistics import LastEdge, Quantiles

MAX_EDGES = 64
MAX_BOOKS = 4096


def status(hub: Hub) -> hub_pb2.Status:
    """Everything as of now."""
    s, snapshot, risk, trading = hub.statistics, hub.ledger(), hub.settings.risk, hub.view.trading
    ledger = snapshot.values if snapshot else LedgerValues()
    return hub_pb2.Status(
        epoch=hub.epoch,
        config_version=hub.version,
        executor_up=hub.trades.up,
        ticks=s.ticks,
        approved=s.approved,
        rejected=dict(s.rejected),
        denied=dict(s.denied),
        engines=[_engine(hub, seat) for seat in hub.seats],
        books=_books(hub),
        edges=[_edge(hub, *item) for item in islice(reversed(s.edges.items()), MAX_EDGES)],
        positions=[
            hub_pb2.PositionStatus(venue=venue, symbol=symbol, quantity=quantity)
            for (venue, symbol), (quantity, _) in ledger.positions.items()
        ],
        pnl={asset: p.cumulative for asset, p in ledger.pnl.items()},
        fills=s.fills,
        last_fills=[_fill(fill) for fill in s.last_fills],
        decision_latency=_latency(Quantiles.of(s.decision_ms)),
        trading_state=TradingState.ValueType(trading.in_force(risk)),
        why=trading.why,
        results=[*_results(hub, ledger)],
        limits=hub_pb2.LimitStatus(max_drawdown=risk.max_drawdown, max_exposure=risk.max_exposure),
        reference_store=_reference_store(hub.reference_store),
    )


def _results(hub: Hub, ledger: LedgerValues) -> Iterator[hub_pb2.ResultStatus]:
    snapshot, exposure = hub.ledger(), ledger.gross_exposure()
    assets = sorted({*ledger.pnl, *exposure})
    losses = daily_losses(hub.settings.risk, snapshot.equity if snapshot else {}, assets)
    for asset in assets:
        pnl = ledger.pnl.get(asset, Pnl())
        yield hub_pb2.ResultStatus(
            asset=asset,
            day=pnl.day,
            realised_day=pnl.realised_day,
            cumulative=pnl.cumulative,
            high_water=pnl.high_water,
            exposure=exposure.get(asset, 0.0),
            daily_loss_limit=losses[asset],
        )


def _reference_store(store: ReferenceStore | None) -> hub_pb2.ReferenceStoreStatus | None:
    if store is None:
        return None
    return hub_pb2.ReferenceStoreStatus(
        up=store.up,
        outages=store.outages,
        loaded_unix_s=store.loaded_at or 0.0,
        entries=store.entries,
        refused=store.refused,
        pushes=store.pushes,
        detail=store.detail,
    )


def _engine(hub: Hub, seat: Seat) -> hub_pb2.EngineStatus:
    t = seat.tally
    return hub_pb2.EngineStatus(
        name=seat.name,
        place=seat.place,
        up=seat.up,
        latency=_latency(Quantiles.of(ns / 1e6 for ns in t.latency_ns)),
        judged=t.judged,
        rejected=t.rejected,
        timeouts=t.timeouts,
        mode=hub.settings.engines.table()[seat.name].mode,
        breaker=seat.breaker.state.value,
    )


def _books(hub: Hub) -> list[hub_pb2.BookStatus]:
    if len(hub.universe.venues) * len(hub.universe.symbols) > MAX_BOOKS:
        return []
    return [
        hub_pb2.BookStatus(venue=venue, symbol=symbol, bid=bid, ask=ask, age_ms=age, usable=usable)
        for venue, symbol, bid, ask, age, usable in hub.books.tops(time.time_ns())
    ]


def _edge(hub: Hub, instrument: int, edge: LastEdge) -> hub_pb2.EdgeStatus:
    u = hub.universe
    return hub_pb2.EdgeStatus(
        symbol=u.symbols[instrument],
        buy_venue=u.venues[edge.buy_venue],
        sell_venue=u.venues[edge.sell_venue],
        gross_edge_bps=edge.gross_edge_bps,
        net_edge_bps=edge.net_edge_bps,
        outcome=edge.reason or "approved",
    )


def _latency(q: Quantiles) -> hub_pb2.LatencyStatus:
    return hub_pb2.LatencyStatus(p50_ms=q.p50_ms, p99_ms=q.p99_ms, max_ms=q.max_ms, p99_99_ms=q.p99_99_ms)


def _fill(f: FillRow) -> str:
    return f"{'buy' if f.buy else 'sell'} {f.quantity:.8g} {f.symbol} on {f.venue} at {f.price:.8g}"
