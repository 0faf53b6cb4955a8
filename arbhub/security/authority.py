"""A development authority: certificates for the services of one machine or a few, made in a moment.

Every certificate is good for both sides of a connection. What is made here is for development and small set-ups:
nothing is ever revoked, and whoever has the authority's key can be any service.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from arbhub.service import ServiceError

SERVICES = ("hub", "engine", "executor", "feed", "notify", "client")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def files(self, folder: Path, name: str) -> dict[Path, bytes]:
        """What to write where."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {folder / f"{name}.pem": self.certificate.public_bytes(Encoding.PEM), folder / f"{name}.key": key}


def make_certificates(folder: Path, hosts: Sequence[str], days: int, *, force: bool) -> list[Path]:
    """Make an authority and a certificate for each service, and write them; gives the files.

    Certificates are for loopback, the service's own name and `hosts`. ServiceError where a file is there already and
    `force` is not given (then nothing is written), or a host cannot be in a certificate.
    """
    began = datetime.now(UTC)
    authority = new_authority(began, days)
    files = authority.files(folder, "ca")
    for service in SERVICES:
        files |= issue(authority, service, (*LOOPBACK, service, *hosts), began, days).files(folder, service)
    there = [file.name for file in files if file.exists()]
    if there and not force:
        raise ServiceError(f"{folder} has {', '.join(there)} already: --force replaces the authority and all of them")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file, content in files.items():
        _write(file, content)
    return list(files)


def new_authority(began: datetime, days: int) -> Issued:
    """An authority that issues for services, and for no further authority."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _name("arbhub development authority")
    builder = _builder(name, name, key.public_key(), began, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    return Issued(builder.sign(key, SHA256()), key)


def issue(authority: Issued, service: str, hosts: Iterable[str], began: datetime, days: int) -> Issued:
    """A service's certificate; its common name is the service's. ServiceError names a host that is none."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(service), authority.certificate.subject, key.public_key(), began, days)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    names = x509.SubjectAlternativeName([_host(host) for host in dict.fromkeys(hosts)])
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    builder = builder.add_extension(issuer, critical=False).add_extension(names, critical=False)
    return Issued(builder.sign(authority.key, SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, began: datetime, days: int
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    builder = builder.not_valid_before(began - CLOCK_SKEW).not_valid_after(began + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host.strip("[]")))
    except ValueError:
        pass
    if not host or any(not (c.isascii() and (c.isalnum() or c in "-._*")) for c in host):
        raise ServiceError(f"--host {host}: should be a host's name or its address, without a port")
    return x509.DNSName(host)


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all, and a key at no moment readable by others."""
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    mode = 0o600 if file.suffix == ".key" else 0o644
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as out:
        out.write(content)
    part.replace(file)
