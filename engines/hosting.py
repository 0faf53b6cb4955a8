"""Which engines share a process: all that have one place, and no others. And where it listens."""

from collections.abc import Sequence

from arbhub.service import ServiceError
from arbhub.settings.engines import IN_PROCESS
from arbhub.settings.schema import Settings
from engines.table import ENGINES


def hosted_by(settings: Settings, names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The place that the named engines are all of, and who is there; ServiceError where there is none such."""
    for name in names:
        if name not in ENGINES:
            raise ServiceError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    table = settings.engines.table()
    for name in names:
        if table[name].place == IN_PROCESS:
            raise ServiceError(
                f'engines.{name}.place is "in-process": the hub runs this engine itself. '
                f"Give it a place of its own, such as --set engines.{name}.place=127.0.0.1:7402"
            )
    places = {name: table[name].where for name in names}
    if len(set(places.values())) > 1:
        stated = " but ".join(f"engines.{name}.place is {place}" for name, place in places.items())
        raise ServiceError(f"{stated}: engines share a process only at one place")
    place = places[names[0]]
    there = settings.engines.hosts()[place]
    if missing := [name for name in there if name not in places]:
        raise ServiceError(
            f"{' and '.join(missing)} also {'has' if len(missing) == 1 else 'have'} the place {place}, and engines "
            f"of one place share a process: run 'arbhub engine {' '.join(there)}'"
        )
    return _one_of(table[names[0]].addresses, there), there


def _one_of(addresses: Sequence[str], names: Sequence[str]) -> str:
    """Where to listen; one process is one replica only."""
    if len(addresses) > 1:
        which = " ".join(f"--set engines.{name}.place={addresses[0]}" for name in names)
        raise ServiceError(
            f"engines.{names[0]}.place has {len(addresses)} replicas, {', '.join(addresses)}: say which of them this "
            f"process is, such as {which}"
        )
    return addresses[0]
