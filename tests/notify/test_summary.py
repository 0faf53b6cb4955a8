"""The daily summary, as pure logic."""

import pytest
from hub_states import at, status

from arbhub.notify.summary import Summary
from arbhub.v1 import hub_pb2

FIVE_PAST = 300


def result(cumulative: float) -> list[hub_pb2.ResultStatus]:
    """Of one asset."""
    return [hub_pb2.ResultStatus(asset="USD", cumulative=cumulative)]


def test_a_day_is_summed_up_across_restarts_of_the_hub() -> None:
    """What another process counts is added; the ledger's results go on."""
    summary = Summary("00:05", at(0))
    for state in (
        status(ticks=1000, approved=100, fills=200, results=result(50.0)),  # before anybody watched
        status(ticks=3000, approved=150, fills=300, results=result(60.0)),
        status(ticks=10, approved=0, fills=0, epoch=0, results=[]),  # started anew, no executor yet
        status(ticks=500, approved=5, fills=10, epoch=2, results=result(57.5)),
    ):
        summary.see(state)
        assert summary.due(at(FIVE_PAST - 1)) == []
    (event,) = summary.due(at(FIVE_PAST))
    assert event.text.splitlines() == [
        "summary from 2023-11-15 00:00 to 2023-11-15 00:05 UTC",
        "ticks 2,500, approved 55, fills 110",
        "PnL +7.50 USD, in all +57.50",
        "trading was active at last",
    ]


def test_each_day_has_one_and_begins_where_the_last_ended() -> None:
    """A service that slept over several days tells one."""
    summary = Summary("00:05", at(FIVE_PAST))  # too late for today's
    summary.see(status(ticks=10, results=result(1.0)))
    assert summary.due(at(86_400)) == []
    assert len(summary.due(at(86_400 + FIVE_PAST))) == 1
    assert summary.due(at(86_400 + FIVE_PAST + 1)) == []
    summary.see(status(ticks=30, results=result(4.0)))
    (event,) = summary.due(at(4 * 86_400))
    assert "ticks 20, approved 0, fills 0\nPnL +3.00 USD, in all +4.00" in event.text
    assert summary.due(at(4 * 86_400 + FIVE_PAST - 1)) == []
    assert len(summary.due(at(4 * 86_400 + FIVE_PAST))) == 1


def test_what_was_not_seen_is_not_made_up() -> None:
    """Neither a hub nor a ledger that nobody saw."""
    summary = Summary("00:05", at(0))
    (event,) = summary.due(at(FIVE_PAST))
    assert event.text.splitlines()[1:] == [
        "ticks 0, approved 0, fills 0",
        "PnL not known: the ledger was not seen",
        "the hub was not seen",
    ]


@pytest.mark.parametrize("day", [1, 2, 400])
def test_without_a_time_there_is_none(day: int) -> None:
    """However long it takes."""
    assert Summary("", at(0)).due(at(day * 86_400)) == []


def test_a_ledger_that_is_seen_late_is_no_profit_of_the_day() -> None:
    """Before the executor is connected a hub knows no results."""
    summary = Summary("00:05", at(0))
    for state in (
        status(epoch=0, results=[]),
        status(epoch=1, results=result(50.0)),
        status(epoch=1, results=result(57.5)),
    ):
        summary.see(state)
    (event,) = summary.due(at(FIVE_PAST))
    assert "PnL +7.50 USD, in all +57.50" in event.text
