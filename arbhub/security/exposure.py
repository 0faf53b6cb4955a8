"""Where a port that shows or changes a hub may listen: for this machine alone, unless callers prove themselves."""

from ipaddress import IPv6Address, ip_address

from arbhub.security.bearer import Bearer
from arbhub.security.credentials import Credentials
from arbhub.service import ServiceError


def require_closed(key: str, address: str, credentials: Credentials, bearer: Bearer | None) -> None:
    """ServiceError where the address, the value of the setting `key`, is open to others and nothing guards it.

    `credentials` are those that this listener itself demands of its callers, INSECURE where it demands none.
    """
    if not (is_local(address) or credentials.mutual or bearer):
        raise ServiceError(
            f"{key}: {address} can be reached from other machines: that takes mutual TLS ([tls]) or a bearer token "
            f'(hub.token_file), and without them only loopback, such as "127.0.0.1:PORT", or "unix:/PATH" is allowed'
        )


def is_local(address: str) -> bool:
    """Whether only this machine reaches "HOST:PORT" or "unix:/PATH"; of names only localhost is known to be so."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        ip = ip_address(host)
    except ValueError:
        return host == "localhost"
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return ip.is_loopback
