"""The bounded queue of a link: what goes when it is full, and that nothing is lost or told twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.queueing import Chunk, LinkQueue, Shed, keys

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
        self.gone: list[Row] = []
        self.rows_pushed: list[Row] = []

    def push(self, key: list[int]) -> None:
        """What is shed has to be the oldest superseded rows and, only if these are too few, the oldest others."""
        name, self.pushed = str(self.pushed), self.pushed + 1
        new = [((name, number), k) for number, k in enumerate(key)]
        self.items += new
        self.rows_pushed += [row for row, _ in new]
        waiting = [item for item in self.items if isinstance(item, tuple)]
        shed = self.tell(self.queue.push(name, np.array(key, np.int64)))
        newest = {k: row for row, k in waiting}
        superseded = [row for row, k in waiting if newest[k] != row]
        others = [row for row, k in waiting if newest[k] == row]
        expected = superseded[: len(shed)]
        expected += others[: len(shed) - len(expected)]
        assert sorted(shed) == sorted(expected)
        assert bool(shed) == (len(waiting) > self.max_rows)
        if set(shed) & set(others):
            assert len(waiting) - len(superseded) > self.max_rows or not set(superseded) - set(shed)

    def control(self) -> None:
        """Queue a frame of its own."""
        self.pushed += 1
        self.items.append(frame := str(self.pushed).encode())
        self.queue.push_control(frame)

    def pop(self, max_rows: int, *, want_all: bool) -> None:
        """What leaves, or is dropped as unwanted, has to be the head of the list."""
        chunks = self.queue.pop(max_rows, lambda payload: want_all or int(payload) % 2 == 0)
        assert all(len(chunk) for chunk in chunks)
        assert len(chunks) <= 1 or sum(len(chunk) for chunk in chunks) <= max_rows
        left = [(chunk.payload, number) for chunk in chunks for number in chunk.kept().tolist()]
        while self.items and isinstance(head := self.items[0], tuple):
            if left and head[0] == left[0]:
                left.pop(0)
            elif left and not want_all and int(head[0][0]) % 2:
                pass  # nobody wants it
            elif not self.queue.rows or want_all or head[0] in self.waiting():
                break
            self.gone.append(head[0])
            self.items.pop(0)
        assert left == []

    def waiting(self) -> list[Row]:
        """The rows in the queue, by its own account."""
        return [(c.payload, n) for c in self.queue._items if isinstance(c, Chunk) for n in c.kept().tolist()]

    def pop_controls(self) -> None:
        """The frames at the head of the list, all of them."""
        expected = []
        while self.items and isinstance(head := self.items[0], bytes):
            expected.append(head)
            self.items.pop(0)
        assert self.queue.pop_controls() == expected

    def tell(self, shed: list[Shed[str]]) -> list[Row]:
        """Take rows that were given up off the list."""
        rows = [(gone.payload, number) for gone in shed for number in gone.rows.tolist()]
        self.gone += rows
        self.items = [i for i in self.items if isinstance(i, bytes) or i[0] not in rows]
        return rows


STEPS = st.one_of(
    st.tuples(st.just("push"), st.lists(st.integers(0, 4), max_size=8)),
    st.tuples(st.just("control"), st.none()),
    st.tuples(st.just("pop"), st.integers(1, 8)),
    st.tuples(st.just("pop_controls"), st.none()),
)
