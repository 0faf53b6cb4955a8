"""The admin port: whatever is sent to it gets an answer or INVALID_ARGUMENT, and changes nothing it should not."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from admin_probes import HALTED, REFUSED, UNUSABLE, AdministeredHub, administered, refused
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hub_probes import cheap, dear, within
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbhub.service import channel
from arbhub.v1 import admin_pb2

METHODS: dict[str, Any] = {
    "Reload": admin_pb2.ReloadRequest,
    "History": admin_pb2.HistoryRequest,
    "Rollback": admin_pb2.RollbackRequest,
    "Inspect": admin_pb2.InspectRequest,
    "SetTradingState": admin_pb2.SetTradingStateRequest,
    "SetEngineMode": admin_pb2.SetEngineModeRequest,
}
UNKNOWN_FIELD = bytes([0xB8, 0x3E, 0x01])  # field 999


class GarbageSender:
    """One hub for all examples, with a loop of its own: hypothesis calls from outside any."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._hub = AdministeredHub(Path(self._folder.name))
        self._serving = self._hub.serve(up=False)
        self._runner.run(self._serving.__aenter__())

    def send(self, method: str, frame: bytes) -> grpc.StatusCode:
        """What comes of a frame."""
        return self._runner.run(self._send(method, frame))

    async def _send(self, method: str, frame: bytes) -> grpc.StatusCode:
        async with channel(self._hub.admin) as wire:
            call: Any = wire.unary_unary(f"/arbhub.v1.Admin/{method}")
            try:
                await within(call(frame), "an answer")
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    def version(self) -> str:
        """That is in force."""
        return self._runner.run(self._hub.inspect()).version

    def end(self) -> None:
        """End the hub."""
        self._runner.run(self._serving.__aexit__(None, None, None))
        self._runner.close()
        self._folder.cleanup()


@pytest.fixture(scope="module")
def garbage() -> Iterator[GarbageSender]:
    """A hub that takes it all."""
    sender = GarbageSender()
    yield sender
    sender.end()


def readable(method: str, frame: bytes) -> bool:
    """Whether bytes happen to be a request."""
    try:
        return not len(UnknownFieldSet(METHODS[method].FromString(frame)))
    except DecodeError:
        return False


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(method=st.sampled_from(list(METHODS)), frame=st.binary(max_size=200))
def test_garbage_is_refused(garbage: GarbageSender, method: str, frame: bytes) -> None:
    """Bytes of any kind: no crash, no wait, and nothing has changed."""
    code = garbage.send(method, frame)
    assert code in ((grpc.StatusCode.OK, UNUSABLE, REFUSED) if readable(method, frame) else (UNUSABLE,))
    assert garbage.version().startswith("1-")


texts = st.text(max_size=30)
toml = st.one_of(
    texts, st.just("x = " + "[" * 5000), st.just("[hub]\n" + "# much\n" * 60_000), st.just("[hub]\na=1\na=2")
)
requests: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(
        st.just("Reload"),
        st.one_of(
            st.builds(admin_pb2.ReloadRequest, toml=toml, sets=st.lists(texts, min_size=1, max_size=2)),
            st.builds(admin_pb2.ReloadRequest, sets=st.lists(texts, max_size=2), expected_version=texts),
        ),
    ),
    st.tuples(st.just("Rollback"), st.builds(admin_pb2.RollbackRequest, number=st.integers(2, 2**64 - 1), who=texts)),
    st.tuples(
        st.just("SetTradingState"),
        st.builds(
            admin_pb2.SetTradingStateRequest,
            state=st.one_of(st.just(0), st.integers(4, 2**31 - 1), st.integers(-(2**31), -1)),
            why=texts,
        ),
    ),
    st.tuples(st.just("SetEngineMode"), st.builds(admin_pb2.SetEngineModeRequest, engine=texts, mode=texts)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(request=requests)
def test_requests_that_make_no_sense_are_refused(garbage: GarbageSender, request: tuple[str, Any]) -> None:
    """Well-formed, but asking for what is not: INVALID_ARGUMENT, each time."""
    method, message = request
    assert garbage.send(method, message.SerializeToString()) is UNUSABLE
    assert garbage.version().startswith("1-")


@pytest.mark.parametrize("method", list(METHODS))
def test_a_field_that_is_not_known_is_refused(garbage: GarbageSender, method: str) -> None:
    """Who asks for more than this hub understands does not get less without a word."""
    assert garbage.send(method, UNKNOWN_FIELD) is UNUSABLE


async def test_every_act_and_every_refusal_is_a_line_of_the_trail(tmp_path: Path) -> None:
    """With who, what and the version."""
    with structlog.testing.capture_logs() as logs:
        async with administered(tmp_path) as hub:
            await hub.trade(HALTED, "why not")
            await hub.reload(("hub.deadline_ms", 50.0), who="somebody")
            await refused(hub.reload(("hub.depth", 3), who="somebody"))
    acts = [(e["what"], e["who"], e["version"][:2], e["outcome"].partition(":")[0]) for e in logs if "audit" in e]
    assert [act for act in acts if act[0] == "reload"] == [
        ("reload", "somebody from 127.0.0.1", "2-", "done"),
        ("reload", "somebody from 127.0.0.1", "2-", "refused"),
    ]
    assert (acts[0][0], acts[0][3]) == ("trading state", "done")


async def test_the_state_shows_engines_links_and_decisions(tmp_path: Path) -> None:
    """Each engine with its mode, version, counts and latencies, each link with its window and queue."""
    async with administered(tmp_path) as hub:
        await hub.client.ask(cheap(), dear())
        s = await hub.until(lambda s: s.ticks == 2, "the count")
    assert (s.approved, dict(s.rejected), s.epoch) == (1, {"NO_COUNTERPART": 1}, 1)
    assert [(e.name, e.up, e.mode, e.judged, e.timeouts) for e in s.engines] == [
        (name, True, "active", 1, 0) for name in ("spread", "fee", "liquidity", "risk")
    ]
    assert {e.version for e in s.engines} == {s.version}
    assert all(0 < e.latency.p50_ms <= e.latency.p99_99_ms <= e.latency.max_ms for e in s.engines)
    assert [(link.name, link.up, link.window, link.version) for link in s.links] == [("executor", True, 1, s.version)]
    assert s.uptime_s > 0
    assert s.decision_latency.p50_ms > 0


async def test_without_an_admin_address_there_is_no_admin_port(tmp_path: Path) -> None:
    """The hub serves all the same."""
    hub = AdministeredHub(tmp_path)
    hub.content["hub"]["admin_listen"] = ""
    async with hub.serve(up=False):
        assert await hub.client.ask(cheap(), dear()) == ["NO_COUNTERPART", "EXECUTOR_UNAVAILABLE"]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await hub.stub.Inspect(admin_pb2.InspectRequest(), timeout=2)
    assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
