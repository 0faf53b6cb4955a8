"""Control frames between kernel values and wire messages: reference data, snapshots, reports.

Reference data fixes the ids that columns on its stream use; the ledger's values go by name.
"""

import math

from arbhub import state
from arbhub.reference import FeeSchedule, FeeTier, Listing, ReferenceData, Universe, VenueState
from arbhub.v1 import ledger_pb2, market_pb2


class BadReferenceError(ValueError):
    """Reference data that names an id outside its own lists, or a symbol that is none."""


def encode_reference(universe: Universe) -> market_pb2.ReferenceData:
    """Everything the universe knows."""
    message = market_pb2.ReferenceData(venues=universe.venues, symbols=universe.symbols)
    for listing in universe.listings.values():
        message.listings.add(
            venue=universe.venue_ids[listing.venue],
            instrument=universe.symbol_ids[listing.symbol],
            tick_size=listing.tick_size,
            lot_size=listing.lot_size,
            min_quantity=listing.min_quantity,
            min_notional=listing.min_notional,
            maker_bps=listing.maker_bps,
            taker_bps=listing.taker_bps,
            active=listing.active,
            max_quantity=None if listing.max_quantity == math.inf else listing.max_quantity,
        )
    for schedule in universe.schedules.values():
        tiers = [
            market_pb2.FeeTier(min_volume=t.min_volume, maker_bps=t.maker_bps, taker_bps=t.taker_bps)
            for t in schedule.tiers
        ]
        message.schedules.add(venue=universe.venue_ids[schedule.venue], tiers=tiers)
    for said in universe.venue_states.values():
        message.venue_states.add(venue=universe.venue_ids[said.venue], state=said.state)
    return message


def decode_reference(message: market_pb2.ReferenceData) -> ReferenceData:
    """By name; BadReferenceError where an id has no name or a symbol is none."""
    venues, symbols = tuple(message.venues), tuple(message.symbols)
    try:
        listings = tuple(_listing(m, venues, symbols) for m in message.listings)
        schedules = tuple(
            FeeSchedule(
                venues[m.venue],
                tuple(FeeTier(t.min_volume, t.maker_bps, t.taker_bps) for t in m.tiers),
            )
            for m in message.schedules
        )
        states = tuple(VenueState(venues[m.venue], m.state) for m in message.venue_states)
        data = ReferenceData(venues, symbols, listings, schedules, states)
        Universe().merge(data)
    except IndexError:
        raise BadReferenceError("reference data: a listing, schedule or state names an id that has no name") from None
    except ValueError as error:
        raise BadReferenceError(f"reference data: {error}") from None
    return data


def _listing(m: market_pb2.Listing, venues: tuple[str, ...], symbols: tuple[str, ...]) -> Listing:
    return Listing(
        venue=venues[m.venue],
        symbol=symbols[m.instrument],
        tick_size=m.tick_size,
        lot_size=m.lot_size,
        min_quantity=m.min_quantity,
        min_notional=m.min_notional,
        maker_bps=m.maker_bps if m.HasField("maker_bps") else None,
        taker_bps=m.taker_bps if m.HasField("taker_bps") else None,
        active=m.active,
        max_quantity=m.max_quantity if m.HasField("max_quantity") else math.inf,
    )


def encode_values(values: state.LedgerValues) -> ledger_pb2.LedgerValues:
    """Positions, balances, results and activity, by name."""
    message = ledger_pb2.LedgerValues(
        order_ts_ns=values.order_ts_ns, trading_state=ledger_pb2.TradingState.ValueType(values.trading_state)
    )
    for (venue, symbol), (quantity, mark) in values.positions.items():
        message.positions.add(venue=venue, symbol=symbol, quantity=quantity, mark=mark)
    for (venue, asset), free in values.balances.items():
        message.balances.add(venue=venue, asset=asset, free=free)
    for asset, p in values.pnl.items():
        message.pnl.add(
            asset=asset,
            day=p.day,
            realised_day=p.realised_day,
            cumulative=p.cumulative,
            high_water=p.high_water,
        )
    for symbol, (count, last_ns) in values.activity.items():
        message.activity.add(symbol=symbol, open_decisions=count, last_decision_ns=last_ns)
    return message


def decode_values(message: ledger_pb2.LedgerValues) -> state.LedgerValues:
    """The reverse of `encode_values`."""
    return state.LedgerValues(
        positions={(m.venue, m.symbol): (m.quantity, m.mark) for m in message.positions},
        balances={(m.venue, m.asset): m.free for m in message.balances},
        pnl={m.asset: state.Pnl(m.day, m.realised_day, m.cumulative, m.high_water) for m in message.pnl},
        activity={m.symbol: (m.open_decisions, m.last_decision_ns) for m in message.activity},
        order_ts_ns=tuple(message.order_ts_ns),
        trading_state=message.trading_state,
    )


def encode_snapshot(snapshot: state.Snapshot) -> ledger_pb2.StateSnapshot:
    """The whole state."""
    return ledger_pb2.StateSnapshot(
        epoch=snapshot.epoch,
        unlimited_balances=snapshot.unlimited_balances,
        values=encode_values(snapshot.values),
        starting_equity=snapshot.equity,
    )


def decode_snapshot(message: ledger_pb2.StateSnapshot) -> state.Snapshot:
    """The reverse of `encode_snapshot`."""
    equity = dict(message.starting_equity)
    return state.Snapshot(message.epoch, message.unlimited_balances, decode_values(message.values), equity)


def encode_report(report: state.Report) -> ledger_pb2.Report:
    """One report."""
    message = ledger_pb2.Report(
        kind=ledger_pb2.ReportKind.ValueType(report.kind),
        epoch=report.epoch,
        sequence=report.sequence,
        effective_ns=report.effective_ns,
        symbol=report.symbol,
        reason=report.reason,
        values=encode_values(report.values),
        unhedged=report.unhedged,
    )
    for f in report.fills:
        message.fills.add(
            client_order_id=f.client_order_id,
            symbol=f.symbol,
            venue=f.venue,
            buy=f.buy,
            price=f.price,
            quantity=f.quantity,
            fee=f.fee,
        )
    return message


def decode_report(m: ledger_pb2.Report) -> state.Report:
    """The reverse of `encode_report`."""
    fills = tuple(
        state.FillRow(f.client_order_id, f.symbol, f.venue, f.buy, f.price, f.quantity, f.fee) for f in m.fills
    )
    return state.Report(
        kind=m.kind,
        epoch=m.epoch,
        sequence=m.sequence,
        effective_ns=m.effective_ns,
        symbol=m.symbol,
        reason=m.reason,
        fills=fills,
        values=decode_values(m.values),
        unhedged=m.unhedged,
    )
