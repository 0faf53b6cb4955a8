"""The bounded queue of a link: what goes when it is full, and that nothing is lost or told twice."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.queueing import Chunk, LinkQueue, keys

Row = tuple[str, int]
"""A payload's name and the number of one of its rows."""


def push(queue: LinkQueue[str], name: str, *key: int) -> dict[str, list[int]]:
    """Queue rows with these keys and return what was shed."""
    return {shed.payload: shed.rows.tolist() for shed in queue.push(name, np.array(key, np.int64))}


def popped(chunks: list[Chunk[str]]) -> dict[str, list[int]]:
    """The rows of each payload."""
    return {chunk.payload: chunk.kept().tolist() for chunk in chunks}


def test_first_in_first_out() -> None:
    """Chunks leave whole and in order, as many as fit, and at least one."""
    queue: LinkQueue[str] = LinkQueue(100)
    for name, rows in (("a", 2), ("b", 2), ("c", 3), ("d", 9)):
        assert push(queue, name, *range(rows)) == {}
    assert (queue.rows, len(queue)) == (16, 4)
    assert popped(queue.pop(4)) == {"a": [0, 1], "b": [0, 1]}
    assert popped(queue.pop(4)) == {"c": [0, 1, 2]}
    assert popped(queue.pop(4)) == {"d": [*range(9)]}  # too large for any batch: alone, it goes
    assert (queue.pop(4), queue.rows, len(queue)) == ([], 0, 0)


def test_what_a_newer_tick_supersedes_goes_first() -> None:
    """Full: the oldest superseded rows go, of whatever chunk; rows that are the newest of their key stay."""
    queue: LinkQueue[str] = LinkQueue(4)
    push(queue, "a", 1, 2)
    push(queue, "b", 2, 3)
    assert push(queue, "c", 3, 4) == {"a": [1], "b": [1]}
    assert popped(queue.pop(9)) == {"a": [0], "b": [0], "c": [0, 1]}


def test_then_the_oldest_go() -> None:
    """With nothing superseded the oldest rows go; a payload that comes may itself be among them."""
    queue: LinkQueue[str] = LinkQueue(3)
    push(queue, "a", 1, 2)
    assert push(queue, "b", 3, 4) == {"a": [0]}
    assert push(queue, "c", 5, 6, 7, 8) == {"a": [1], "b": [0, 1], "c": [0]}
    assert popped(queue.pop(9)) == {"c": [1, 2, 3]}
    assert queue.shed_rows == 5


def test_a_full_queue_is_not_sorted_for_every_row() -> None:
    """A sixteenth more than needed goes, so the next rows find room."""
    queue: LinkQueue[str] = LinkQueue(32)
    push(queue, "a", *range(32))
    assert push(queue, "b", 40) == {"a": [0, 1, 2]}
    assert (push(queue, "c", 41), push(queue, "d", 42), queue.rows) == ({}, {}, 32)


def test_controls_keep_their_place() -> None:
    """A control frame leaves after what was queued before it and before what was queued after it."""
    queue: LinkQueue[str] = LinkQueue(2)
    push(queue, "a", 1)
    queue.push_control(b"reference")
    queue.push_control(b"report")
    assert push(queue, "b", 1, 2) == {"a": [0]}  # full: rows go, frames do not
    assert queue.pop(9) == []
    assert queue.pop_controls() == [b"reference", b"report"]
    assert queue.pop_controls() == []
    assert popped(queue.pop(9)) == {"b": [0, 1]}


def test_rows_nobody_wants_are_dropped() -> None:
    """Chunks whose round is over do not leave, and need not be told."""
    queue: LinkQueue[str] = LinkQueue(9)
    for name in "abc":
        push(queue, name, 1, 2)
    assert popped(queue.pop(4, wanted=lambda payload: payload != "b")) == {"a": [0, 1], "c": [0, 1]}
    assert queue.rows == 0


def test_clear_returns_the_rows_that_were_there() -> None:
    """A link that went down tells what was lost: the rows not shed before, and no control frame."""
    queue: LinkQueue[str] = LinkQueue(3)
    push(queue, "a", 1, 2)
    queue.push_control(b"reference")
    push(queue, "b", 1, 3)
    assert {shed.payload: shed.rows.tolist() for shed in queue.clear()} == {"a": [1], "b": [0, 1]}
    assert (queue.rows, len(queue), queue.pop_controls(), queue.clear()) == (0, 0, [], [])


