"""Who sits where: the places of all engines by their settings, and a seat for each engine."""

from collections.abc import Mapping

from arbhub.engine import Engine
from arbhub.link import LinkOptions
from arbhub.settings.engines import IN_PROCESS, is_name
from arbhub.settings.schema import Settings
from hub.configured import Configured
from hub.remote import RemoteHost
from hub.replicas import ReplicaSet
from hub.seats import LocalSeat, Owner, Place, Seat


def seated(
    settings: Settings, configured: Configured, engines: Mapping[str, Engine], owner: Owner, options: LinkOptions
) -> tuple[list[Place], list[Seat]]:
    """The places of all engines and their seats, these in the order of the fold; `engines` has those inside."""
    places: list[Place] = []
    seats: dict[str, Seat] = {}
    for name, section in settings.engines.table().items():
        if section.place == IN_PROCESS:
            local = LocalSeat(engines[name], configured.engines, owner)
            places.append(local)
            seats[name] = local
        elif name not in seats:
            place = _remote(settings, section.where, section.addresses, configured, owner, options)
            places.append(place)
            seats.update(place.seats)
    return places, [seats[name] for name in settings.engines.table()]


def _remote(
    settings: Settings,
    where: str,
    addresses: tuple[str, ...],
    configured: Configured,
    owner: Owner,
    options: LinkOptions,
) -> RemoteHost | ReplicaSet:
    """Replicas where there may be several; a host name may always be one of several, if its engines allow it."""
    engines, names = settings.engines, settings.engines.hosts()[where]
    if engines.may_have_replicas(where) and (len(addresses) > 1 or is_name(addresses[0])):
        return ReplicaSet(addresses, names, configured, owner, options)
    return RemoteHost(where, names, configured, owner, options)
