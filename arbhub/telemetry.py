"""What a service says of itself to others: structured logs, and traces where there is a collector.

Logs are lines for a person on a terminal, JSON elsewhere, always on standard error.
"""

import contextlib
import logging
import sys
from collections.abc import AsyncIterator

import orjson
import structlog

from arbhub.settings.traces import TracesSettings
from arbhub.spans import Traces


@contextlib.asynccontextmanager
async def tracing(settings: TracesSettings, service: str) -> AsyncIterator[Traces | None]:
    """Where a service's traces go for as long as the block runs; None where the settings name no collector."""
    if not settings.otlp_endpoint:
        yield None
        return
    from arbhub.otlp import Exporter  # with OpenTelemetry, which who traces nothing can do without

    async with Exporter(settings, service).running() as exporter:
        yield exporter


def configure_logs(*, level: str = "info") -> None:
    """Set structlog up for this process; call once, from the command line."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    if sys.stderr.isatty():
        processors += [structlog.dev.ConsoleRenderer()]
    else:
        processors += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=lambda value, **_: orjson.dumps(value, default=str).decode()),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