@pytest.mark.parametrize(("left", "right"), [((1, 2), (2, 1)), ((0, 1), (1, 0)), ((1, 0), (0, 2**31))])
def test_keys_tell_pairs_apart(left: tuple[int, int], right: tuple[int, int]) -> None:
    """Instrument and venue make one key that no other pair has."""
    one, other = (keys(np.array([i]), np.array([v]))[0] for i, v in (left, right))
    assert one != other


class Watched:
    """A queue beside a plain list of what should be in it; every operation is checked against the list."""

    def __init__(self, max_rows: int) -> None:
        self.queue: LinkQueue[str] = LinkQueue(max_rows)
        self.max_rows, self.pushed = max_rows, 0
        self.items: list[tuple[Row, int] | bytes] = []  # a row with its key, or a control frame
        self.told: list[Row] = []  # popped, or reported as shed
        self.rows: list[Row] = []  # all that were ever pushed

    def push(self, key: list[int]) -> None:
        """What is shed has to be the oldest superseded rows and, only if these are too few, the oldest others."""
        name, self.pushed = str(self.pushed), self.pushed + 1
        new = [((name, number), k) for number, k in enumerate(key)]
        self.items += new
        self.rows += [row for row, _ in new]
        waiting = [item for item in self.items if isinstance(item, tuple)]
        shed = [
            (gone.payload, number)
            for gone in self.queue.push(name, np.array(key, np.int64))
            for number in gone.rows.tolist()
        ]
        newest = {k: row for row, k in waiting}
        superseded = [row for row, k in waiting if newest[k] != row]
        others = [row for row, k in waiting if newest[k] == row]
        of_others = max(0, len(shed) - len(superseded))
        assert sorted(shed) == sorted(superseded[: len(shed)] + others[:of_others])
        assert bool(shed) == (len(waiting) > self.max_rows)
        assert len(shed) <= max(0, len(waiting) - self.max_rows) + self.max_rows // 16
        self.told += shed
        self.items = [item for item in self.items if isinstance(item, bytes) or item[0] not in shed]

    def control(self) -> None:
        """Queue a frame of its own."""
        self.pushed += 1
        self.items.append(frame := str(self.pushed).encode())
        self.queue.push_control(frame)

    def pop(self, max_rows: int) -> None:
        """What leaves has to be the head of the list, up to a control frame."""
        chunks = self.queue.pop(max_rows)
        left = [(chunk.payload, number) for chunk in chunks for number in chunk.kept().tolist()]
        head = self.items[: len(left)]
        assert [item[0] for item in head if isinstance(item, tuple)] == left
        assert len(chunks) <= 1 or len(left) <= max_rows
        assert left or not self.items or isinstance(self.items[0], bytes)
        del self.items[: len(left)]
        self.told += left

    def pop_controls(self) -> None:
        """The frames at the head of the list, all of them."""
        expected = list(itertools.takewhile(lambda item: isinstance(item, bytes), self.items))
        assert self.queue.pop_controls() == expected
        del self.items[: len(expected)]


STEPS = st.one_of(
    st.tuples(st.just("push"), st.lists(st.integers(0, 4), max_size=8)),
    st.tuples(st.just("push"), st.lists(st.integers(0, 99), max_size=8)),
    st.tuples(st.just("control"), st.none()),
    st.tuples(st.just("pop"), st.integers(1, 8)),
    st.tuples(st.just("pop_controls"), st.none()),
)


@given(st.lists(STEPS, max_size=40), st.sampled_from((1, 3, 20, 40)))
def test_whatever_happens(steps: list[tuple[str, object]], max_rows: int) -> None:
    """The bound holds, order holds, frames stay, and every row is popped or reported as shed exactly once."""
    watched = Watched(max_rows)
    for step, argument in steps:
        getattr(watched, step)(*([] if argument is None else [argument]))
        assert watched.queue.rows == sum(isinstance(item, tuple) for item in watched.items) <= max_rows
    while watched.items:
        watched.pop_controls()
        watched.pop(8)
    assert sorted(watched.told) == sorted(watched.rows)
    assert (watched.queue.rows, len(watched.queue)) == (0, 0)
