"""Replicas: processes that all host the same engines, one of which is asked about each case.

    addresses ─looked up now and again─▶ a `RemoteHost` each ─▶ one seat an engine, which is all that the hub sees

A case goes whole to a replica that is up: to the one with the least unanswered, and in turn among equals. Engines that
have replicas need no state, and each replica was told the same before a case, so it does not matter which is asked. A
case that is lost with its stream is asked of another replica, once, so that one which no replica survives does not
take them all. The engine is up while one replica is, and its breaker knows answers and silences only, not whose.

Host names are looked up beside all that. A replica that is named no longer is kept while its stream stands, as it may
just be too busy to be called ready; whoever ends it ends its stream.
"""

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import structlog

from arbhub.columns import Ints
from arbhub.link import LinkOptions
from arbhub.rows import Answer
from arbhub.settings.engines import is_name
from arbhub.state import Report, Snapshot
from hub.breaker import Breaker
from hub.configured import Configured
from hub.references import References
from hub.remote import RemoteHost, RemoteSeat
from hub.seats import Case, Owner, Place, Seat, Tally

LOOK_UP_S = 5.0
REMEMBERED = 1024  # cases that were asked twice: more than can be under way on a stream

log = structlog.get_logger()


class ReplicatedSeat:
    """An engine that has replicas. It is up while one of them is."""

    reason_codes: Ints
    breaker: Breaker

    def __init__(self, name: str, replicas: "ReplicaSet") -> None:
        self.name, self.place, self.tally = name, replicas.place, Tally()
        self._replicas = replicas

    @property
    def up(self) -> bool:
        """Whether it can be asked."""
        return any(host.link.up for host in self._replicas.hosts)


