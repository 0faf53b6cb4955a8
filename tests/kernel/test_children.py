"""Ports for services that are to be started, and who counts as one that was."""

import socket
from pathlib import Path

import grpc
import pytest

from arbhub.processes import Household, Service, free_ports
from arbhub.service import ServiceError, serving


def test_a_port_is_kept_for_whom_it_is_meant() -> None:
    """Nobody gets it who could have any other; a server that starts again at once listens on it, and is alone there."""
    (port,) = free_ports(1)
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)), socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            second.bind(("127.0.0.1", port))


async def test_another_that_answers_in_its_place_is_no_child(tmp_path: Path) -> None:
    """A child that has ended is not ready, however well somebody else serves at its address."""

    def nothing(server: grpc.aio.Server) -> None:
        """It has its health and no more."""

    household = Household(tmp_path)
    async with serving("127.0.0.1:0", nothing, ["another"]) as port:
        await household.start([Service("child", ("no-such-command",), f"127.0.0.1:{port}")])
        await household.children[0].process.wait()
        with pytest.raises(ServiceError, match="child ended with 2 before it was ready"):
            await household.ready(10)
