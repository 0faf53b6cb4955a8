"""Locust users for a hub: the unary call and the stream, headless or with locust's web page.

    locust -f loadtest/locustfile.py --headless -u 10 -r 10 -t 10s --host 127.0.0.1:7401
    locust -f loadtest/locustfile.py --web-host 127.0.0.1 --host 127.0.0.1:7401

A user asks again when it has its answer: a closed loop, in which a hub that stalls is asked less, so the worst
latencies hide. Every figure's name says so; those of the tail come from `python -m loadtest run`, an open loop.

Locust runs on gevent, and so does gRPC here: `init_gevent` comes before any channel, and grpc.aio, which would need
an event loop of its own, is never used. Name a class to run its users alone: `... EvaluateUser`.
"""

import contextlib
import itertools
import logging
import time
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, NoReturn, TypeAlias

import gevent
import grpc
import grpc.experimental.gevent as grpc_gevent
import numpy as np
from locust import User, constant, events, task
from locust.env import Environment

from arbhub.columns import Ticks
from arbhub.control import encode_reference
from arbhub.reference import Universe
from arbhub.v1 import hub_pb2
from arbhub.wire import batch_frame, encode_ticks, submessage
from loadtest.connection import connect
from loadtest.schedule import Arrivals, Market, schedule

grpc_gevent.init_gevent()

Reply = hub_pb2.StreamReply
StreamCall: TypeAlias = "grpc.StreamStreamMultiCallable[bytes, Reply]"
STREAM, EVALUATE = "/arbhub.v1.Hub/Stream", "/arbhub.v1.Hub/Evaluate"
BATCH = hub_pb2.StreamRequest.BATCH_FIELD_NUMBER
TICKS = hub_pb2.TickBatch.TICKS_FIELD_NUMBER
ANSWER_S = 5.0
REFRESH_S = 2.0  # books grow unusable after hub.max_quote_age_ms, 10 s by default
MAX_BATCH = 4096
MARKET = Market()
REFERENCE = MARKET.reference()
NOTE = (
    "closed loop: each user waits for its answer before it asks again, so a stall of the hub hides in these figures; "
    "those of the tail come from `python -m loadtest run`"
)

log = logging.getLogger(__name__)
seeds = itertools.count(1)


class NotDecidedError(Exception):
    """An answer that is no decision in time: SHED, or an engine's silence."""


class HubStream:
    """One `Hub.Stream` with the market introduced; grpc.RpcError or TimeoutError where the hub does not answer."""

    def __init__(self, host: str) -> None:
        self._channel = connect(host)
        self._frames: SimpleQueue[bytes | None] = SimpleQueue()
        self._numbers = itertools.count()
        call: StreamCall = self._channel.stream_stream(STREAM, None, Reply.FromString)
        self._replies = call(iter(self._frames.get, None))
        universe = Universe()
        universe.merge(REFERENCE)
        self._frames.put(hub_pb2.StreamRequest(reference=encode_reference(universe)).SerializeToString())
        try:
            self._next("names")
        except BaseException:
            self.close()
            raise

    def decide(self, ticks: Ticks) -> hub_pb2.DecisionBatch:
        """The hub's answer to one batch."""
        self._frames.put(batch_frame(BATCH, next(self._numbers), submessage(TICKS, encode_ticks(ticks))))
        return self._next("batch").batch

    def close(self) -> None:
        """End the stream and its connection."""
        self._frames.put(None)
        self._channel.close()

    def _next(self, kind: str) -> Reply:
        """The next frame of a kind; names also come unasked, when somebody states more of them."""
        with gevent.Timeout(ANSWER_S, TimeoutError(f"no answer within {ANSWER_S:g} s")):
            for reply in self._replies:
                if reply.WhichOneof("frame") == kind:
                    return reply
        raise ConnectionError("the hub ended the stream")


class Books:
    """An endless supply of new books, different for each seed and as old as the moment."""

    def __init__(self) -> None:
        drawn = schedule(Arrivals.POISSON, 10_000.0, 0.5, MARKET, next(seeds))
        self.opening = drawn.ticks.slice(0, drawn.timed)  # a book for every instrument on every venue
        self._ticks = drawn.ticks.slice(drawn.timed, len(drawn.ticks))
        self._at = 0

    def take(self, count: int) -> Ticks:
        """The next `count` ticks."""
        self._at += count
        return _now(self._ticks.take(np.arange(self._at - count, self._at) % len(self._ticks)))


def _now(ticks: Ticks) -> Ticks:
    return replace(ticks, ts_ns=np.full(len(ticks), time.time_ns()))


class BookKeeper:
    """Keeps every book of the market usable, from the start of a test to its end; none of that is in its figures.

    `Evaluate` updates no book: without this, users of it alone would have no counterpart to be judged against.
    """

    def __init__(self) -> None:
        self._keeping: gevent.Greenlet[..., None] | None = None

    def begin(self, host: str) -> None:
        """Introduce the market and its books, and go on; fails as a HubStream does."""
        stream, books = HubStream(host), Books().opening
        stream.decide(_now(books))
        self._keeping = gevent.spawn(self._keep, stream, books)

    def end(self) -> None:
        """Stop, where it was begun."""
        if self._keeping is not None:
            self._keeping.kill()
            self._keeping = None

    @staticmethod
    def _keep(stream: HubStream, books: Ticks) -> None:
        try:
            while True:
                gevent.sleep(REFRESH_S)
                stream.decide(_now(books))
        except (grpc.RpcError, OSError) as error:  # users meet the same, and report it
            log.warning("books are no longer kept fresh: %s", _said(error))
        finally:
            stream.close()


