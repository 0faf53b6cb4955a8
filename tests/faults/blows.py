"""What the suite does to arbhub: each fault, the blow and its end, and what is to be seen while it lasts.

What is not here, and why. The hub's own sockets are struck where they end: at its engines, its executor, its feed and
its client. A held, forsaken or spoilt wire to the hub is the client's and the feed's. A disk is full for the ledger
alone, as nobody else writes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from running_parts import RunningParts

Act = Callable[[RunningParts], Awaitable[None]]
LATENCY_S = 0.2
LINK_STALL_S = 1.75  # a link gives a peer that is silent a second, looks four times a second, and has work to do
REDIS_STALL_S = 4.0  # it is asked after a second of silence, and given a second to answer
AT_ONCE_S = 0.25  # what is broken is seen as soon as the machine gives the hub a turn


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault. It lasts until `end`, at least `lasts_s`; one that cannot be taken back has no end and lasts 0.

    `silent_after_s`: no tick sent so long after the blow is approved until its end; None: approvals go on.
    `new_epoch`: the executor has to take a new one to recover. `deaf`: the hub lacks the feed's books meanwhile.
    `loses`: a client's stream may break, and with it the ticks under way. `says`: what the executor's log says of it.
    """

    part: str
    fault: str
    strike: Act
    end: Act
    silent_after_s: float | None = None
    lasts_s: float = 2.0
    loses: bool = False
    new_epoch: bool = False
    deaf: bool = False
    says: str = ""

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.part}: {self.fault}"


async def nothing(_: RunningParts) -> None:
    """The end of what cannot be taken back."""


def kill(part: str) -> tuple[str, Act, Act]:
    """SIGKILL, and started again."""

    async def strike(parts: RunningParts) -> None:
        await parts.kill(part)

    async def end(parts: RunningParts) -> None:
        await parts.start(part)

    return "SIGKILL, started again", strike, end


def stop(part: str) -> tuple[str, Act, Act]:
    """SIGSTOP, then SIGCONT."""

    async def strike(parts: RunningParts) -> None:
        await parts.stop(part)

    async def end(parts: RunningParts) -> None:
        parts.proceed(part)

    return "SIGSTOP, SIGCONT", strike, end


def hold(wire: str) -> tuple[str, Act, Act]:
    """A black hole that gives back what it took."""

    async def strike(parts: RunningParts) -> None:
        parts.wires[wire].hold()

    return "black hole, then mended", strike, mend(wire)


def forsake(wire: str) -> tuple[str, Act, Act]:
    """A black hole for the connections that there are."""

    async def strike(parts: RunningParts) -> None:
        parts.wires[wire].forsake()

    return "connection black-holed for good", strike, nothing


def delay(wire: str) -> tuple[str, Act, Act]:
    """More latency."""

    async def strike(parts: RunningParts) -> None:
        parts.wires[wire].delay(LATENCY_S)

    return f"+{LATENCY_S * 1e3:g} ms each way", strike, mend(wire)


def spoil(wire: str) -> tuple[str, Act, Act]:
    """Garbage among the bytes."""

    async def strike(parts: RunningParts) -> None:
        parts.wires[wire].spoil()

    return "garbage bytes", strike, mend(wire)


def fill_disk() -> tuple[str, Act, Act]:
    """No page more for the ledger."""

    async def strike(parts: RunningParts) -> None:
        parts.full_disk.touch()

    async def end(parts: RunningParts) -> None:
        parts.full_disk.unlink()

    return "disk full for the ledger", strike, end


def mend(wire: str) -> Act:
    """The wire is a wire again."""

    async def end(parts: RunningParts) -> None:
        parts.wires[wire].mend()

    return end


def engines() -> list[Blow]:
    """Its silence is a veto from the first tick that it cannot have seen. Each fault, and each engine at least once."""
    return [
        Blow("engine risk", *kill("engine risk"), silent_after_s=0.0),
        Blow("engine risk", *stop("engine risk"), silent_after_s=0.0),
        Blow("engine risk", *hold("engine risk"), silent_after_s=0.0),
        Blow("engine risk", *forsake("engine risk"), lasts_s=0.0),
        Blow("engine risk", *delay("engine risk"), silent_after_s=0.0),
        Blow("engine risk", *spoil("engine risk"), silent_after_s=0.0),
        Blow("engine spread", *stop("engine spread"), silent_after_s=0.0),
        Blow("engine fee", *hold("engine fee"), silent_after_s=0.0),
        Blow("engine liquidity", *delay("engine liquidity"), silent_after_s=0.0),
    ]


def executors() -> list[Blow]:
    """What is approved before its link is known to be down is executed late, once, or never."""
    one = "executor"
    return [
        Blow(one, *kill(one), silent_after_s=AT_ONCE_S, new_epoch=True),
        Blow(one, *stop(one), silent_after_s=LINK_STALL_S, lasts_s=3.0, new_epoch=True),
        Blow(one, *hold(one), silent_after_s=LINK_STALL_S, lasts_s=3.0, new_epoch=True),
        Blow(one, *forsake(one), lasts_s=0.0, new_epoch=True),
        Blow(one, *delay(one)),
        Blow(one, *spoil(one), silent_after_s=AT_ONCE_S, new_epoch=True),
        Blow(one, *fill_disk(), new_epoch=True, says="database or disk is full"),
    ]


def feeds() -> list[Blow]:
    """Whoever else sends ticks notices nothing."""
    return [
        Blow("feed", *kill("feed"), deaf=True),
        Blow("feed", *stop("feed"), deaf=True),
        Blow("feed", *hold("feed"), deaf=True),
        Blow("feed", *forsake("feed"), lasts_s=0.0, deaf=True),
        Blow("feed", *delay("feed")),
        Blow("feed", *spoil("feed"), deaf=True),
    ]


def redis() -> list[Blow]:
    """Decisions go on with what was read last; the hub knows that it hears nothing, and catches up."""

    def told(fault: str, strike: Act, end: Act) -> tuple[str, Act, Act]:
        """With something to catch up with."""

        async def end_and_tell(parts: RunningParts) -> None:
            await end(parts)
            await parts.say_something()

        return fault, strike, end_and_tell

    one, long = "redis", REDIS_STALL_S
    return [
        Blow(one, *told(*kill(one)), deaf=True),
        Blow(one, *told(*stop(one)), lasts_s=long, deaf=True),
        Blow(one, *told(*hold(one)), lasts_s=long, deaf=True),
        Blow(one, *told(*forsake(one)), lasts_s=0.0, deaf=True),
        Blow(one, *told(*delay(one))),
        Blow(one, *told(*spoil(one)), lasts_s=long, deaf=True),
    ]


def hubs() -> list[Blow]:
    """What was under way on a stream that broke is lost, and known to be."""
    return [
        Blow("hub", *kill("hub"), silent_after_s=0.0, loses=True, new_epoch=True),
        Blow("hub", *stop("hub"), silent_after_s=0.0, loses=True),
        Blow("hub's client", *hold("client"), silent_after_s=0.0, loses=True),
        Blow("hub's client", *forsake("client"), lasts_s=0.0, loses=True),
        Blow("hub's client", *delay("client")),
        Blow("hub's client", *spoil("client"), silent_after_s=0.0, loses=True),
    ]


BLOWS = [*engines(), *executors(), *feeds(), *redis(), *hubs()]
