"""The bearer token: who has it is let in, who guesses is not listened to for a while; all by an injected clock."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.security.bearer import Access, Bearer, bearer_of, presented, read_token
from arbhub.service import ServiceError

TOKEN = "0123456789abcdef" * 2
RIGHT = f"Bearer {TOKEN}"
AT_ONCE, EVERY_S = Bearer.PEER


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def bearer(clock: Clock) -> Bearer:
    """Knows TOKEN."""
    return Bearer(TOKEN, clock)


@pytest.mark.parametrize("header", [RIGHT, f"bearer {TOKEN}", f"BEARER  {TOKEN} ", RIGHT.encode()])
def test_the_token_is_let_in(bearer: Bearer, header: str | bytes) -> None:
    """However the scheme is written, and as text or bytes."""
    assert bearer.check(header, "192.0.2.1") is Access.GRANTED


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        RIGHT[:-1],
        RIGHT + "0",
        RIGHT.upper(),
        "Bearer \udcff",
        RIGHT + " " * 5000,
    ],
)
def test_anything_else_is_not(bearer: Bearer, header: str | None) -> None:
    """No header, another scheme, a part of the token or more than it, and what is no text."""
    assert bearer.check(header, "192.0.2.1") is Access.WRONG


@given(st.one_of(st.text(), st.binary()))
def test_garbage_is_never_more_than_wrong(header: str | bytes) -> None:
    """Whatever is sent as a header is an answer, not an error."""
    assert Bearer(TOKEN, Clock()).check(header, "192.0.2.1") is Access.WRONG


def test_a_peer_that_guesses_is_not_listened_to(bearer: Bearer, clock: Clock) -> None:
    """After so many failures not even the right token counts, until the time for another attempt has come."""
    assert {bearer.check("Bearer guess", "192.0.2.1") for _ in range(AT_ONCE)} == {Access.WRONG}
    assert bearer.check(RIGHT, "192.0.2.1") is Access.LIMITED
    assert bearer.check(RIGHT, "192.0.2.2") is Access.GRANTED
    clock.now_s += EVERY_S * 0.99
    assert bearer.check(RIGHT, "192.0.2.1") is Access.LIMITED
    clock.now_s += EVERY_S * 0.02
    assert bearer.check(RIGHT, "192.0.2.1") is Access.GRANTED
    assert (bearer.granted, bearer.wrong, bearer.limited) == (2, AT_ONCE, 2)


def test_attempts_that_were_not_heard_cost_nothing(bearer: Bearer, clock: Clock) -> None:
    """Who goes on knocking is heard again as soon as who waits; and never at a higher rate."""
    heard = 0
    for _ in range(1000):
        heard += bearer.check("Bearer guess", "192.0.2.1") is Access.WRONG
        clock.now_s += EVERY_S / 10
    assert AT_ONCE + 98 <= heard <= AT_ONCE + 100


def test_many_peers_together_have_a_rate_too(bearer: Bearer, clock: Clock) -> None:
    """Guesses from ever new addresses are bounded; an operator who was let in before still is."""
    assert bearer.check(RIGHT, "198.51.100.1") is Access.GRANTED
    most, every_s = Bearer.ALL
    answers = [bearer.check("Bearer guess", f"peer {n}") for n in range(10_000)]
    assert answers.count(Access.WRONG) == most
    assert bearer.check(RIGHT, "stranger") is Access.LIMITED
    assert bearer.check(RIGHT, "198.51.100.1") is Access.GRANTED
    clock.now_s += every_s * 1.01
    assert bearer.check(RIGHT, "stranger") is Access.GRANTED


def test_an_operators_slips_are_nobody_elses(bearer: Bearer) -> None:
    """Peers that were let in before have their own rate alone: together they take nothing from strangers'."""
    operators = [f"operator {n}" for n in range(Bearer.MAX_KNOWN)]
    assert {bearer.check(RIGHT, peer) for peer in operators} == {Access.GRANTED}
    assert {bearer.check("Bearer slip", peer) for peer in operators} == {Access.WRONG}
    assert bearer.check(RIGHT, "stranger") is Access.GRANTED


def test_memory_is_bounded(bearer: Bearer) -> None:
    """However many peers come, so many are remembered."""
    for n in range(3 * Bearer.MAX_PEERS):
        bearer.check(RIGHT, f"peer {n}")
    assert len(bearer._peers) == Bearer.MAX_PEERS
    assert len(bearer._known) == Bearer.MAX_KNOWN


def test_the_token_is_nowhere_in_the_object(bearer: Bearer) -> None:
    """It knows only its hash: nothing that shows it can show the token."""
    assert TOKEN not in repr(vars(bearer))
    assert not any(TOKEN in access.value for access in Access)


def kept(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    """A token file."""
    file = tmp_path / "token"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_a_token_file(tmp_path: Path) -> None:
    """White space round the token is none of it, and a caller presents what the file says."""
    file = kept(tmp_path, f"{TOKEN}\n".encode())
    assert read_token(file) == TOKEN
    bearer = bearer_of(file)
    assert bearer is not None
    assert bearer.check(dict(presented(read_token(file)))["authorization"], "here") is Access.GRANTED
    assert bearer_of(None) is None


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"0123456789abcdef" * 2, 0o644, "has the mode 0644: other users could read or change it"),
        (b"0123456789abcdef" * 2, 0o660, "has the mode 0660: other users could read or change it"),
        (b"", 0o600, "should have one token of at least 32 plain characters"),
        (b"x" * 31, 0o600, "should have one token of at least 32 plain characters"),
        (b"one token, and another one beside it", 0o600, "should have one token of at least 32 plain characters"),
        (b"x" * 40 + b"\n" + b"y" * 40, 0o600, "should have one token of at least 32 plain characters"),
        (b"\xff" * 40, 0o600, "should have one token of at least 32 plain characters"),
        (b"x" * 100_000, 0o600, "should be a plain file of at most 65536 bytes"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, mode: int, why: str) -> None:
    """One sentence says what is wrong, and shows nothing of what is in it."""
    with pytest.raises(ServiceError) as caught:
        read_token(kept(tmp_path, content, mode))
    said = str(caught.value)
    assert said.startswith("hub.token_file: the file it names ")
    assert why in said
    assert not any(part in said for part in ("0123456789", "xxxx", "another one", "\n"))


def test_a_token_in_place_of_its_file(tmp_path: Path) -> None:
    """Somebody who sets the token itself sees an error without it; neither a pipe nor a folder holds us up."""
    with pytest.raises(ServiceError) as caught:
        read_token(Path(TOKEN))
    assert str(caught.value) == "hub.token_file: the file it names cannot be read: No such file or directory"
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ServiceError, match="should be a plain file"):
        read_token(tmp_path / "pipe")
    with pytest.raises(ServiceError, match="cannot be read: Is a directory"):
        read_token(tmp_path)