class ReplicaSet:
    """The replicas at the addresses stated, and at all that host names among them stand for.

    To each replica it is the owner; it tells its own owner what they say, in the names of the engines.
    """

    def __init__(
        self, stated: Sequence[str], names: Sequence[str], configured: Configured, owner: Owner, options: LinkOptions
    ) -> None:
        self.place, self.names, self.configured = ", ".join(stated), tuple(names), configured
        self.hosts: list[RemoteHost] = []
        self.seats = {name: ReplicatedSeat(name, self) for name in names}
        self._stated, self._owner, self._options = stated, owner, options
        self._references: References | None = None
        self._shadow = False
        self._links: dict[str, asyncio.Task[None]] = {}
        self._turn = 0
        self._asked_again: deque[int] = deque(maxlen=REMEMBERED)
        self._unknown: set[str] = set()

    async def run(self) -> None:
        """Keep a stream to each replica, and find new ones, until cancelled."""
        async with asyncio.TaskGroup() as links:
            await self._renew(links)
            while any(is_name(address) for address in self._stated):
                await asyncio.sleep(LOOK_UP_S)
                await self._renew(links)

    @property
    def shadow(self) -> bool:
        """As a host's."""
        return self._shadow

    @shadow.setter
    def shadow(self, shadow: bool) -> None:
        self._shadow = shadow
        for host in self.hosts:
            host.shadow = shadow

    # What the hub tells and asks.

    def adopt(self, configured: Configured) -> None:
        """Have every replica judge by it, those to come too."""
        self.configured = configured
        for host in self.hosts:
            host.adopt(configured)

    def reference(self, references: References) -> None:
        """Tell every replica."""
        self._references = references
        for host in self.hosts:
            host.reference(references)

    def snapshot(self, snapshot: Snapshot) -> None:
        """Nobody here wants state: who does is turned away."""

    def report(self, report: Report) -> None:
        """The same."""

    def ask(self, case: Case) -> None:
        """Ask one replica; where none is up there will be no answer."""
        host = self._next()
        if host is not None:
            host.ask(case)
            return
        for seat in self.seats.values():
            self._owner.away(seat, case)

    def _next(self) -> RemoteHost | None:
        """Whoever of those that are up has the least unanswered; the next in turn among equals."""
        chosen, least, count = None, (sys.maxsize, 0), len(self.hosts)
        for number in range(self._turn + 1, self._turn + 1 + count):
            link = self.hosts[number % count].link
            if link.up and (load := (link.unanswered, link.queue.rows)) < least:
                chosen, least = number % count, load
        if chosen is None:
            return None
        self._turn = chosen
        return self.hosts[chosen]

    # What a replica says.

    def verdicts(self, seat: Seat, case: Case, verdicts: Answer) -> None:
        """An answer; replicas of several releases may have numbered their reasons differently."""
        ours = self.seats[seat.name]
        ours.reason_codes = seat.reason_codes
        self._owner.verdicts(ours, case, verdicts)

    def no_answer(self, seat: Seat, case: Case) -> None:
        """It said so: the case is not asked again, as another would say the same, or come to it later still."""
        self._owner.no_answer(self.seats[seat.name], case)

    def away(self, seat: Seat, case: Case) -> None:
        """It went down just now."""
        self._owner.away(self.seats[seat.name], case)

    def lost(self, case: Case) -> None:
        """It was lost with a stream: another replica is asked, if there is one and anybody still waits."""
        again = case.number not in self._asked_again and self._owner.still_open(case)
        host = self._next() if again else None
        if host is not None:
            self._asked_again.append(case.number)
            host.ask(case)
            return
        for seat in self.seats.values():
            self._owner.no_answer(seat, case)

    def shed(self, case: Case, rows: Ints, engines: Sequence[str]) -> None:
        """Rows given up on the way to it."""
        self._owner.shed(case, rows, engines)

    def stated_reasons(self, seat: Seat, reasons: Iterable[str]) -> None:
        """It has said hello. ConnectionError where it wants the state, of which replicas could have different ones."""
        if isinstance(seat, RemoteSeat) and seat.wants_state:
            raise ConnectionError(f"{seat.name} at {seat.place} wants the ledger's state, and may have no replicas")
        ours = self.seats[seat.name]
        self._owner.stated_reasons(ours, reasons)
        seat.reason_codes = ours.reason_codes

    def still_open(self, case: Case) -> bool:
        """Whether anybody waits for the case."""
        return self._owner.still_open(case)

    def due_ns(self, case: Case, engines: Sequence[str]) -> int:
        """Until when an answer is waited for."""
        return self._owner.due_ns(case, engines)

    def ledger(self) -> Snapshot | None:
        """Nobody here is told."""
        return None

    # Who the replicas are.

    async def _renew(self, links: asyncio.TaskGroup) -> None:
        """Look the names up; connect who is new, and forget who is named no longer and has no stream."""
        found: dict[str, str] = {}
        for stated in self._stated:
            found.update(await self._addresses(stated))
        known = {host.place: host for host in self.hosts}
        for address in [address for address in found if address not in known]:
            host = self._replica(address, found[address])
            self._links[address] = links.create_task(host.run())
        for address in known.keys() - found.keys():
            if not known[address].link.up:
                self._links.pop(address).cancel()
                self.hosts.remove(known[address])
                log.info("replica forgotten", engine=", ".join(self.names), address=address)

    async def _addresses(self, stated: str) -> Mapping[str, str]:
        """What an address stands for, each with the name that its certificate has; where nobody knows, as before."""
        if not is_name(stated):
            return {stated: ""}
        name, _, port = stated.rpartition(":")
        try:
            addresses = await looked_up(name, int(port))
        except (OSError, UnicodeError) as error:  # the latter of what can be no host's name
            if stated not in self._unknown:
                log.warning("replicas not found", engine=", ".join(self.names), name=name, reason=str(error))
            self._unknown.add(stated)
            return {host.place: name for host in self.hosts if host.place.endswith(f":{port}")}
        self._unknown.discard(stated)
        return dict.fromkeys(addresses, name)

    def _replica(self, address: str, certified: str) -> RemoteHost:
        credentials = replace(self._options.credentials, peer=certified)
        options = replace(self._options, credentials=credentials)
        host = RemoteHost(address, self.names, self.configured, self, options, others=self.lost)
        host.shadow = self._shadow
        for name, seat in host.seats.items():
            seat.tally = self.seats[name].tally
        if self._references is not None:
            host.reference(self._references)
        self.hosts.append(host)
        log.info("replica found", engine=", ".join(self.names), address=address)
        return host


async def looked_up(name: str, port: int) -> list[str]:
    """The addresses of a host name, as HOST:PORT; OSError where there are none, UnicodeError where it is no name.

    Those of IPv6 only where there are no others: with both, each machine would be there twice.
    """
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    by_family = {family: [at[4][0] for at in found if at[0] == family] for family in (socket.AF_INET, socket.AF_INET6)}
    if by_family[socket.AF_INET]:
        return [f"{host}:{port}" for host in dict.fromkeys(by_family[socket.AF_INET])]
    return [f"[{host}]:{port}" for host in dict.fromkeys(by_family[socket.AF_INET6])]


def hosts_of(places: Iterable[Place]) -> Iterator[RemoteHost]:
    """Every process but this one in which engines run."""
    for place in places:
        if isinstance(place, RemoteHost):
            yield place
        elif isinstance(place, ReplicaSet):
            yield from place.hosts
