"""Which engines share a process: all that have one place, and no others."""

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
    places = {name: settings.engines.table()[name].place for name in names}
    for name, place in places.items():
        if place == IN_PROCESS:
            raise ServiceError(
                f'engines.{name}.place is "in-process": the hub runs this engine itself. '
                f"Give it a place of its own, such as --set engines.{name}.place=127.0.0.1:7402"
            )
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
    return place, there
