"""Engines active, in the shadow and off, switched while the hub runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from admin_probes import UNUSABLE, AdministeredHub, administered, refused
from hub_probes import FakeEngine, ScriptedExecutor, SilentEngine, SlowEngine, approval, cheap, dear

from arbhub.settings.schema import Settings

APPROVED, NONE = "", "NO_COUNTERPART"


def rejecting(engine: FakeEngine) -> FakeEngine:
    """One that rejects everything."""
    engine.verdicts = lambda rows: replace(  # type: ignore[method-assign]
        approval(rows), verdict=np.full(rows, 2), reason=np.ones(rows, np.int64)
    )
    return engine


async def test_a_shadow_judges_and_is_counted_and_has_no_say(tmp_path: Path) -> None:
    """Its rejects change no decision, and show in its figures; active again, they veto."""
    async with administered(tmp_path, rejecting(FakeEngine("liquidity"))) as hub:
        assert await hub.client.ask(cheap(), dear()) == [NONE, "NO"]
        await hub.until(lambda s: s.engines[2].rejected == 1, "its reject")
        assert (await hub.switch("liquidity", "shadow")).committed
        # Nobody else caps the quantity, and an unbounded one is not traded.
        assert (await hub.client.ask(dear(2)))[-1] == "QUANTITY_TOO_SMALL"
        state = await hub.until(lambda s: s.engines[2].rejected == 2, "its reject in the shadow")
        assert (state.engines[2].mode, state.engines[2].judged, state.engines[2].timeouts) == ("shadow", 2, 0)
        await hub.switch("liquidity", "active")
        assert (await hub.client.ask(dear(3)))[-1] == "NO"


@pytest.mark.parametrize("mode", ["shadow", "off"])
async def test_no_round_waits_for_a_silent_engine_without_a_say(tmp_path: Path, mode: str) -> None:
    """With a minute's deadline, the others decide at once; the version says under which engines."""
    async with administered(tmp_path, SilentEngine("spread")) as hub:
        reply = await hub.switch("spread", mode)
        for number in range(5):
            await hub.client.send(cheap(2 * number), dear(2 * number + 1))
            batch, decided = await hub.client.decided()
            assert decided[-1].reason == "NET_EDGE_TOO_LOW"  # the edge itself was spread's to say
            assert batch.config_version == reply.version


async def test_an_engine_that_is_off_is_not_asked(tmp_path: Path) -> None:
    """Not a batch reaches it until it is active again."""
    fake = FakeEngine("spread")
    async with administered(tmp_path, fake) as hub:
        await hub.switch("spread", "off")
        for number in range(3):
            await hub.client.ask(cheap(2 * number), dear(2 * number + 1))
        await hub.switch("spread", "active")
        await hub.client.ask(dear(9))
        asked = [sequence for request in fake.told for sequence in request.batch.opportunities.sequence]
        assert asked == [6]


async def test_a_slow_shadow_sheds_for_itself_alone(tmp_path: Path) -> None:
    """What does not fit into its queue is not decided as shed."""
    slow, hub = SlowEngine("spread"), AdministeredHub(tmp_path)
    hub.content["hub"]["max_queue_ticks"] = 4
    async with slow.served() as place, ScriptedExecutor().served() as executor:
        hub.place(executor, spread=place)
        async with hub.serve():
            await hub.switch("spread", "shadow")
            reasons = [reason for n in range(20) for reason in await hub.client.ask(cheap(2 * n), dear(2 * n + 1))]
    assert set(reasons) == {NONE, "NET_EDGE_TOO_LOW"}


async def test_an_engine_that_refuses_and_hangs_can_be_switched_off(tmp_path: Path) -> None:
    """Nobody is asked about a mode: the one that is not well least of all."""
    async with administered(tmp_path, SilentEngine("spread"), FakeEngine("fee")) as hub:
        await hub.client.send(cheap(), dear())
        assert (await hub.switch("spread", "off")).committed
        assert (await hub.inspect()).engines[0].mode == "off"


async def test_a_mode_outlives_the_hub(tmp_path: Path) -> None:
    """It is part of the configuration, and that is remembered."""
    hub = AdministeredHub(tmp_path)
    async with hub.serve(up=False):
        version = (await hub.switch("fee", "shadow")).version
    async with hub.serve(up=False):
        state = await hub.inspect()
    assert (state.version, state.engines[1].mode) == (version, "shadow")


@pytest.mark.parametrize(
    ("engine", "mode", "said"),
    [
        ("risk", "off", "risk always has its say"),
        ("risk", "shadow", "risk always has its say"),
        ("fee", "asleep", "engines.fee.mode"),
        ("luck", "off", "there is no engine 'luck'"),
    ],
)
async def test_what_cannot_be_switched(tmp_path: Path, engine: str, mode: str, said: str) -> None:
    """Risk has its say whatever is asked; unknown engines and modes are named."""
    async with administered(tmp_path) as hub:
        assert said in await refused(hub.switch(engine, mode), UNUSABLE)
        assert {e.mode for e in (await hub.inspect()).engines} == {"active"}


def test_risk_is_active_in_every_configuration() -> None:
    """A file cannot switch it off either."""
    with pytest.raises(ValueError, match=r"engines\.risk\.mode"):
        Settings.model_validate({"engines": {"risk": {"mode": "shadow"}}})
