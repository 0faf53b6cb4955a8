"""[redis]: the second level of reference data, where there is one."""

from typing import Annotated, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from arbhub.settings.section import File, Section

OPTIONS = {  # of a url, behind "?": those of redis-py that say where Redis is, and no others
    "redis": {"db"},
    "rediss": {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"},
    "unix": {"db", "password"},
}


class RedisSettings(Section):
    """Where Redis is. The url may hold a password: it is shown nowhere, and no complaint repeats it."""

    url: Annotated[str, Field(repr=False)] = ""
    """Such as "redis://:PASSWORD@127.0.0.1:6379/0" or "unix:///PATH"; empty: there is no second level."""
    password_file: File | None = None
    """The password, in a file that only we can read, instead of one in the url."""
    key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:{}-]+$", max_length=64)] = "arbhub:"
    """Of every key, and of the channel on which changes are told: hubs that share one see the same data."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        # A validator of the field would have pydantic show the url, password and all.
        if self.url and not _is_address(self.url):
            raise ValueError(
                'url should be "redis://HOST:PORT/DATABASE", "rediss://..." for TLS, or "unix:///PATH"; '
                "what it is now is not shown, as it may hold a password"
            )
        if self.password_file and _holds_password(self.url):
            raise ValueError("url has a password, and password_file names another: one of them is wanted")
        return self

    @property
    def place(self) -> str:
        """The url without what is secret in it."""
        url = urlsplit(self.url)
        if url.scheme == "unix":
            return f"unix://{url.path}"
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        return f"{url.scheme}://{host}:{url.port or 6379}{url.path}"


def _holds_password(text: str) -> bool:
    url = urlsplit(text)
    return url.password is not None or "password" in dict(parse_qsl(url.query))


def _is_address(text: str) -> bool:
    try:
        url, options = urlsplit(text), dict(parse_qsl(urlsplit(text).query, strict_parsing="?" in text))
        _ = url.port  # raises where it is none
    except ValueError:
        return False
    if not options.keys() <= OPTIONS.get(url.scheme, set()) or not options.get("db", "0").isdecimal():
        return False
    if url.scheme == "unix":
        return url.path.startswith("/")
    database = url.path.strip("/")
    return url.scheme in OPTIONS and bool(url.hostname) and (not database or database.isdecimal())
