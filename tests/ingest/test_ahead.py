"""Pieces that are made one ahead: the same, in order, with what breaks where it broke, and no further than one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from shopkeeper.ingest.readers.ahead import ahead


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
