"""Pieces that are made one ahead: the same, in order, with what breaks where it broke, and no further than one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from shopkeeper.data.threads import WORKERS, ahead, each_ahead, side_by_side


def made(n: int, so_far: list[int], breaks_at: int = -1) -> Iterator[int]:
    for i in range(n):
        if i == breaks_at:
            raise ValueError(f"piece {i}")
        so_far.append(i)
        yield i


def ends(before: int) -> bool:
    """Whether no more threads are left than there were, or will be as soon as each has ended its piece."""
    until = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.001)
    return threading.active_count() == before


def test_pieces_come_in_order_one_of_them_ahead_and_end():
    so_far: list[int] = []
    for i, piece in enumerate(ahead(made(50, so_far))):
        assert piece == i
        assert len(so_far) <= i + 2
    assert so_far == list(range(50))
    assert list(ahead(iter(()))) == []


def test_what_breaks_is_raised_where_the_piece_would_have_come():
    pieces = ahead(made(9, [], breaks_at=3))
    assert [next(pieces) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="piece 3"):
        next(pieces)


def test_who_stops_early_leaves_no_thread():
    before, so_far = threading.active_count(), list[int]()
    pieces = ahead(made(1000, so_far))
    assert next(pieces) == 0
    pieces.close()
    assert ends(before)
    assert len(so_far) <= 2


def test_work_that_is_done_ahead_comes_in_order_and_no_further_than_the_workers():
    so_far: list[int] = []

    def slow_at_first(i: int) -> int:
        time.sleep(0.002 * (7 - i % 7))  # later ones end before
        return 10 * i

    for i, done in enumerate(each_ahead(slow_at_first, made(50, so_far))):
        assert done == 10 * i
        assert len(so_far) <= i + 1 + WORKERS
        assert i or so_far == [0]  # who looks at the first alone has no other read
    assert so_far == list(range(50))
    assert list(each_ahead(slow_at_first, iter(()))) == []


@pytest.mark.parametrize("breaks_at", [0, 1, 5])
def test_what_breaks_is_raised_behind_the_work_of_what_came_before(breaks_at: int):
    pieces = each_ahead(lambda i: i, made(9, [], breaks_at))
    assert list(islice(pieces, breaks_at)) == list(range(breaks_at))
    with pytest.raises(ValueError, match=f"piece {breaks_at}"):
        next(pieces)

    def fails(i: int) -> int:
        if i == breaks_at:
            raise OSError(f"work {i}")
        return i

    pieces = each_ahead(fails, made(9, [], breaks_at + 1))  # a piece behind it breaks, too
    assert list(islice(pieces, breaks_at)) == list(range(breaks_at))
    with pytest.raises(OSError, match=f"work {breaks_at}"):
        next(pieces)


def test_who_stops_work_early_leaves_no_thread():
    before = threading.active_count()
    pieces = each_ahead(lambda i: i, made(1000, []))
    assert [next(pieces), next(pieces)] == [0, 1]
    pieces.close()
    assert ends(before)


@pytest.mark.parametrize(
    "begun", [lambda work: ahead(map(work, range(9))), lambda work: each_ahead(work, iter(range(9)))]
)
def test_who_lets_go_of_pieces_does_not_wait_for_the_one_that_is_made(begun: Callable[..., Iterator[int]]):
    """Python's collector may let go of them within the start of a thread, under a lock that its end needs."""
    go, waited = threading.Event(), list[bool]()

    def stuck(i: int) -> int:
        if i > 1:
            waited.append(go.wait(30))
        return i

    before, pieces = threading.active_count(), begun(stuck)
    assert [next(pieces), next(pieces)] == [0, 1]
    pieces.close()
    assert waited == []
    go.set()
    assert ends(before)


def test_two_pieces_of_work_are_done_at_a_time_and_come_in_order():
    at_work, most = list[int](), list[int]()

    def slow_at_first(i: int) -> int:
        at_work.append(i)
        most.append(len(at_work))
        time.sleep(0.002 * (5 - i % 5))
        at_work.remove(i)
        return 10 * i

    assert side_by_side(slow_at_first, range(20)) == [10 * i for i in range(20)]
    assert max(most) == WORKERS
    assert side_by_side(slow_at_first, []) == []


def test_the_first_of_what_breaks_side_by_side_is_raised_when_all_have_ended():
    before = threading.active_count()

    def fails(i: int) -> int:
        time.sleep(0.02 * (2 - i))  # the later one fails before
        raise OSError(f"work {i}")

    with pytest.raises(OSError, match="work 0"):
        side_by_side(fails, range(2))
    assert threading.active_count() == before
