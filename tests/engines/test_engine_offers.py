"""A configuration offered to the engines of a stream: nothing changes until it is committed, and then at its place."""

from typing import Any

import pytest
from test_engine_server import batch, configuration, reference

from arbhub.columns import APPROVE, REJECT
from arbhub.engine import Engine, EngineConfiguration
from arbhub.settings.engines import EnginesSettings, FeeSettings, SpreadSettings
from arbhub.v1 import engine_pb2
from engines.fee import Fee
from engines.server import Conversation, RefusedError
from engines.spread import Spread

Request = engine_pb2.EngineRequest
STRICT = EngineConfiguration(engines=EnginesSettings(spread=SpreadSettings(max_gross_edge_bps=0.0)))


class StubbornFee(Fee):
    """Cannot run with volumes."""

    def configure(self, configuration: EngineConfiguration) -> None:
        if configuration.engines.fee.volume_30d:
            raise ValueError("no volumes here")
        super().configure(configuration)


def conversation(*engines: Engine) -> Conversation:
    """Begun, and ready to be asked."""
    made = Conversation(engines or (Spread(),))
    for request in (configuration(), reference()):
        made.answer(request.SerializeToString())
    return made


def offer(made: Conversation, version: str, content: EngineConfiguration | bytes = STRICT) -> engine_pb2.OfferReply:
    """The answer to an offer."""
    settings = content if isinstance(content, bytes) else content.model_dump_json().encode()
    answer = made.answer(Request(offer=engine_pb2.Offer(version=version, settings_json=settings)).SerializeToString())
    return engine_pb2.EngineReply.FromString(answer or b"").offer_reply


def tell(made: Conversation, **frame: Any) -> None:
    """A frame that nobody answers."""
    assert made.answer(Request(**frame).SerializeToString()) is None


def verdict(made: Conversation, engine: int = 0) -> list[int]:
    """What an engine says of one batch."""
    reply = engine_pb2.EngineReply.FromString(made.answer(batch().SerializeToString()) or b"")
    return list(reply.batch.verdicts[engine].verdict)


def test_an_offer_counts_from_its_commit_on() -> None:
    """Accepted, it changes nothing; what comes behind the commit is judged by it."""
    made = conversation()
    before = verdict(made)
    assert set(before) == {APPROVE}
    assert offer(made, "2-x") == engine_pb2.OfferReply(version="2-x", accepted=True)
    assert verdict(made) == before
    tell(made, commit=engine_pb2.Commit(version="2-x"))
    assert set(verdict(made)) == {REJECT}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "Invalid JSON"),
        (b'{"engines": {"luck": {}}}', "luck"),
        (EngineConfiguration(engines=EnginesSettings(fee=FeeSettings(volume_30d={"A": 1.0}))), "no volumes here"),
    ],
)
def test_what_cannot_be_run_with_is_refused_with_the_reason(content: Any, said: str) -> None:
    """The stream stands, the engines feel nothing, and a commit of it all the same ends the stream."""
    made = conversation(Spread(), StubbornFee())
    before = verdict(made), verdict(made, 1)
    reply = offer(made, "2-x", content)
    assert not reply.accepted
    assert said in reply.reason
    assert (verdict(made), verdict(made, 1)) == before
    with pytest.raises(RefusedError, match="without having been offered"):
        tell(made, commit=engine_pb2.Commit(version="2-x"))


def test_what_was_withdrawn_or_replaced_cannot_be_committed() -> None:
    """A withdrawal names its version: one that comes late withdraws nothing newer."""
    made = conversation()
    offer(made, "2-x")
    tell(made, withdraw=engine_pb2.Withdraw(version="2-x"))
    with pytest.raises(RefusedError):
        tell(made, commit=engine_pb2.Commit(version="2-x"))
    offer(made, "3-x")
    offer(made, "4-x")
    tell(made, withdraw=engine_pb2.Withdraw(version="3-x"))
    tell(made, commit=engine_pb2.Commit(version="4-x"))
    assert set(verdict(made)) == {REJECT}


def test_an_engine_that_is_off_is_passed_over_by_its_host() -> None:
    """The others of its place judge; it costs nothing, and says nothing until it is on again."""
    made = conversation(Spread(), Fee())
    off = EngineConfiguration(engines=EnginesSettings(spread=SpreadSettings(mode="off")))
    tell(made, configuration=engine_pb2.Configuration(version="2-x", settings_json=off.model_dump_json().encode()))
    assert verdict(made) == []
    assert len(verdict(made, 1)) == len(verdict(conversation(Fee())))
    tell(made, configuration=configuration().configuration)
    assert set(verdict(made)) == {APPROVE}
