"""Certificates: what `make_certificates` writes, what [tls] may name, and what is said of what cannot be used."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from arbhub.security.authority import SERVICES, issue, make_certificates, new_authority
from arbhub.security.certificates import credentials_of
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.service import ServiceError
from arbhub.settings.load import SettingsError, load
from arbhub.settings.tls import TlsSettings

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an authority and all services' certificates."""
    make_certificates(tmp_path / "certs", ["arbhub.example", "192.0.2.7"], 30, force=False)
    return tmp_path / "certs"


def section(folder: Path, **other: Path) -> TlsSettings:
    """A [tls] section that names each service's own files, but for those given."""
    files = {"ca": folder / "ca.pem", "certificate": folder / "{service}.pem", "key": folder / "{service}.key"}
    return TlsSettings(**{**files, **other})


def test_every_service_has_a_pair_that_only_its_owner_reads(folder: Path) -> None:
    """A key is 0600, a certificate names loopback, the service and every host, and each service reads its own."""
    for service in SERVICES:
        assert stat.S_IMODE((folder / f"{service}.key").stat().st_mode) == 0o600
        read = credentials_of(section(folder), service)
        assert read.mutual
        assert read.key == (folder / f"{service}.key").read_bytes()
        certificate = x509.load_pem_x509_certificate(read.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", service, "arbhub.example"}
        addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
        assert addresses == {"127.0.0.1", "::1", "192.0.2.7"}
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600


def test_nothing_is_replaced_unless_asked(folder: Path) -> None:
    """One file that is there refuses all of them and changes none; `force` replaces them all."""
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "hub.pem").unlink()
    with pytest.raises(ServiceError, match=r"has ca.pem, .* already: --force"):
        make_certificates(folder, (), 30, force=False)
    assert not (folder / "hub.pem").exists()
    make_certificates(folder, (), 30, force=True)
    assert all((folder / name).read_bytes() != content for name, content in before.items())
    assert {file.name for file in folder.iterdir()} == set(before)


@pytest.mark.parametrize("host", ["", "arbhub:7401", "a b", "größe"])
def test_a_host_that_is_none(tmp_path: Path, host: str) -> None:
    """It is named, and nothing is written."""
    with pytest.raises(ServiceError, match="should be a host's name or its address, without a port"):
        make_certificates(tmp_path / "certs", [host], 30, force=False)
    assert not (tmp_path / "certs").exists()


def test_without_a_section_nothing_is_closed() -> None:
    """No files named: no certificates, and none read."""
    assert credentials_of(TlsSettings(), "hub") is INSECURE


def test_a_section_is_whole_or_not_there(tmp_path: Path) -> None:
    """The complaint says which of the three is missing."""
    with pytest.raises(SettingsError, match="tls: certificate and key missing: ca, certificate and key belong"):
        load(None, ["tls.ca=ca.pem"], {})
    with pytest.raises(ValueError, match="all of them or none"):
        Credentials(ca=b"an authority alone")


def test_a_key_is_not_shown(folder: Path) -> None:
    """Not even to whoever prints the credentials."""
    read = credentials_of(section(folder), "hub")
    assert "PRIVATE" not in repr(read)
    assert "PRIVATE" not in str(read)


def refusal(tls: TlsSettings, now: datetime | None = None) -> str:
    """The one sentence with which the section is refused."""
    with pytest.raises(ServiceError) as caught:
        credentials_of(tls, "hub", now)
    assert "\n" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)
    return str(caught.value)


def test_files_that_cannot_be_read(folder: Path) -> None:
    """Each complaint names the key, the file and the reason."""
    missing = folder / "missing.pem"
    for key in ("ca", "certificate", "key"):
        assert (
            refusal(section(folder, **{key: missing}))
            == f"tls.{key}: {missing} cannot be read: No such file or directory"
        )
    assert refusal(section(folder, ca=folder)) == f"tls.ca: {folder} cannot be read: Is a directory"
    (folder / "text").write_text("no certificate")
    (folder / "text").chmod(0o600)
    assert refusal(section(folder, ca=folder / "text")).endswith("text has no certificate in PEM, or a broken one")
    assert "should be a private key in PEM, not encrypted" in refusal(section(folder, key=folder / "text"))


def test_an_encrypted_key_is_refused(folder: Path) -> None:
    """There is nobody to ask for its password."""
    key = issue(new_authority(NOW, 1), "hub", ["localhost"], NOW, 1).key
    file = folder / "encrypted.key"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")))
    file.chmod(0o600)
    assert refusal(section(folder, key=file)) == f"tls.key: {file} should be a private key in PEM, not encrypted"


def test_a_key_that_others_may_read_is_refused(folder: Path) -> None:
    """A group may read it, others may not; the complaint says the mode and what is wanted."""
    (folder / "hub.key").chmod(0o640)
    assert credentials_of(section(folder), "hub").mutual
    for mode in (0o644, 0o620, 0o604):
        (folder / "hub.key").chmod(mode)
        assert f"hub.key has the mode {mode:04o}: other users could" in refusal(section(folder))


def test_what_does_not_belong_together(folder: Path, tmp_path: Path) -> None:
    """Another service's key, and another authority's certificate."""
    said = refusal(section(folder, key=folder / "feed.key"))
    assert said == f"tls.key: {folder / 'feed.key'} is not the key of tls.certificate, {folder / 'hub.pem'}"
    make_certificates(tmp_path / "others", (), 30, force=False)
    said = refusal(section(folder, ca=tmp_path / "others" / "ca.pem"))
    assert said == f"tls.certificate: {folder / 'hub.pem'} was not issued by tls.ca, {tmp_path / 'others' / 'ca.pem'}"


def test_certificates_of_other_days(folder: Path) -> None:
    """What has expired, or is not valid yet, says when."""
    assert "hub.pem expired at " in refusal(section(folder), NOW + timedelta(days=31))
    assert "hub.pem is valid from " in refusal(section(folder), NOW - timedelta(days=1))