keeper = BookKeeper()


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust's own
def add_options(parser: ArgumentParser, **_: Any) -> None:
    """What only these users have."""
    parser.add_argument("--batch-ticks", type=int, default=10, help=f"Ticks a batch on a stream, at most {MAX_BATCH}")


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # locust's own
def begin(environment: Environment, **_: Any) -> None:
    """Find the hub, or stop with what is wrong in one sentence."""
    if not environment.host:
        _stop(environment, "which hub? Name it with --host HOST:PORT, such as --host 127.0.0.1:7401")
    if not 1 <= _batch_ticks(environment) <= MAX_BATCH:
        _stop(environment, f"--batch-ticks should be from 1 to {MAX_BATCH}")
    try:
        keeper.begin(environment.host)
    except (grpc.RpcError, OSError) as error:
        hint = "start one, or name it with --host HOST:PORT (no http://)"
        _stop(environment, f"no hub answers at {environment.host}: {hint}. {_said(error)}")
    log.info(NOTE)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]  # locust's own
def end(**_: Any) -> None:
    """Leave no stream behind."""
    keeper.end()


def _stop(environment: Environment, why: str) -> NoReturn:
    """End a test before its first user, in one line; without the web page that ends locust too, as a failure."""
    log.error(why)
    if environment.runner is not None:
        headless = environment.parsed_options is not None and environment.parsed_options.headless
        environment.process_exit_code = 1 if headless else None
        gevent.spawn(environment.runner.quit if headless else environment.runner.stop)
    raise gevent.GreenletExit  # no user is spawned; locust's own StopTest would show a trace of its code


def _batch_ticks(environment: Environment) -> int:
    return int(environment.parsed_options.batch_ticks) if environment.parsed_options else 1


def _said(error: Exception) -> str:
    """An error in one line: gRPC's own have many."""
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)


def _refuse_undecided(reasons: Iterable[str]) -> None:
    for reason in reasons:
        if reason.startswith(("SHED", "ENGINE_TIMEOUT")):
            raise NotDecidedError(reason)


class HubUser(User):
    """What both kinds share: new books, no pause between requests, and how a request is reported."""

    abstract = True
    wait_time = constant(0)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.books = Books()
        self.address = environment.host or ""  # `begin` saw to it

    @contextlib.contextmanager
    def reported(self, kind: str, name: str) -> Iterator[None]:
        """Tell locust of a request and how long it took; one that the end of the test cuts off is none."""
        failure: Exception | None = None
        began = time.perf_counter()
        try:
            yield
        except (grpc.RpcError, OSError, NotDecidedError) as error:
            failure = error if isinstance(error, NotDecidedError) else ConnectionError(_said(error))
        self.environment.events.request.fire(
            request_type=kind,
            name=f"{name} (closed loop)",
            response_time=(time.perf_counter() - began) * 1e3,
            response_length=0,
            exception=failure,
            context=self.context(),
        )
        if failure is not None:
            gevent.sleep(0.1)  # a hub that is away is asked again, but not as fast as it refuses


class EvaluateUser(HubUser):
    """Asks about one book after another with the unary call."""

    def on_start(self) -> None:
        """A connection of its own."""
        self.channel = connect(self.address)
        request, reply = hub_pb2.EvaluateRequest.SerializeToString, hub_pb2.EvaluateReply.FromString
        self.evaluate_rpc = self.channel.unary_unary(EVALUATE, request, reply)

    def on_stop(self) -> None:
        """Close it."""
        self.channel.close()

    @task
    def evaluate(self) -> None:
        """One call."""
        tick = self.books.take(1)
        (bid, bid_size), (ask, ask_size) = (list(zip(*side.row(0), strict=True)) for side in (tick.bids, tick.asks))
        request = hub_pb2.EvaluateRequest(
            venue=REFERENCE.venues[int(tick.venue[0])],
            symbol=REFERENCE.symbols[int(tick.instrument[0])],
            bid_price=bid,
            bid_size=bid_size,
            ask_price=ask,
            ask_size=ask_size,
        )
        with self.reported("grpc unary", "Evaluate"):
            reply = self.evaluate_rpc(request, timeout=ANSWER_S)
            _refuse_undecided([reply.reason])


class StreamUser(HubUser):
    """Sends one batch of ticks after another on a stream that stays open."""

    def on_start(self) -> None:
        """The stream is opened by the first request that needs it, and anew by the first after a failure."""
        self.stream: HubStream | None = None
        self.count = _batch_ticks(self.environment)

    def on_stop(self) -> None:
        """Close what is open."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    @task
    def send(self) -> None:
        """One batch; the time that opening a stream takes is reported apart."""
        if self.stream is None:
            with self.reported("grpc stream", "Stream opened"):
                self.stream = HubStream(self.address)
            return
        ticks, decided = self.books.take(self.count), False
        with self.reported("grpc stream", f"Stream, {self.count} ticks a batch"):
            reply = self.stream.decide(ticks)
            decided = True
            _refuse_undecided(reply.reasons)
        if not decided:
            self.on_stop()
