"""Whether the hub can do its work, and if not, why: one sentence a reason. Liveness is another question."""

from hub.hub import Hub


def details(hub: Hub) -> list[str]:
    """What keeps nothing from being approved, and is good to know."""
    return [hub.reference_store.detail] if hub.reference_store is not None else []


def unready(hub: Hub) -> list[str]:
    """What keeps ticks from being approved; empty where nothing does."""
    reasons = [] if hub.trades.up else ["the executor is not connected: nothing is approved"]
    voting = hub.settings.engines.voting()
    down = [seat for seat in hub.seats if seat.name in voting and not seat.up]
    return reasons + [f"engine {s.name} at {s.place} cannot be asked: its silence is a veto" for s in down]
