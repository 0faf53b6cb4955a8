"""Whatever is sent to a service, whole or broken: who sends it is told what is wrong, and others are served on."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbhub.columns import Side, Ticks
from arbhub.control import encode_reference
from arbhub.engine import EngineConfiguration
from arbhub.reference import Listing, ReferenceData, Universe
from arbhub.service import OnReady, channel
from arbhub.settings.schema import Settings
from arbhub.v1 import engine_pb2, executor_pb2, hub_pb2
from arbhub.wire import encode_ticks
from engines.server import run as run_engine
from engines.table import ENGINES
from executor.server import run as run_executor
from hub.server import run as run_hub

PATIENCE_S = 10.0
FINE, WRONG = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT
EARLY = grpc.StatusCode.FAILED_PRECONDITION
"""The executor's: what makes sense, but not yet."""
STREAMS = {
    "hub": "/arbhub.v1.Hub/Stream",
    "engine": "/arbhub.v1.Engine/Evaluate",
    "executor": "/arbhub.v1.Executor/Execute",
}


def known() -> Universe:
    """Two venues that list one instrument."""
    universe = Universe()
    universe.merge(ReferenceData(("A", "B"), ("BTC/USD",), (Listing("A", "BTC/USD"), Listing("B", "BTC/USD"))))
    return universe


def ticks() -> bytes:
    """One tick of each venue, as TickColumns."""
    at, side = np.arange(2), Side.from_levels([[(100.0, 1.0)], [(101.0, 1.0)]])
    asks = Side.from_levels([[(102.0, 1.0)], [(103.0, 1.0)]])
    return encode_ticks(Ticks(at, np.zeros(2, np.int64), at, side, asks, np.zeros(2, np.int64)))


def conversations() -> dict[str, list[bytes]]:
    """What each service may be told, frame by frame."""
    reference, configuration = encode_reference(known()), EngineConfiguration().model_dump_json().encode()
    told = engine_pb2.Configuration(version="1-a", settings_json=configuration)
    hub = [hub_pb2.StreamRequest(reference=reference), hub_pb2.StreamRequest()]
    hub[1].batch.batch_id = 1
    hub[1].batch.ticks.MergeFromString(ticks())
    slices = executor_pb2.ExecuteRequest()
    part = slices.batch.slices.add(tick_sequence=[0, 1])
    part.ticks.MergeFromString(ticks())
    asked = engine_pb2.EngineRequest(batch=engine_pb2.OpportunityBatch(batch_id=1))
    for column in asked.batch.opportunities.DESCRIPTOR.fields:
        getattr(asked.batch.opportunities, column.name).append(int(column.name == "sell_venue"))
    engine = [engine_pb2.EngineRequest(configuration=told), engine_pb2.EngineRequest(reference=reference), asked]
    executor = [
        executor_pb2.ExecuteRequest(configuration=told),
        executor_pb2.ExecuteRequest(reference=reference),
        slices,
    ]
    every: dict[str, Sequence[Any]] = {"hub": hub, "engine": engine, "executor": executor}
    return {service: [frame.SerializeToString() for frame in frames] for service, frames in every.items()}


