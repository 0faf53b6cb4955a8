"""From states to messages: what is told, not too often, and the summary of the day among it."""

from hub_states import at, status

from arbhub.notify.limiter import Message
from arbhub.notify.teller import Teller
from arbhub.settings.notify import NotifySettings


def titles(messages: list[Message]) -> list[str]:
    """Without what every one begins with."""
    return [message.title.removeprefix("arbhub: ") for message in messages]


def test_a_day_of_a_hub() -> None:
    """A halt to and fro is told thrice at most, a summary at its time even while the hub is gone."""
    teller = Teller(NotifySettings(min_interval_s=60.0, settle_s=5.0, daily_summary_at="00:05"), "h", at(0))
    assert titles(teller.see(status(), at(1))) == []
    assert titles(teller.see(status("halted"), at(2))) == ["trading is halted"]
    assert titles(teller.see(status("active"), at(3))) == ["trading is active"]
    for second in range(4, 60):
        assert titles(teller.see(status("halted" if second % 2 else "active"), at(second))) == []
    (last,) = teller.see(status("halted"), at(62))
    assert last.title == "arbhub: trading is halted"
    assert "54 more times since 2023-11-15 00:00:05 UTC" in last.body
    assert titles(teller.gone("Connection refused", at(200))) == []
    assert titles(teller.gone("Connection refused", at(300))) == [
        "the hub cannot be reached: Connection refused",
        "summary from 2023-11-15 00:00 to 2023-11-15 00:05 UTC",
    ]
