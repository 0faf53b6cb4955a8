"""Who a service is on the wire, and whom it believes: mutual TLS with one authority, or nothing at all.

One value goes to whatever listens and to whatever connects, so that no service can be closed on one side and open on
the other. `arbhub.security.certificates` reads it from the files that [tls] names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM texts, all of them or none; ValueError otherwise. Whoever has no certificate by `ca` is refused."""

    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    peer: str = ""
    """The host in the certificate of whoever is called, where it is not that of the address."""

    def __post_init__(self) -> None:
        given = [bool(part) for part in (self.ca, self.certificate, self.key)]
        if any(given) and not all(given):
            raise ValueError("credentials are an authority, a certificate and its key, all of them or none")

    @property
    def mutual(self) -> bool:
        """Whether both sides prove who they are."""
        return bool(self.key)

    def bind(self, server: grpc.aio.Server, listen: str) -> int:
        """The port that the server was given; 0 or RuntimeError where it cannot be had."""
        if not self.mutual:
            return server.add_insecure_port(listen)
        pair = [(self.key, self.certificate)]
        return server.add_secure_port(listen, grpc.ssl_server_credentials(pair, self.ca, require_client_auth=True))

    def channel(self, address: str, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
        """To a peer whose certificate has the host of `address`; a unix socket's host is "localhost"."""
        if not self.mutual:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, self._of_a_client(), options=[*options, *self._named(address)])

    def threaded_channel(self, address: str, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
        """The same for programs without an event loop."""
        if not self.mutual:
            return grpc.insecure_channel(address, options=options)
        return grpc.secure_channel(address, self._of_a_client(), options=[*options, *self._named(address)])

    def _named(self, address: str) -> list[tuple[str, str]]:
        """gRPC would look for a socket's whole path in the certificate."""
        host = self.peer or ("localhost" if address.startswith("unix:") else "")
        return [("grpc.default_authority", host)] if host else []

    def _of_a_client(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)


INSECURE = Credentials()
