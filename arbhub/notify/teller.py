"""From a hub's states to the messages that go out: what is worth telling, not too often, and a summary a day. Pure."""

from arbhub.notify.events import Event, Now, Watcher
from arbhub.notify.limiter import Limiter, Message
from arbhub.notify.summary import Summary
from arbhub.settings.notify import NotifySettings
from arbhub.v1 import hub_pb2


class Teller:
    """One hub's, from `now` on; `hub` says in messages which."""

    def __init__(self, settings: NotifySettings, hub: str, now: Now) -> None:
        self._watcher = Watcher(settings.near_limit, settings.settle_s)
        self._limiter = Limiter(hub, settings.min_interval_s)
        self._summary = Summary(settings.daily_summary_at, now)

    def see(self, status: hub_pb2.Status, now: Now) -> list[Message]:
        """What to tell now that the hub is in this state."""
        self._summary.see(status)
        return self._told(self._watcher.see(status, now), now)

    def gone(self, why: str, now: Now) -> list[Message]:
        """What to tell now that there is no hub to be seen."""
        return self._told(self._watcher.gone(why, now), now)

    def _told(self, events: list[Event], now: Now) -> list[Message]:
        for event in (*events, *self._summary.due(now)):
            self._limiter.offer(event)
        return self._limiter.due(now.elapsed_s)
