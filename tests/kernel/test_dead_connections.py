"""A link whose connection goes dead in silence: no end, no reset, only nothing any more."""

import asyncio

from faulty_wire import FaultyWire
from test_link import ListeningPeer, ScriptedServer, running

KEEPALIVE_S = 15.0  # what gRPC takes at least to give a silent connection up


async def test_a_connection_that_went_dead_is_given_up_with_its_stream() -> None:
    """The stall bound is what it takes to be up again, not the keepalive of a connection nobody hears of any more."""
    server = ScriptedServer()
    async with server.served() as address:
        wire = FaultyWire(address)
        async with wire.listening():
            peer = ListeningPeer(wire.address, stall_s=0.2, greeting_s=0.2)
            async with running(peer):
                await peer.until(lambda: peer.link.up)
                wire.forsake()
                peer.offer("lost")
                async with asyncio.timeout(KEEPALIVE_S / 2):
                    await peer.until(lambda: peer.lost == ["lost"] and peer.link.up)
                peer.offer("arrives")
                await peer.until(lambda: peer.answers)
    assert peer.answers == [b"batch 2 arrives"]
