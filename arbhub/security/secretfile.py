"""Files that hold a secret: read whole, and refused where other users of the machine could read or change them."""

import os
import stat
from pathlib import Path

from arbhub.service import ServiceError

MAX_BYTES = 64 * 1024
NOT_OURS_ALONE = stat.S_IWGRP | stat.S_IRWXO  # a group may read: that is how containers are handed secrets


def read_secret(key: str, path: Path, *, shown: bool = True) -> bytes:
    """The content of the file that the setting `key` names; ServiceError says in a sentence why it cannot be used.

    Not `shown`: an error leaves the path out, as somebody may have written the secret itself in its place.
    """
    name = f"{key}: {path}" if shown else f"{key}: the file it names"
    try:
        # Without O_NONBLOCK a pipe in the file's place would hold us up for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_BYTES + 1) if stat.S_ISREG(mode) else b""
    except (OSError, ValueError) as error:
        raise ServiceError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode) or len(content) > MAX_BYTES:
        raise ServiceError(f"{name} should be a plain file of at most {MAX_BYTES} bytes")
    if mode & NOT_OURS_ALONE:
        raise ServiceError(
            f"{name} has the mode {stat.S_IMODE(mode):04o}: other users could read or change it, so 0600 is wanted "
            f"(0640 at most)"
        )
    return content
