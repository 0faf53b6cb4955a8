"""A locust user's connection to a hub, with the certificates that the environment names.

Locust has no options of its own for them: ARBHUB_TLS__CA, ARBHUB_TLS__CERTIFICATE and ARBHUB_TLS__KEY stand for [tls].
"""

from functools import cache

import grpc

from arbhub.security.certificates import CLIENT, credentials_of
from arbhub.security.credentials import Credentials
from arbhub.settings.load import load

OPTIONS = (("grpc.use_local_subchannel_pool", 1),)  # a connection a user, as different machines would have


def connect(host: str) -> grpc.Channel:
    """A channel of the user's own; SettingsError or ServiceError where the certificates cannot be used."""
    return _credentials().threaded_channel(host, OPTIONS)


@cache
def _credentials() -> Credentials:
    return credentials_of(load(None).tls, CLIENT)
