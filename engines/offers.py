"""A configuration that is offered to the engines of a stream, beside the one in force, until it is committed.

It is tried on engines made for that alone, with the reference data as they are: what those cannot take is not
accepted, and the engines that judge have felt nothing of it.
"""

from collections.abc import Sequence

from arbhub.engine import Engine, EngineConfiguration
from arbhub.reference import Universe
from arbhub.v1 import engine_pb2


class Offers:
    """The latest offer to these engines."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)
        self._version = ""
        self._accepted: EngineConfiguration | None = None

    def take(self, offer: engine_pb2.Offer, universe: Universe) -> engine_pb2.OfferReply:
        """Keep it if every engine can run with it; says why where one cannot."""
        self._version, self._accepted = offer.version, None
        try:
            configuration = EngineConfiguration.model_validate_json(offer.settings_json)
            for engine in self._engines:
                engine.tried(configuration, universe)
        except Exception as error:
            return engine_pb2.OfferReply(version=offer.version, reason=str(error) or type(error).__name__)
        self._accepted = configuration
        return engine_pb2.OfferReply(version=offer.version, accepted=True)

    def forget(self, version: str) -> EngineConfiguration | None:
        """Give the accepted offer of this version up, to whoever commits it; None where there is none."""
        if version != self._version:
            return None
        accepted, self._accepted = self._accepted, None
        return accepted
