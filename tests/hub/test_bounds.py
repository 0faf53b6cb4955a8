"""What may wait in a hub, and how much of it: behind an engine that stands still no queue grows beyond its bound.

The other queues are bounded where they are at home: a link's in tests/kernel/test_queueing.py and test_link.py, the
publisher's in tests/feeds/test_publisher.py, unread answers in test_hub_server.py, the driver's in tests/loadtest.
"""

import asyncio

from hub_probes import FeedClient, Noticing, SlowEngine, cheap, dear, market, settings, within

from arbhub.control import encode_reference
from arbhub.service import channel
from arbhub.v1 import hub_pb2
from engines.table import ENGINES
from hub.hub import Hub
from hub.remote import RemoteHost
from hub.session import Session

MAX_QUEUE = 32
BATCHES = 400


async def test_overload_waits_in_bounds_and_is_answered_once() -> None:
    """Far more is sent than an engine takes: what waits stays within the bound, and every batch gets one answer."""
    slow = SlowEngine("spread")
    async with slow.served() as place, channel("127.0.0.1:1") as nowhere:
        made = settings(engines={"spread": {"place": place}}, max_queue_ticks=MAX_QUEUE)
        hub = Hub(made, {name: engine() for name, engine in ENGINES.items()})
        links = asyncio.create_task(hub.run())
        session, client, news = Session(hub), FeedClient(nowhere), Noticing()
        session.on_answer = news.changed
        session.take(hub_pb2.StreamRequest(reference=encode_reference(market())).SerializeToString())
        await within(_until_up(hub), "the engine")
        (host,) = (place for place in hub.places if isinstance(place, RemoteHost))
        answered: list[int] = []
        for number in range(BATCHES):
            session.take(client.batch([cheap(number), dear(number)]).SerializeToString())
            await asyncio.sleep(0)
            assert host.link.queue.rows <= MAX_QUEUE
            assert session.unanswered <= MAX_QUEUE + 2 * made.hub.window  # a batch has two rows at most
            answered += _answers(session)
        assert len(answered) > BATCHES - MAX_QUEUE - 2 * made.hub.window - 1
        for _ in range(BATCHES):
            slow.allowed.release()
        await news.until(lambda: not session.unanswered, "the rest")
        answered += _answers(session)
        assert sorted(answered) == list(range(1, BATCHES + 1))
        assert hub.sequence == 2 * BATCHES
        links.cancel()
        await asyncio.gather(links, return_exceptions=True)


async def _until_up(hub: Hub) -> None:
    while not all(seat.up for seat in hub.seats):  # noqa: ASYNC110  # a hub tells nobody that an engine is up
        await asyncio.sleep(0)


def _answers(session: Session) -> list[int]:
    """The batch ids of the decisions that are ready, each as often as it is answered."""
    replies = []
    while session.outbox:
        replies.append(hub_pb2.StreamReply.FromString(session.pop()))
    return [reply.batch.batch_id for reply in replies if reply.WhichOneof("frame") == "batch"]
