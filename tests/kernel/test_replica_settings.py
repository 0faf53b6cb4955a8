"""engines.NAME.place as a list of replicas: for whom it may be one, and what it may say."""

from typing import Any

import pytest

from arbhub.engine import EngineConfiguration
from arbhub.settings.engines import is_name
from arbhub.settings.load import SettingsError, load
from arbhub.settings.schema import Settings
from engines.table import ENGINES

A, B = "127.0.0.1:7402", "127.0.0.1:7412"


def placed(**places: Any) -> Settings:
    """The settings with these places of engines."""
    return Settings.model_validate({"engines": {name: {"place": place} for name, place in places.items()}})


def test_who_is_stateless_needs_no_state() -> None:
    """The section of an engine says what the engine itself says."""
    table = Settings().engines.table()
    assert {name: section.stateless for name, section in table.items()} == {
        name: not engine.wants_state for name, engine in ENGINES.items()
    }


def test_a_list_is_a_place() -> None:
    """From any source, and as engines are told; a list of one is that one."""
    settings = load(None, [f'engines.spread.place=["{A}", "{B}"]', f'engines.fee.place=["{A[:-1]}9"]'], {})
    assert settings.engines.spread.addresses == (A, B)
    assert settings.engines.fee.place == f"{A[:-1]}9"
    assert settings.engines.hosts() == {f"{A}, {B}": ("spread",), f"{A[:-1]}9": ("fee",)}
    told = EngineConfiguration(engines=settings.engines).model_dump_json()
    assert EngineConfiguration.model_validate_json(told).engines == settings.engines


def test_engines_with_one_list_share_processes() -> None:
    """And may have replicas where none of them needs state."""
    engines = placed(spread=[A, B], fee=[A, B], liquidity="x:1", risk="x:1").engines
    assert engines.hosts() == {f"{A}, {B}": ("spread", "fee"), "x:1": ("liquidity", "risk")}
    assert (engines.may_have_replicas(f"{A}, {B}"), engines.may_have_replicas("x:1")) == (True, False)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([f'engines.risk.place=["{A}", "{B}"]'], "engines.risk.place: is a list of 2, but risk judges by the ledger's"),
        (
            [f'engines.spread.place=["{A}", "{B}"]', f"engines.fee.place={B}"],
            f"engines.fee.place: has {B} as engines.spread.place has, but not the same list",
        ),
        ([f'engines.fee.place=["{A}", "{A}"]'], f"engines.fee.place: should be .* {A} is there more than once"),
        (["engines.fee.place=[]"], "engines.fee.place: should be a list of 1 to 64 addresses"),
        (["engines.fee.place=7402"], 'engines.fee.place: should be "in-process", "HOST:PORT", or a list'),
        ([f'engines.fee.place=["{A}", 7]'], 'engines.fee.place: should be "in-process", "HOST:PORT", or a list'),
        ([f'engines.fee.place=["{A}", "in-process"]'], 'engines.fee.place: should be "HOST:PORT"'),
        ([f'engines.fee.place=["{A}", "nowhere"]'], 'engines.fee.place: should be "HOST:PORT"'),
    ],
)
def test_what_is_no_place_is_one_sentence(places: list[str], said: str) -> None:
    """Named with its key, and what is allowed."""
    with pytest.raises(SettingsError, match=said) as error:
        load(None, places, {})
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("engine-spread:7402", True),
        ("spread.arbhub.svc.cluster.local:7402", True),
        ("localhost:7402", False),
        ("10.0.0.3:7402", False),
        ("[::1]:7402", False),
        ("unix:/run/arbhub/spread.sock", False),
        ("in-process", False),
    ],
)
def test_a_host_name_may_stand_for_several_machines(address: str, is_one: bool) -> None:
    """An address cannot, and this machine's own name does not."""
    assert is_name(address) is is_one
