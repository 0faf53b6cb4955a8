"""The base of every settings section: immutable, strictly typed, and an unknown key is an error, not a typo kept."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict


class Section(BaseModel):
    """A table of the configuration file."""

    # Infinity goes over the wire as itself: as null it would be no limit any more.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, ser_json_inf_nan="constants"
    )


def _host_port(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) <= 65535):
        raise ValueError('should be "HOST:PORT", such as "127.0.0.1:7401"')
    return text


def _host_port_or_none(text: str) -> str:
    try:
        return text and _host_port(text)
    except ValueError as error:
        raise ValueError(f'{error}, or "" for none') from None


def _address(text: str) -> str:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > MAX_SOCKET_PATH:
            raise ValueError(f'should have an absolute path of at most {MAX_SOCKET_PATH} bytes behind "unix:"')
        return text
    try:
        return _host_port(text)
    except ValueError as error:
        raise ValueError(f'{error}, or "unix:/PATH" on one machine') from None


MAX_SOCKET_PATH = 107  # bytes: what the kernel's sockaddr_un holds
HostPort = Annotated[str, AfterValidator(_host_port)]
HostPortOrNone = Annotated[str, AfterValidator(_host_port_or_none)]
Address = Annotated[str, AfterValidator(_address)]
AddressOrNone = Annotated[str, AfterValidator(lambda text: text and _address(text))]  # empty: nowhere
# `inf` turns a limit off, so limits allow it and amounts do not; NaN is never a setting.
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0)]
Limit = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
# TOML has lists and texts; strict typing would refuse them where a setting is a tuple or a path.
Names = Annotated[tuple[str, ...], Strict(False)]
File = Annotated[Path, Strict(False)]
