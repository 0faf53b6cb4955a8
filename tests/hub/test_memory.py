"""What a hub remembers over restarts: versions whose numbers only rise, the operator's word, whole files only."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.service import ServiceError
from arbhub.settings.schema import Settings
from arbhub.state import HALTED
from hub.admin.changes import changed, content, digest, fixed, with_content
from hub.admin.memory import MAX_VERSIONS, Memory, TradingWord


def settings(**hub: Any) -> Settings:
    """With these in [hub]."""
    return Settings.model_validate({"hub": hub})


def test_numbers_rise_over_restarts(tmp_path: Path) -> None:
    """Each start finds what was last committed; a changed file is the next version; the same file is none."""
    memory = Memory.opened(str(tmp_path))
    first = memory.begin(settings(), 1)[1]
    memory.commit(memory.entry(settings(min_net_edge_bps=1.0), "reload", "me", 2))
    made, second = Memory.opened(str(tmp_path)).begin(settings(), 3)
    assert (first.number, second.number, made.hub.min_net_edge_bps) == (1, 2, 1.0)
    made, third = Memory.opened(str(tmp_path)).begin(settings(min_net_edge_bps=5.0), 4)
    assert (third.number, third.why, made.hub.min_net_edge_bps) == (3, "start with another file", 5.0)
    assert Memory.opened(str(tmp_path)).begin(settings(min_net_edge_bps=5.0), 5)[1] == third


def test_a_file_that_says_what_was_committed_is_no_new_version(tmp_path: Path) -> None:
    """An operator who writes the committed change into the file and restarts sees the same version."""
    memory = Memory.opened(str(tmp_path))
    memory.begin(settings(), 1)
    memory.commit(memory.entry(settings(deadline_ms=7.0), "reload", "", 2))
    made, entry = Memory.opened(str(tmp_path)).begin(settings(deadline_ms=7.0), 3)
    assert (entry.number, made.hub.deadline_ms) == (2, 7.0)
    assert Memory.opened(str(tmp_path)).begin(settings(deadline_ms=7.0), 4)[1].number == 2


def test_a_place_may_change_without_what_was_committed_being_lost(tmp_path: Path) -> None:
    """What cannot change live is the file's own at each start."""
    memory = Memory.opened(str(tmp_path))
    memory.begin(settings(), 1)
    memory.commit(memory.entry(settings(min_net_edge_bps=1.0), "reload", "", 2))
    made, entry = Memory.opened(str(tmp_path)).begin(settings(window=3), 3)
    assert (entry.number, made.hub.window, made.hub.min_net_edge_bps) == (2, 3, 1.0)


def test_the_history_is_bounded(tmp_path: Path) -> None:
    """The oldest versions go; numbers go on."""
    memory = Memory.opened(str(tmp_path))
    memory.begin(settings(), 0)
    for number in range(MAX_VERSIONS + 5):
        memory.commit(memory.entry(settings(min_net_edge_bps=float(number + 1)), "reload", "", number))
    read = Memory.opened(str(tmp_path))
    assert len(read.versions) == MAX_VERSIONS
    assert read.versions[-1].number == MAX_VERSIONS + 6
    assert read.versions == memory.versions


def test_a_write_that_fails_leaves_the_old_file_and_the_old_memory(tmp_path: Path) -> None:
    """The new file is beside the old one until it is whole."""
    memory = Memory.opened(str(tmp_path))
    memory.begin(settings(), 1)
    before = (tmp_path / "history.json").read_bytes()
    (tmp_path / "history.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        memory.commit(memory.entry(settings(deadline_ms=1.0), "reload", "", 2))
    assert (tmp_path / "history.json").read_bytes() == before
    assert len(memory.versions) == 1


def test_the_files_are_their_owners_and_hold_no_secret(tmp_path: Path) -> None:
    """Neither addresses nor the ledger's URL nor a venue's options are among them."""
    made = Settings.model_validate({"executor": {"ledger_url": "postgresql://u:hush@h/n"}})
    Memory.opened(str(tmp_path)).begin(made, 1)
    file = tmp_path / "history.json"
    assert "hush" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_the_operators_word_is_remembered(tmp_path: Path) -> None:
    """As it was said; without a folder until the end only."""
    word = TradingWord(HALTED, "why", "who", 5)
    for state_dir in (str(tmp_path), ""):
        memory = Memory.opened(state_dir)
        assert memory.trading is None
        memory.said(word)
        assert memory.trading == word
    assert Memory.opened(str(tmp_path)).trading == word
    assert Memory.opened("").trading is None


@pytest.mark.parametrize("name", ["history.json", "trading.json"])
@pytest.mark.parametrize("text", ["{", "7", '[{"number": 1}]', '{"state": 9}', '["x"]'])
def test_a_file_that_makes_no_sense_is_named(tmp_path: Path, name: str, text: str) -> None:
    """A hub does not begin as if nothing had been halted: it says which file, and what to do."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ServiceError, match=rf"{name}: is not what a hub writes there"):
        Memory.opened(str(tmp_path))


amounts = st.sampled_from((0.0, 0.5, 10.0, math.inf))
live = st.fixed_dictionaries(
    {},
    optional={
        "hub": st.fixed_dictionaries(
            {}, optional={"min_net_edge_bps": st.sampled_from((0.0, 1.0)), "max_quote_age_ms": amounts}
        ),
        "risk": st.fixed_dictionaries({}, optional={"max_position": amounts, "cooldown_ms": st.just(3.0)}),
        "engines": st.fixed_dictionaries(
            {}, optional={"fee": st.builds(lambda bps: {"taker_bps": {"A": bps}}, st.sampled_from((1.0, 2.0)))}
        ),
    },
)


@given(live, live)
def test_contents_survive_json_and_tell_configurations_apart(one: Any, other: Any) -> None:
    """Read back, a content makes the same settings; two have the same digest where no key differs, and only there."""
    a, b = Settings.model_validate(one), Settings.model_validate(other)
    assert with_content(b, json.loads(json.dumps(content(a)))) == a
    assert not fixed(a, b)
    assert (digest(content(a)) == digest(content(b))) == (not changed(content(a), content(b))) == (a == b)


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"hub": {"depth": 3}}, ["hub.depth"]),
        ({"hub": {"listen": "127.0.0.1:9", "deadline_ms": 3.0}}, ["hub.listen"]),
        ({"engines": {"fee": {"place": "127.0.0.1:9", "mode": "off"}}}, ["engines.fee.place"]),
        ({"executor": {"balances": {"A": {"USD": 1.0}}}}, ["executor.balances.A.USD"]),
        ({"reference": {"listings": {"A": {"X/Y": {"lot_size": 1.0}}}}}, None),
        ({"risk": {"max_position": 1.0}}, []),
    ],
)
def test_what_cannot_change_live_is_named(change: Any, keys: list[str] | None) -> None:
    """By its dotted key; what may change beside it is not."""
    found = fixed(Settings(), Settings.model_validate(change))
    if keys is None:
        assert found
        assert all(key.startswith("reference.listings.A.X/Y") for key in found)
    else:
        assert found == keys


@pytest.mark.parametrize("bad", [{"hub": {"deadline_ms": -1}}, {"feed": {}}, {"hub": 3}, {"engines": {"luck": {}}}])
def test_a_content_that_is_none_is_refused(bad: Any) -> None:
    """As a value error that says what is wrong."""
    with pytest.raises(ValueError, match=r"\w"):
        with_content(Settings(), {**content(Settings()), **bad})
