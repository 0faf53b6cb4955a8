"""The feed's settings: the empty section is valid, and what contradicts itself says what is allowed."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from arbhub.settings.feed import FeedSettings

VENUE = {"exchange": "binance"}


def test_the_empty_section_is_valid() -> None:
    """Without any setting the feed is live, has no venues and records nothing."""
    settings = FeedSettings.model_validate({})
    assert (settings.source, dict(settings.venues), settings.record) == ("ccxt", {}, None)


def test_a_replay_and_a_recording() -> None:
    """Paths are given as text and lists as lists, as TOML has them, and inf is a pace."""
    content = {"source": "replay", "captures": ["a", "b"], "pace": math.inf, "record": {"directory": "c"}}
    settings = FeedSettings.model_validate(content)
    assert [path.name for path in settings.captures] == ["a", "b"]
    assert settings.record is not None
    assert settings.record.directory.name == "c"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"source": "replay"}, 'source = "replay" needs captures'),
        (
            {"source": "replay", "captures": ["a"], "venues": {"A": VENUE}, "symbols": ["A/B"]},
            "allows no venues",
        ),
        ({"captures": ["a"]}, 'use source = "replay"'),
        ({"source": "fix"}, "'ccxt' or 'replay'"),
        ({"venues": {"A": VENUE}}, "venues.A: no symbols"),
        ({"venues": {"A": VENUE | {"symbols": ["AB"]}}}, "is not of the form"),
        ({"venues": {"": VENUE}, "symbols": ["A/B"]}, "a venue's name is at least one character"),
        ({"symbols": ["BTCUSDT"]}, "is not of the form"),
        ({"silent_after_ms": 0}, "greater than 0"),
        ({"silent_after_ms": math.inf}, "finite number"),
        ({"pace": 0}, "greater than 0"),
        ({"pace": math.nan}, "greater than 0"),
        ({"backoff": {"first_ms": 10.0, "max_ms": 5.0}}, r"first_ms \(10\) is more than max_ms \(5\)"),
        ({"record": {}}, "Field required"),
        ({"speed": 2.0}, "Extra inputs are not permitted"),
    ],
)
def test_what_contradicts_itself_is_refused(content: dict[str, Any], sentence: str) -> None:
    """Settings that cannot be meant are refused with what is allowed instead."""
    with pytest.raises(ValidationError, match=sentence):
        FeedSettings.model_validate(content)