class Served:
    """A hub, an engine and an executor in a loop of their own: hypothesis calls from outside any."""

    def __init__(self) -> None:
        self._runner, self._shutdown = asyncio.Runner(), asyncio.Event()
        self.addresses: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._runner.run(self._start())

    async def _start(self) -> None:
        nowhere = "127.0.0.1:0"
        hub = {"listen": nowhere, "admin_listen": "", "http_listen": "", "state_dir": ""}
        made = Settings.model_validate(
            {
                "hub": hub,
                "executor": {"listen": nowhere, "ledger_url": "sqlite://"},
                "engines": {"spread": {"place": nowhere}},
            }
        )
        inside = {name: engine() for name, engine in ENGINES.items()}
        alone = Settings.model_validate({"hub": hub, "executor": {"listen": "127.0.0.1:1"}})
        starts: dict[str, Callable[[OnReady], Coroutine[Any, Any, None]]] = {
            "engine": lambda ready: run_engine(made, ["spread"], self._shutdown, ready),
            "executor": lambda ready: run_executor(made, self._shutdown, ready),
            "hub": lambda ready: run_hub(alone, inside, self._shutdown, ready),
        }
        for name, serve in starts.items():
            port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._tasks.append(asyncio.create_task(serve(port.set_result)))
            self.addresses[name] = f"127.0.0.1:{await asyncio.wait_for(port, PATIENCE_S)}"

    def end(self) -> None:
        """End them all."""

        async def ended() -> None:
            self._shutdown.set()
            await asyncio.gather(*self._tasks)

        self._runner.run(ended())
        self._runner.close()

    def told(self, service: str, frames: Sequence[bytes]) -> grpc.StatusCode:
        """How a stream ends over which this is said."""
        return self._runner.run(asyncio.wait_for(self._told(service, frames), PATIENCE_S))

    async def _told(self, service: str, frames: Sequence[bytes]) -> grpc.StatusCode:
        async with channel(self.addresses[service]) as wire:
            call: Any = wire.stream_stream(STREAMS[service])()
            try:
                for frame in frames:
                    await call.write(frame)
                await call.done_writing()
                while await call.read() is not grpc.aio.EOF:
                    pass
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # it has ended: how, the code says
            code: grpc.StatusCode = await call.code()
            return code

    def asked(self, method: str, frame: bytes) -> grpc.StatusCode:
        """What comes of a single call of the hub."""
        return self._runner.run(asyncio.wait_for(self._asked(method, frame), PATIENCE_S))

    async def _asked(self, method: str, frame: bytes) -> grpc.StatusCode:
        async with channel(self.addresses["hub"]) as wire:
            try:
                make: Any = wire.unary_unary if method == "Evaluate" else wire.unary_stream
                call = make(f"/arbhub.v1.Hub/{method}")(frame)
                await (call if method == "Evaluate" else call.read())
            except grpc.aio.AioRpcError as error:
                return error.code()
            return FINE


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Services that take it all."""
    services = Served()
    yield services
    services.end()


HELD = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
TALKS = conversations()


@pytest.mark.parametrize("service", STREAMS)
def test_what_makes_sense_is_taken(served: Served, service: str) -> None:
    """Otherwise the tests below would prove little."""
    assert served.told(service, TALKS[service]) is FINE


@pytest.mark.parametrize("service", STREAMS)
@HELD
@given(garbage=st.binary(min_size=1, max_size=200), after=st.integers(0, 3))
def test_garbage_ends_a_stream(served: Served, service: str, garbage: bytes, after: int) -> None:
    """As INVALID_ARGUMENT, wherever it comes; other streams go on."""
    frames = TALKS[service]
    assert served.told(service, [*frames[:after], garbage]) in (WRONG, EARLY)
    assert served.told(service, frames) is FINE


@pytest.mark.parametrize("service", STREAMS)
@HELD
@given(data=st.data())
def test_a_broken_frame_is_no_crash(served: Served, service: str, data: st.DataObject) -> None:
    """The last frame of a sound conversation with a byte changed, lost or added: taken or refused, and others go on."""
    frames = list(TALKS[service])
    which = data.draw(st.integers(0, len(frames) - 1))
    at = data.draw(st.integers(0, len(frames[which]) - 1))
    by = data.draw(st.sampled_from((b"", b"\x00", b"\x7f", b"\xff", b"\x01\x01")))
    frames[which] = frames[which][:at] + by + frames[which][at + 1 :]
    assert served.told(service, frames[: which + 1]) in (FINE, WRONG, EARLY)
    assert served.told(service, TALKS[service]) is FINE


@pytest.mark.parametrize("method", ["Evaluate", "Watch"])
@HELD
@given(frame=st.binary(min_size=1, max_size=100))
def test_garbage_is_no_request(served: Served, method: str, frame: bytes) -> None:
    """A single call is told so, too."""
    kind = hub_pb2.EvaluateRequest if method == "Evaluate" else hub_pb2.WatchRequest
    assert served.asked(method, frame) in ((WRONG,) if not _readable(kind, frame) else (FINE, WRONG))


NUMBERS = st.one_of(st.floats(), st.floats(width=32), st.just(0.0))
SIDES = st.lists(NUMBERS, max_size=4)


@HELD
@given(
    request_=st.builds(
        hub_pb2.EvaluateRequest,
        venue=st.sampled_from(("A", "B", "C", "")),
        symbol=st.sampled_from(("BTC/USD", "ETH/USD")),
        ts_ns=st.integers(-(2**63), 2**63 - 1),
        bid_price=SIDES,
        bid_size=SIDES,
        ask_price=SIDES,
        ask_size=SIDES,
    )
)
def test_any_tick_is_judged_or_refused(served: Served, request_: hub_pb2.EvaluateRequest) -> None:
    """Prices that are none, times beyond all years, columns that do not fit, venues nobody knows."""
    served.told("hub", TALKS["hub"])
    assert served.asked("Evaluate", request_.SerializeToString()) in (FINE, WRONG)


def _readable(kind: Any, frame: bytes) -> bool:
    try:
        kind.FromString(frame)
    except DecodeError:
        return False
    return True
