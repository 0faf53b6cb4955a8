"""[notify]: what is refused, with the key and what is allowed."""

from pathlib import Path

import pytest

from arbhub.settings.load import SettingsError, load


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ('notify.daily_summary_at="24:00"', "notify.daily_summary_at: should be a time of day in UTC"),
        ('notify.daily_summary_at="0:05"', "notify.daily_summary_at: should be a time of day in UTC"),
        ("notify.near_limit=0.0", "notify.near_limit: input should be greater than 0"),
        ("notify.near_limit=1.5", "notify.near_limit: input should be less than or equal to 1"),
        ("notify.min_interval_s=inf", "notify.min_interval_s: input should be a finite number"),
        ("notify.url_file=x", "did you mean urls_file?"),
    ],
)
def test_what_makes_no_sense_is_refused(assignment: str, said: str) -> None:
    """In a sentence."""
    with pytest.raises(SettingsError, match=said.replace("?", r"\?")):
        load(None, [assignment], {})


@pytest.mark.parametrize("at", ["00:05", "23:59", ""])
def test_a_time_of_day_or_none(at: str) -> None:
    """As people write it."""
    settings = load(None, [f'notify.daily_summary_at="{at}"', "notify.urls_file=/run/secrets/urls"], {})
    assert settings.notify.daily_summary_at == at
    assert settings.notify.urls_file == Path("/run/secrets/urls")
