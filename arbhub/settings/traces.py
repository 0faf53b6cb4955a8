"""[traces]: where each service sends its part of a tick's trace, and of how many ticks."""

from typing import Annotated

from pydantic import AfterValidator, Field

from arbhub.settings.section import AddressOrNone, Count, File, Section


def _endpoint(text: str) -> str:
    if "://" in text:
        raise ValueError('should be "HOST:PORT" of the collector\'s gRPC port, without "http://"; or "" for none')
    return text


class TracesSettings(Section):
    """All services need the same rate and deployment, or they trace different ticks and disagree on their ids."""

    otlp_endpoint: Annotated[AddressOrNone, AfterValidator(_endpoint)] = ""
    """A collector that takes OTLP over gRPC, such as "127.0.0.1:4317"; empty: nothing is traced."""
    sample_rate: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Of the ticks that are neither approved nor timed out; those two are always traced."""
    ca: File | None = None
    """The authority of the collector's certificate, in PEM; without it the collector is spoken to in plain text."""
    deployment: Annotated[str, Field(max_length=64)] = ""
    """Tells the ids of several ledgers apart, whose epochs and sequences are alike, where they share a collector."""
    max_queue_spans: Count = 8192
    """That wait for the collector; when they are more, the oldest are dropped."""
