"""The shell round a service: its port, its health, its reflection, and its end by signals."""

import asyncio
import signal
import subprocess
import sys
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from log_records import amiss

from arbhub.service import OpenStreams, ServiceError, channel, serving

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def _nothing(_: grpc.aio.Server) -> None:
    """Registers nothing."""


async def test_health_and_reflection() -> None:
    """The service answers for itself and as a whole, and says what it is; a name it does not have is not found."""
    async with serving("127.0.0.1:0", _nothing, ["arbhub.test.Some"]) as port, channel(f"127.0.0.1:{port}") as wire:
        health = health_pb2_grpc.HealthStub(wire)
        for name in ("", "arbhub.test.Some"):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="arbhub.test.Other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        ask: Any = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        async for answer in reflection_pb2_grpc.ServerReflectionStub(wire).ServerReflectionInfo(ask):
            assert "arbhub.test.Some" in {s.name for s in answer.list_services_response.service}


async def test_a_port_is_never_shared() -> None:
    """A second server on the port is a ServiceError, and so is an address of another machine."""
    async with serving("127.0.0.1:0", _nothing, []) as port:
        for listen in (f"127.0.0.1:{port}", "192.0.2.1:7401", "no.such.host.invalid:1"):
            with pytest.raises(ServiceError, match=f"cannot listen on {listen}: the port is in use or the address"):
                async with serving(listen, _nothing, []):
                    pass


async def test_at_its_end_it_says_so_before_it_drains() -> None:
    """Health is NOT_SERVING by the time the drain begins; the drain may still use the streams."""
    seen = []
    async with channel("127.0.0.1:1") as _:
        pass

    async def drain() -> None:
        seen.append((await asyncio.wait_for(health.read(), 20)).status)

    async with serving("127.0.0.1:0", _nothing, [], drain=drain) as port:
        wire = channel(f"127.0.0.1:{port}")
        health: Any = health_pb2_grpc.HealthStub(wire).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == SERVING
    assert seen == [NOT_SERVING]
    await wire.close()


async def test_a_start_that_fails_frees_the_port() -> None:
    """Whoever is told of the port may fail: the server is gone then."""
    ports: list[int] = []

    def fails(port: int) -> None:
        ports.append(port)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with serving("127.0.0.1:0", _nothing, [], fails):
            pass
    async with serving(f"127.0.0.1:{ports[0]}", _nothing, []) as port:
        assert port == ports[0]


async def test_open_streams_are_ended(caplog: pytest.LogCaptureFixture) -> None:
    """Each one as UNAVAILABLE with the reason, while its handler waits for more; gRPC finds nothing amiss.

    So is one that is opened while the drain goes on: no handler runs for it.
    """
    streams, open_now = OpenStreams(), asyncio.Event()

    async def wait(_: Any, context: Any) -> None:
        async with streams.holding(context):
            open_now.set()
            await context.read()

    handler: Any = grpc.stream_stream_rpc_method_handler(wait)
    handlers = grpc.method_handlers_generic_handler("arbhub.test.Some", {"Wait": handler})
    register = lambda server: server.add_generic_rpc_handlers((handlers,))  # noqa: E731

    async def drained() -> None:
        await streams.end("it is over")
        open_now.clear()
        reads.append(asyncio.create_task(wait_call().read()))
        await asyncio.wait(reads)

    async with serving("127.0.0.1:0", register, [], drain=drained) as port:
        wire = channel(f"127.0.0.1:{port}")
        wait_call: Any = wire.stream_stream("/arbhub.test.Some/Wait")
        reads = [asyncio.create_task(wait_call().read())]
        await asyncio.wait_for(open_now.wait(), 20)
    assert amiss(caplog.records) == []
    for read in reads:
        with pytest.raises(grpc.aio.AioRpcError, match="it is over") as caught:
            await read
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not open_now.is_set()
    await wire.close()


PROGRAM = """
import asyncio, sys
from arbhub.service import run_until_signal
async def run(shutdown):
    print("up", flush=True)
    await shutdown.wait()
    print("ending", flush=True)
    if sys.argv[1] == "stuck":
        await asyncio.Event().wait()
run_until_signal(run)
"""


@pytest.mark.parametrize(("how", "number", "code"), [("ends", signal.SIGTERM, 0), ("stuck", signal.SIGINT, 1)])
def test_signals_end_it(how: str, number: signal.Signals, code: int) -> None:
    """The first asks it to end, a second ends it at once."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, how], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.readline() == "ending\n"
        if how == "stuck":
            process.send_signal(number)
        assert process.wait(20) == code
