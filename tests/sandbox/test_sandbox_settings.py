"""The sandbox's settings: the empty section is valid, and what contradicts itself says what is allowed."""

from typing import Any

import pytest
from pydantic import ValidationError

from arbhub.settings.sandbox import SandboxSettings


def test_the_empty_section_is_valid() -> None:
    """Without any setting three venues are simulated."""
    settings = SandboxSettings.model_validate({})
    assert (settings.mode, settings.venues) == ("simulated", ("EX1", "EX2", "EX3"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"mode": "playback"}, "needs playback.files"),
        (
            {"playback": {"files": {"XRP/USDT": "x"}}},
            "playback.files: XRP/USDT is not known, allowed are BTC/USDT",
        ),
        (
            {"playback": {"offsets": {"EX9": {}}}},
            "playback.offsets: EX9 is not known, allowed are EX1, EX2, EX3",
        ),
        ({"venues": []}, "at least one name"),
        ({"venues": ["A/B"]}, "with a / in it"),
        ({"venues": ["A", "A"]}, "each name at most once"),
        ({"instruments": {}}, "at least one"),
        ({"instruments": {"BTCUSDT": {}}}, "is not of the form"),
        ({"instruments": {"A/B": {"price": 0.0}}}, "greater than or equal to 0.00000001"),
        ({"interval_ms": 0.5}, "greater than or equal to 1"),
        ({"listen": "7409"}, "HOST:PORT"),
    ],
)
def test_what_contradicts_itself_is_refused(content: dict[str, Any], sentence: str) -> None:
    """Settings that cannot be meant are refused with what is allowed instead."""
    with pytest.raises(ValidationError, match=sentence):
        SandboxSettings.model_validate(content)
