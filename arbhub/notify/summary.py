"""What a hub has done since the last summary, and when the next one is due. Pure: time is an argument.

Counts are summed up from state to state, so that a hub that was started anew in between loses nothing but what it
did unseen. Results are the ledger's, which outlives hubs.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from arbhub.notify.events import STATE_NAMES, Event, Level, Now
from arbhub.v1 import hub_pb2

DAY_S = 86_400


@dataclass(slots=True)
class Counts:
    """Of one hub process, or of a period."""

    ticks: int = 0
    approved: int = 0
    fills: int = 0

    @classmethod
    def of(cls, status: hub_pb2.Status) -> "Counts":
        """As a state has them."""
        return cls(status.ticks, status.approved, status.fills)

    def add(self, before: "Counts", after: "Counts") -> None:
        """What came between two states; where a count has fallen, the second is of another process."""
        if after.ticks < before.ticks or after.approved < before.approved or after.fills < before.fills:
            before = Counts()
        self.ticks += after.ticks - before.ticks
        self.approved += after.approved - before.approved
        self.fills += after.fills - before.fills


@dataclass(slots=True)
class Period:
    """What is summed up. `results` and `began_with` are cumulative, by quote asset; None: not known yet."""

    since: Now
    done: Counts = field(default_factory=Counts)
    began_with: dict[str, float] | None = None


class Summary:
    """One hub's daily summary at `at`, "HH:MM" in UTC; "": never."""

    def __init__(self, at: str, now: Now) -> None:
        self._at_s = _seconds(at) if at else None
        self._due_s = self._after(now.unix_s)
        self._period = Period(now)
        self._last: hub_pb2.Status | None = None
        self._results: dict[str, float] | None = None

    def see(self, status: hub_pb2.Status) -> None:
        """The hub is in this state."""
        if self._last is not None:
            self._period.done.add(Counts.of(self._last), Counts.of(status))
        self._last = status
        if status.epoch:  # before that the ledger is not known
            self._results = {result.asset: result.cumulative for result in status.results}
            if self._period.began_with is None:
                self._period.began_with = self._results

    def due(self, now: Now) -> list[Event]:
        """The summary, if it is time for it; another period begins with it."""
        if self._due_s is None or now.unix_s < self._due_s:
            return []
        text = self._text(now)
        self._due_s = self._after(now.unix_s)
        self._period = Period(now, began_with=self._results)
        return [Event("summary", _minute(now), Level.INFO, text, now)]

    def _after(self, unix_s: float) -> float | None:
        """The first time that it is due after a moment."""
        if self._at_s is None:
            return None
        day_began_s = unix_s // DAY_S * DAY_S
        return day_began_s + self._at_s + (0 if day_began_s + self._at_s > unix_s else DAY_S)

    def _text(self, now: Now) -> str:
        done = self._period.done
        lines = [
            f"summary from {_minute(self._period.since)} to {_minute(now)} UTC",
            f"ticks {done.ticks:,}, approved {done.approved:,}, fills {done.fills:,}",
            *self._pnl(),
        ]
        if self._last is None:
            lines.append("the hub was not seen")
        elif state := STATE_NAMES.get(self._last.trading_state):
            lines.append(f"trading was {state} at last")
        return "\n".join(lines)

    def _pnl(self) -> list[str]:
        if self._results is None:
            return ["PnL not known: the ledger was not seen"]
        began = self._period.began_with or {}
        return [
            f"PnL {cumulative - began.get(asset, 0.0):+,.2f} {asset}, in all {cumulative:+,.2f}"
            for asset, cumulative in sorted(self._results.items())
        ] or ["PnL none yet"]


def _seconds(at: str) -> int:
    hours, _, minutes = at.partition(":")
    return int(timedelta(hours=int(hours), minutes=int(minutes)).total_seconds())


def _minute(now: Now) -> str:
    return f"{datetime.fromtimestamp(now.unix_s, UTC):%Y-%m-%d %H:%M}"
