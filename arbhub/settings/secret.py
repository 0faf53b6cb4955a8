"""What a configuration holds that nobody may read in a log: passwords in URLs, and keys handed on to exchanges.

A URL setting shows itself without its password, in messages and in JSON; only `reveal` gives it away. Where it is not
certain which part of a text is the password, all of it is left out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

HIDDEN = "***"
_SECRET_NAME = re.compile(r"key$|secret|passw|passphrase|token|credential|private|login", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]*")
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*")


class SecretUrl:
    """A URL that may have a password in it. ValueError where it cannot be told where the password ends."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        rest = text.partition("://")[2]
        if "@" in rest and not rest.startswith("/") and _authority(rest).count("@") != rest.count("@"):
            raise ValueError("has an @ behind its host, or a / ? # before it: write %40, %2F, %3F and %23 for them")
        if _authority(rest).count("@") > 1:
            raise ValueError("has more than one @ before its host: write %40 for those of its password")
        self._text = text

    def reveal(self) -> str:
        """The whole URL: for whoever connects to it, and nobody who writes anything down."""
        return self._text

    def parts(self) -> Iterator[str]:
        """What must never be shown of it, as it is written here and as it is meant."""
        rest = self._text.partition("://")[2]
        user, _, _ = _authority(rest).rpartition("@")
        hidden = [user.partition(":")[2] or user] if not rest.startswith("/") else []
        for pair in rest.partition("?")[2].partition("#")[0].split("&"):
            name, _, value = pair.partition("=")
            if is_secret(name):
                hidden.append(value)
        for part in filter(None, hidden):
            yield from (part, unquote(part))

    def __str__(self) -> str:
        return redacted(self._text)

    def __repr__(self) -> str:
        return repr(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        # Only in JSON: settings made anew from a dump in Python have the whole URL.
        shown = core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        return core_schema.no_info_plain_validator_function(cls._of, serialization=shown)

    @classmethod
    def _of(cls, value: object) -> "SecretUrl":
        if isinstance(value, SecretUrl):
            return value
        if not isinstance(value, str):
            raise ValueError("should be a URL, as text")
        return cls(value)


def is_secret(name: str) -> bool:
    """Whether what has such a name is nobody else's business."""
    return _SECRET_NAME.search(name) is not None


def redacted(text: str) -> str:
    """A URL, or what should have been one, without what may be a secret."""
    scheme, colon, rest = text.partition("://")
    if not colon:
        return HIDDEN if any(c in text for c in "@:=?") else text
    if not _SCHEME.fullmatch(scheme):
        return HIDDEN
    authority = _authority(rest)
    at = authority.count("@")
    if at > 1 or (at != rest.count("@") and not rest.startswith("/")):
        return f"{scheme}://{HIDDEN}"
    user, _, host = authority.rpartition("@")
    name, colon, port = host.rpartition(":")
    if colon and not host.endswith("]") and not port.isdigit():  # no port: a password that something broke off
        host = f"{name}:{HIDDEN}" if port else host
    shown = f"{user.partition(':')[0]}:{HIDDEN}@" if ":" in user else f"{HIDDEN}@" if user else ""
    return f"{scheme}://{shown}{host}{_without_values(rest[len(authority) :])}"


def masked(text: str) -> str:
    """A sentence with every URL in it redacted."""
    return _URL.sub(lambda found: redacted(found[0]), text)


def secrets_in(value: object) -> Iterator[str]:
    """Every secret that a section of the settings holds, however deep."""
    if isinstance(value, SecretUrl):
        yield from value.parts()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, str) and is_secret(str(name)):
                yield inner
            else:
                yield from secrets_in(inner)
    elif isinstance(value, str) and "://" in value:
        yield from _in_text(value)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from secrets_in(inner)


def _in_text(url: str) -> Iterable[str]:
    try:
        return SecretUrl(url).parts()
    except ValueError:
        return [url]


def _authority(rest: str) -> str:
    """User, password, host and port: what stands before the path."""
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _without_values(rest: str) -> str:
    """Path and the names in the query: its values may be passwords too."""
    path, question, query = rest.partition("#")[0].partition("?")
    names = [pair.partition("=")[0] for pair in query.split("&")]
    return f"{path}?{'&'.join(f'{name}={HIDDEN}' for name in names)}" if question else path
