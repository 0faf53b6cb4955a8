"""Reading the certificates that [tls] names, so that what is wrong with them is said at the start, and in a sentence.

gRPC itself would only ever say that a handshake failed, once for each attempt and on the other side.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from arbhub.security.credentials import INSECURE, Credentials
from arbhub.security.secretfile import read_secret
from arbhub.service import ServiceError
from arbhub.settings.tls import TlsSettings

if TYPE_CHECKING:  # 50 ms that services without certificates need not spend
    from cryptography.x509 import Certificate

CLIENT = "client"
"""The service name of whoever only asks: commands, load drivers, health checks."""


def credentials_of(tls: TlsSettings, service: str, now: datetime | None = None) -> Credentials:
    """INSECURE where the section names no files; ServiceError where they cannot be used, or not today."""
    if tls.ca is None or tls.certificate is None or tls.key is None:
        return INSECURE
    ca, certificate, key = (_for_service(path, service) for path in (tls.ca, tls.certificate, tls.key))
    authority_pem, chain_pem = content_of("tls.ca", ca), content_of("tls.certificate", certificate)
    key_pem = read_secret("tls.key", key)
    authorities = _certificates("tls.ca", ca, authority_pem)
    chain = _certificates("tls.certificate", certificate, chain_pem)
    today = now or datetime.now(UTC)
    _check_dates("tls.certificate", certificate, chain[0], today)
    for authority in authorities:
        _check_dates("tls.ca", ca, authority, today)
    _check_pair(certificate, chain[0], key, key_pem)
    if not any(_issued(chain[-1], authority) for authority in authorities):
        raise ServiceError(f"tls.certificate: {certificate} was not issued by tls.ca, {ca}")
    return Credentials(authority_pem, chain_pem, key_pem)


def _for_service(path: Path, service: str) -> Path:
    return Path(str(path).replace("{service}", service))


def content_of(key: str, path: Path) -> bytes:
    """What a file holds that the configuration names at `key`; ServiceError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ServiceError(f"{key}: {path} cannot be read: {error.strerror}") from None


def _certificates(key: str, path: Path, content: bytes) -> "Sequence[Certificate]":
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(content)
    except ValueError:
        raise ServiceError(f"{key}: {path} has no certificate in PEM, or a broken one") from None


def _check_dates(key: str, path: Path, certificate: "Certificate", today: datetime) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if today > last:
        raise ServiceError(f"{key}: {path} expired at {last:%Y-%m-%d %H:%M} UTC: a new one is needed")
    if today < first:
        raise ServiceError(f"{key}: {path} is valid from {first:%Y-%m-%d %H:%M} UTC only: is the clock right?")


def _check_pair(path: Path, certificate: "Certificate", key_path: Path, key: bytes) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        public = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise ServiceError(f"tls.key: {key_path} should be a private key in PEM, not encrypted") from None
    if public != certificate.public_key():
        raise ServiceError(f"tls.key: {key_path} is not the key of tls.certificate, {path}")


def _issued(certificate: "Certificate", authority: "Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
