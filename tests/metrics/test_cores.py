"""Pieces on cores of their own: all are done, errors are the same ones each time, torch's threads stay as they were."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from shopkeeper.metrics.parallel import Cores


@pytest.fixture(autouse=True)
def _four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_piece_is_done_once_and_a_core_does_one_at_a_time(n: int):
    done: list[tuple[int, int]] = []
    busy: set[int] = set()

    def task(core: int, piece: int) -> None:
        assert core not in busy
        busy.add(core)
        time.sleep(0.001)
        done.append((core, piece))
        busy.remove(core)

    with Cores(n) as cores:
        for _ in range(3):
            done.clear()
            cores.run(task, range(10))
            assert sorted(piece for _, piece in done) == list(range(10))
            assert {core for core, _ in done} <= set(range(n))


def test_each_core_has_its_part_of_the_threads_and_the_caller_keeps_its_own():
    seen: dict[int, int] = {}
    together = threading.Barrier(2)

    def task(core: int, piece: int) -> None:
        together.wait(30)  # both at once, or not at all
        seen[core] = torch.get_num_threads()

    with Cores(2) as cores:
        cores.run(task, range(2))
    assert seen == {0: 2, 1: 2}
    assert torch.get_num_threads() == 4


def test_the_error_of_the_earliest_piece_is_raised_and_the_cores_can_be_used_again():
    def task(core: int, piece: int) -> None:
        if piece in (3, 4):
            time.sleep(0.02 if piece == 3 else 0)
            raise ValueError(f"piece {piece}")

    with Cores(2) as cores:
        for _ in range(5):
            with pytest.raises(ValueError, match="piece 3"):
                cores.run(task, range(10))
        cores.run(lambda core, piece: None, range(10))


def test_a_core_begins_with_gradients_whatever_its_caller_has_set():
    modes: list[tuple[bool, bool]] = []
    with Cores(2) as cores, torch.inference_mode():
        task = lambda core, piece: modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        cores.run(task, range(2))
    assert modes == [(True, False)] * 2
