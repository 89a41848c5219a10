"""Pieces that are made one ahead: the same, in order, with what breaks where it broke, and no further than one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from shopkeeper.ingest.readers.ahead import WORKERS, ahead, each_ahead


def made(n: int, so_far: list[int], breaks_at: int = -1) -> Iterator[int]:
    for i in range(n):
        if i == breaks_at:
            raise ValueError(f"piece {i}")
        so_far.append(i)
        yield i


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
    assert threading.active_count() == before
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
    assert threading.active_count() == before
