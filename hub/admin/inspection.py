"""The hub's state as arbhub.v1.InspectReply says it, as JSON values. Made when somebody asks, and kept short."""

import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from arbhub.link import Link
from arbhub.v1.ledger_pb2 import TradingState
from hub.hub import Hub
from hub.remote import RemoteHost
from hub.replicas import ReplicaSet, hosts_of
from hub.seats import LocalSeat, Place, Seat
from hub.statistics import Quantiles


def inspect(hub: Hub) -> dict[str, Any]:
    """Everything as of now."""
    statistics, trading = hub.statistics, hub.view.trading
    return {
        "version": hub.version,
        "uptime_s": (time.monotonic_ns() - hub.began_ns) / 1e9,
        "epoch": hub.epoch,
        "ticks": statistics.ticks,
        "approved": statistics.approved,
        "rejected": dict(statistics.rejected),
        "trading_state": state_name(trading.in_force(hub.settings.risk)),
        "commanded": state_name(trading.commanded),
        "ledger": state_name(trading.ledger),
        "why": trading.why,
        "engines": [
            _engine(hub, place, seat) for seat in hub.seats for place in hub.places if seat.name in place.names
        ],
        "links": [*_links(hub)],
        "decision_latency": asdict(Quantiles.of(statistics.decision_ms)),
    }


def state_name(state: int) -> str:
    """Of a trading state, as the proto has it."""
    return TradingState.Name(TradingState.ValueType(state))


def _engine(hub: Hub, place: Place, seat: Seat) -> dict[str, Any]:
    tally, hosts = seat.tally, [*hosts_of([place])]
    return {
        "name": seat.name,
        "place": seat.place,
        "up": seat.up,
        "mode": hub.settings.engines.table()[seat.name].mode,
        "breaker": seat.breaker.state.value,
        "latency": asdict(Quantiles.of(ns / 1e6 for ns in tally.latency_ns)),
        "judged": tally.judged,
        "rejected": tally.rejected,
        "timeouts": tally.timeouts,
        "version": _version(hub, place) if seat.up else "",
        "replicas": len(hosts),
        "replicas_up": sum(host.link.up for host in hosts),
    }


def _version(hub: Hub, place: Place) -> str:
    if isinstance(place, RemoteHost):
        return place.configuration.configured.version
    if isinstance(place, ReplicaSet):
        return place.configured.version
    return hub.version if isinstance(place, LocalSeat) and not place.lost else ""


def _links(hub: Hub) -> Iterable[dict[str, Any]]:
    window = hub.settings.hub.window
    for host in hosts_of(hub.places):
        yield _link(host.link, window, host.configuration.configured.version)
    yield _link(hub.trades.link, window, hub.trades.configuration.configured.version)


def _link(link: Link[Any], window: int, version: str) -> dict[str, Any]:
    return {
        "name": link.name,
        "address": link.address,
        "up": link.up,
        "window": window,
        "unanswered": link.unanswered,
        "queued_rows": link.queue.rows,
        "version": version if link.up else "",
    }
