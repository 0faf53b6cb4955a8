"""[hub.breaker]: when an engine that does not answer is no longer waited for, and when it is tried again."""

from typing import Annotated

from pydantic import Field

from arbhub.settings.section import Amount, Positive, Section

Duration = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BreakerSettings(Section):
    """One for each engine, all by the same rules; with `failures` and `failure_ratio` both `inf` there are none."""

    failures: Annotated[float, Field(ge=1)] = 10.0
    """It opens after so many rounds in a row without an answer."""
    failing_ms: Amount = 100.0
    """And when they stretch over at least this: one short stall of the machine is many failures at a high rate."""
    failure_ratio: Positive = 0.5
    """Or when of the rounds of a window, which begins with a failure, at least this part had no answer."""
    window_ms: Duration = 1000.0
    pause_ms: Duration = 250.0
    """How long it stays open before one round tries the engine again."""
