"""Which addresses are for this machine alone, and what the others need."""

import pytest

from arbhub.security.bearer import Bearer
from arbhub.security.credentials import INSECURE, Credentials
from arbhub.security.exposure import is_local, require_closed
from arbhub.service import ServiceError

TLS, TOKEN = Credentials(b"ca", b"certificate", b"key"), Bearer("x" * 32)
LOCAL = ["127.0.0.1:7407", "127.8.9.1:0", "[::1]:7407", "localhost:7407", "[::ffff:127.0.0.1]:1", "unix:/run/hub.sock"]
OPEN = [
    "0.0.0.0:7407",
    "[::]:7407",
    "192.0.2.1:7407",
    "[2001:db8::1]:7407",
    "[::ffff:192.0.2.1]:1",
    "arbhub.example:7407",
    "localhost.example:7407",
    "127.0.0.1.example:7407",
    "127.1:7407",
    "ipv4:127.0.0.1:7407",
    ":7407",
    "",
]


@pytest.mark.parametrize("address", LOCAL)
def test_loopback_and_sockets_need_nothing(address: str) -> None:
    """Whoever calls there is on this machine."""
    assert is_local(address)
    require_closed("hub.admin_listen", address, INSECURE, None)


@pytest.mark.parametrize("address", OPEN)
def test_any_other_address_needs_a_guard(address: str) -> None:
    """Without certificates and token it is refused in a sentence that says the key and the ways out; with one not."""
    assert not is_local(address)
    with pytest.raises(ServiceError) as refused:
        require_closed("hub.admin_listen", address, INSECURE, None)
    said = str(refused.value)
    assert said.startswith(f"hub.admin_listen: {address} can be reached from other machines")
    assert "[tls]" in said
    assert "hub.token_file" in said
    require_closed("hub.admin_listen", address, TLS, None)
    require_closed("hub.admin_listen", address, INSECURE, TOKEN)
