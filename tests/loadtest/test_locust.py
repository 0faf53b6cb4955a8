"""The locust file: both kinds of user on a real hub, headless and from the web page, and no hub at all."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import orjson
import pytest
import pytest_asyncio

from arbhub.processes import Child, Household, Service, free_ports
from arbhub.service import serving
from arbhub.v1 import hub_pb2

LOCUST = (sys.executable, "-m", "locust", "-f", str(Path(__file__).parents[2] / "loadtest" / "locustfile.py"))
HEADLESS = (*LOCUST, "--headless", "--json", "-r", "10", "-u", "4", "-t", "3s")
UNARY, STREAM = ("grpc unary", "Evaluate (closed loop)"), ("grpc stream", "Stream, 10 ticks a batch (closed loop)")
OPENED = ("grpc stream", "Stream opened (closed loop)")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """A headless test to its end."""
    return subprocess.run((*HEADLESS, *options), capture_output=True, text=True, timeout=60, check=False)


def figures(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """What locust counted, by request type and name."""
    rows = orjson.loads(done.stdout)
    return {(row["method"], row["name"]): row for row in rows}


def failures(done: subprocess.CompletedProcess[str]) -> int:
    """Of all requests."""
    return sum(row["num_failures"] for row in figures(done).values())


async def started(folder: Path) -> tuple[Household, str]:
    """A hub with its engines in its process and no executor, and its address."""
    (port,) = free_ports(1)
    config = folder / "hub.toml"
    config.write_text(
        f'[hub]\nlisten = "127.0.0.1:{port}"\nhttp_listen = ""\nadmin_listen = ""\nstate_dir = ""\n'
        '[executor]\nlisten = "127.0.0.1:1"\n'
    )
    household = Household(folder)
    await household.start([Service("hub", ("hub", "--config", str(config)), f"127.0.0.1:{port}")])
    await household.ready(45)
    return household, f"127.0.0.1:{port}"


@pytest_asyncio.fixture(scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A hub's address."""
    household, address = await started(tmp_path_factory.mktemp("locust"))
    try:
        yield address
    finally:
        await household.end()


async def test_both_kinds_of_user_are_answered(hub: str) -> None:
    """Requests of both, named as closed loop, no failure, and the note that says what the figures are worth."""
    done = await asyncio.to_thread(run, "--host", hub)
    assert done.returncode == 0, done.stderr
    counted = figures(done)
    assert counted.keys() == {UNARY, STREAM, OPENED}
    assert all(row["num_requests"] > 0 for row in counted.values())
    assert counted[OPENED]["num_requests"] == 2
    assert failures(done) == 0
    assert "closed loop: each user waits" in done.stderr
    assert "python -m loadtest run" in done.stderr


async def test_a_kind_of_user_can_be_run_alone(hub: str) -> None:
    """With batches as large as asked for."""
    done = await asyncio.to_thread(run, "--host", hub, "--batch-ticks", "300", "StreamUser")
    assert done.returncode == 0, done.stderr
    assert figures(done).keys() == {OPENED, ("grpc stream", "Stream, 300 ticks a batch (closed loop)")}


class SheddingHub:
    """Answers every question with SHED."""

    def register(self, server: grpc.aio.Server) -> None:
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Stream": grpc.stream_stream_rpc_method_handler(
                self.stream, hub_pb2.StreamRequest.FromString, hub_pb2.StreamReply.SerializeToString
            ),
            "Evaluate": grpc.unary_unary_rpc_method_handler(
                self.evaluate, None, hub_pb2.EvaluateReply.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("arbhub.v1.Hub", methods),))

    async def stream(self, requests: AsyncIterator[hub_pb2.StreamRequest], _: Any) -> AsyncIterator[Any]:
        async for request in requests:
            if request.WhichOneof("frame") == "reference":
                yield hub_pb2.StreamReply(names=hub_pb2.Names())
            else:
                shed = hub_pb2.DecisionBatch(batch_id=request.batch.batch_id, reasons=["SHED"])
                yield hub_pb2.StreamReply(batch=shed)

    async def evaluate(self, _: bytes, __: Any) -> hub_pb2.EvaluateReply:
        return hub_pb2.EvaluateReply(reason="SHED")


async def test_answers_that_are_no_decisions_are_failures() -> None:
    """However fast they are: every request of either kind fails, and so does the run."""
    async with serving("127.0.0.1:0", SheddingHub().register, []) as port:
        done = await asyncio.to_thread(run, "--host", f"127.0.0.1:{port}")
    assert done.returncode == 1
    counted = figures(done)
    for kind in (UNARY, STREAM):
        assert counted[kind]["num_failures"] == counted[kind]["num_requests"] > 0
    assert counted[OPENED]["num_requests"] == 2, "a stream whose ticks were shed is still a good one"


async def test_a_hub_that_goes_away_fails_the_run(tmp_path: Path) -> None:
    """Both kinds of user report gRPC's errors, go on, and locust ends by itself with a failing exit."""
    household, address = await started(tmp_path)
    command = (*HEADLESS, "--host", address)
    try:
        running = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert running.stderr is not None
        said = [b"so far"]
        while said[-1] and b"All users spawned" not in said[-1]:
            said.append(await running.stderr.readline())
        assert said[-1], b"".join(said).decode()
        household.children[0].process.kill()
        out, _ = await running.communicate()
    finally:
        await household.end()
    assert running.returncode == 1
    failed = {(row["method"], row["name"]) for row in orjson.loads(out) if row["num_failures"]}
    assert UNARY in failed
    assert {STREAM, OPENED} & failed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "127.0.0.1:1"), "no hub answers at 127.0.0.1:1: start one, or name it with --host"),
        ((), "which hub? Name it with --host HOST:PORT"),
        (("--host", "127.0.0.1:1", "--batch-ticks", "0"), "--batch-ticks should be from 1 to 4096"),
    ],
)
def test_without_a_hub_it_fails_and_says_why(options: tuple[str, ...], said: str) -> None:
    """One line and a failing exit, before any user asks anything; no trace of locust's code."""
    done = run(*options)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert orjson.loads(done.stdout) == []


async def test_the_web_page_starts_a_test(hub: str) -> None:
    """The page is there, starts users on the hub, and shows their figures; SIGTERM ends it well."""
    (port,) = free_ports(1)
    words = ("--web-host", "127.0.0.1", "--web-port", str(port), "--host", hub)
    process = await asyncio.create_subprocess_exec(*LOCUST, *words, start_new_session=True)
    household = Household(children=[Child(Service("page", words, f"127.0.0.1:{port}", health=False), process)])
    try:
        await household.ready(45)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            async with client.get("/") as reply:
                assert "Locust" in await reply.text()
            async with client.post("/swarm", data={"user_count": 2, "spawn_rate": 2, "host": hub}) as reply:
                assert (await reply.json())["success"]
            names: set[str] = set()
            while not names >= {UNARY[1], STREAM[1]}:
                async with client.get("/stats/requests") as reply:
                    stats = await reply.json()
                assert stats["fail_ratio"] == 0
                names = {row["name"] for row in stats["stats"]}
    finally:
        await household.end()
    assert process.returncode == 0
