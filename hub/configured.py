"""The configuration as the hub's peers have it: the one in force, and one on offer until it is committed.

A peer that is asked keeps an offer beside what it runs with, and runs with it from the Commit on. Control frames keep
their place among the batches, so what was queued before the Commit is judged by the old one, all else by the new.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from arbhub.engine import EngineConfiguration
from arbhub.settings.schema import Settings
from arbhub.v1 import engine_pb2

Reason = str | None
"""Why an offer is not accepted; empty: it is. None: the peer has gone, and need not be asked."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A version and what it is, encoded once for all who are told."""

    version: str
    engines: EngineConfiguration
    settings_json: bytes

    @classmethod
    def of(cls, settings: Settings, version: str) -> "Configured":
        """What peers get of the settings."""
        engines = EngineConfiguration(engines=settings.engines, risk=settings.risk)
        return cls(version, engines, engines.model_dump_json().encode())


class Offering:
    """One peer behind a link. `frame` makes a control frame of the peer's kind, `send` queues it on the link.

    An offer need not wait behind batches, as it changes nothing yet; what comes into force keeps its place.
    """

    def __init__(self, name: str, configured: Configured, frame: Callable[..., bytes]) -> None:
        self.name, self.configured = name, configured
        self._frame = frame
        self._offered: Configured | None = None
        self._accepted = False
        self._answer: asyncio.Future[Reason] | None = None

    def greeting(self) -> bytes:
        """What is in force, for a stream to begin with."""
        c = self.configured
        return self._frame(configuration=engine_pb2.Configuration(version=c.version, settings_json=c.settings_json))

    def offer(self, configured: Configured, send: Callable[[bytes], None]) -> "asyncio.Future[Reason]":
        """Offer over a stream that stands; the result is the peer's answer."""
        self._offered, self._accepted = configured, False
        self._answer = asyncio.get_running_loop().create_future()
        offer = engine_pb2.Offer(version=configured.version, settings_json=configured.settings_json)
        send(self._frame(offer=offer))
        return self._answer

    def replied(self, reply: engine_pb2.OfferReply) -> None:
        """The peer's answer; to anything but the latest offer it says nothing."""
        if self._offered is not None and reply.version == self._offered.version:
            self._accepted = reply.accepted
            self._resolve("" if reply.accepted else reply.reason or "it gave no reason")

    def ended(self) -> None:
        """The stream is gone, and the offer with it."""
        self._offered, self._accepted = None, False
        self._resolve(None)

    def adopt(self, configured: Configured, send: Callable[[bytes], None] | None) -> None:
        """From here on this is in force; without a stream (`send` None) the next one begins with it.

        A peer that was not asked, as it connected meanwhile, is told as if at its connection.
        """
        offered, accepted = self._offered, self._accepted
        self.configured, self._offered = configured, None
        if send is None:
            return
        if offered is configured and accepted:
            send(self._frame(commit=engine_pb2.Commit(version=configured.version)))
        else:
            send(self.greeting())

    def withdraw(self, send: Callable[[bytes], None]) -> None:
        """Take back what was offered, if anything was."""
        if self._offered is not None:
            send(self._frame(withdraw=engine_pb2.Withdraw(version=self._offered.version)))
            self._offered = None

    def _resolve(self, answer: Reason) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
