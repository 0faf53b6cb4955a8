"""Who judges under a configuration: whose verdicts a round waits for, and which places are asked at all."""

from collections.abc import Sequence
from dataclasses import dataclass

from arbhub.settings.engines import EnginesSettings
from hub.seats import Place


@dataclass(frozen=True, slots=True)
class Assembly:
    """`asked` are the engines with a say, `voting` the places where one of them is, `shadows` those merely counted.

    A place is asked as a whole: an engine that is off at a place of several is passed over by its own process.
    """

    asked: tuple[str, ...]
    voting: tuple[Place, ...]
    shadows: tuple[Place, ...]

    @classmethod
    def of(cls, engines: EnginesSettings, places: Sequence[Place]) -> "Assembly":
        """By the modes of the engines at each place; a host is told whether it is a shadow."""
        asked, modes = engines.voting(), {name: section.mode for name, section in engines.table().items()}
        voting = tuple(place for place in places if not set(asked).isdisjoint(place.names))
        shadows = tuple(
            place for place in places if place not in voting and any(modes[name] == "shadow" for name in place.names)
        )
        for place in places:
            place.shadow = place in shadows
        return cls(asked, voting, shadows)
