"""What a test may find in its log."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any


def amiss(records: Iterable[logging.LogRecord]) -> list[str]:
    """The messages, but for those of gRPC's poller: it is one a process, and may still have events for a loop that an
    earlier test has closed."""
    messages = (record.getMessage() for record in records)
    return [message for message in messages if "PollerCompletionQueue" not in message]


def of_another_loop(context: Mapping[str, Any]) -> bool:
    """The same of what a loop's exception handler is told."""
    return "PollerCompletionQueue" in context["message"] and str(context.get("exception")) == "Event loop is closed"
