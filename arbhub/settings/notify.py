"""[notify]: who is told what happens to a hub, and how often."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from arbhub.settings.section import Address, AddressOrNone, Amount, File, Section


def _time_of_day(text: str) -> str:
    if text and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError('should be a time of day in UTC, "HH:MM" such as "00:05", or "" for none')
    return text


class NotifySettings(Section):
    """What `arbhub notify` tells, and to whom."""

    listen: Address = "127.0.0.1:7410"
    """Where the service answers health checks."""
    urls_file: File | None = None
    """A file with an Apprise URL a line: they hold secrets, and stand nowhere else."""
    hub: AddressOrNone = ""
    """The hub that is watched; empty: hub.listen."""
    min_interval_s: Amount = 60.0
    """The same kind of message goes out at most this often; what is held back is counted in the next."""
    settle_s: Amount = 5.0
    """How long a hub, the executor or an engine has to be gone, or back, before it is told."""
    near_limit: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The part of risk.max_drawdown or risk.max_daily_loss, whichever is closer, from which on it is told."""
    daily_summary_at: Annotated[str, AfterValidator(_time_of_day)] = "00:05"
    """In UTC; empty: no summary."""
