"""What a hub does in a second: its counts in two successive states, compared. Pure."""

from collections.abc import Mapping

from arbhub.v1 import hub_pb2

Rates = Mapping[str, float]
"""By name, a second each; without any, there is nothing to compare with."""


def counts(s: hub_pb2.Status) -> dict[str, int]:
    """Whatever of a state only ever grows, by name."""
    found = {"ticks": s.ticks, "approved": s.approved, "fills": s.fills}
    found["denied"] = sum(s.denied.values())
    for reason, count in s.rejected.items():
        found[f"rejected {reason}"] = count
    for e in s.engines:
        found |= {f"{e.name} judged": e.judged, f"{e.name} rejected": e.rejected, f"{e.name} timeouts": e.timeouts}
    return found


def between(before: hub_pb2.Status, after: hub_pb2.Status, seconds: float) -> Rates:
    """What came between two states; none where the second is of a hub that was started anew."""
    old, new = counts(before), counts(after)
    if seconds <= 0 or any(new.get(name, 0) < count for name, count in old.items()):
        return {}
    return {name: (count - old.get(name, 0)) / seconds for name, count in new.items()}
