"""[tls]: the certificates by which services know each other; without them they trust whoever can reach them."""

from typing import Self

from pydantic import model_validator

from arbhub.settings.section import File, Section


class TlsSettings(Section):
    """Files in PEM, all or none. "{service}" in a path stands for hub, engine, executor, feed, notify or client."""

    ca: File | None = None
    """The authority: whoever has no certificate by it is refused."""
    certificate: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        named = self.model_dump()
        missing = [name for name, file in named.items() if file is None]
        if 0 < len(missing) < len(named):
            raise ValueError(f"{' and '.join(missing)} missing: ca, certificate and key belong together")
        return self
