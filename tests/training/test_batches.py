"""The training view: what is learned from where, and that batches hold it."""

from __future__ import annotations

import errno
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import fit

from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.schema import EVENT_CODE
from shopkeeper.training.batching import blocks
from shopkeeper.training.batching.batches import TrainingView, next_step_labels
from shopkeeper.training.batching.blocks import Columns
from shopkeeper.training.batching.histories import Histories
from tiny import DAY, tiny_prepared

EDGES = (2, 4, 8, 20)


def slow_labels(users: list[list[tuple[bool, int]]]) -> list[list[int]]:
    """For every row, the rows that may be its label, by walking."""
    out, base = [], 0
    for rows in users:
        steps: dict[object, list[int]] = {}  # in the order in which they begin
        for i, (_, order) in enumerate(rows):
            steps.setdefault(order or f"row {i}", []).append(i)
        for i in range(len(rows)):
            later = [[base + j for j in step if rows[j][0]] for step in steps.values() if step[0] > i]
            out.append(next((lines for lines in later if lines), []))
        base += len(rows)
    return out


rows_of_a_user = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=8)


@settings(deadline=None)
@given(st.lists(rows_of_a_user, max_size=5))
def test_labels_are_the_lines_of_the_next_step_with_a_target(users: list[list[tuple[bool, int]]]):
    flat = [row for rows in users for row in rows]
    offsets = np.cumsum([0, *map(len, users)])
    is_target, order = np.array([t for t, _ in flat], bool), np.array([o for _, o in flat], np.int32)
    lo, count, target = next_step_labels(offsets, is_target, order)
    got = [target[a : a + n].tolist() if n else [] for a, n in zip(lo, count, strict=True)]
    assert got == slow_labels(users)


def view_of(path: Path, histories, inputs: str = "all", max_length: int = 20, **more) -> TrainingView:
    _, split = tiny_prepared(path, histories, **more)
    return TrainingView.build(split, ("purchase",), inputs, max_length)


def table(view: TrainingView, users: list[int], epoch: int = 0, seed: int = 0):
    """(inputs, positions, labels) of each sequence of a batch."""
    batch = view.batch(np.array(users), EDGES, seed, epoch)
    lay = batch.layout
    item_N, position_N = batch.item_P[lay.slot_N], batch.position_P[lay.slot_N]
    label_N = torch.from_numpy(np.array(view.catalogue))[batch.label_N]
    rows = range(len(users))
    return [tuple(x[lay.row_N == r].tolist() for x in (item_N, position_N, label_N)) for r in rows]


def test_the_next_item_is_learned_at_every_position_and_held_out_events_never(tmp_path: Path):
    view = view_of(tmp_path / "p", [[1, 2, 3, 4, 5], [5, 4, 3, 2]])
    # The last two events are validation and test.
    assert table(view, [0, 1]) == [([5], [0], [4]), ([1, 2], [1, 0], [2, 3])]
    assert view.length_U.sum() == 3


def test_long_histories_are_cut_at_their_old_end(tmp_path: Path):
    view = view_of(tmp_path / "p", [list(range(1, 11))], max_length=3)
    assert table(view, [0]) == [([5, 6, 7], [2, 1, 0], [6, 7, 8])]


def test_views_lead_to_the_next_purchase(tmp_path: Path):
    types = [["view", "view", "purchase", "view", "purchase", "purchase", "purchase"]]
    view = view_of(tmp_path / "p", [[1, 2, 3, 4, 5, 6, 7]], event_types=types)
    assert table(view, [0]) == [([1, 2, 3, 4], [3, 2, 1, 0], [3, 3, 5, 5])]
    assert view.batch(np.array([0]), EDGES, 0, 0).type_P.tolist() == [
        EVENT_CODE[t] for t in ("view", "view", "purchase", "view")
    ]
    view = view_of(tmp_path / "q", [[1, 2, 3, 4, 5, 6, 7]], "targets", event_types=types)
    assert table(view, [0]) == [([3], [0], [5])]


def test_an_order_of_several_lines_is_one_step_whose_lines_are_drawn_in_turn(tmp_path: Path):
    orders = [[1, 1, 2, 2, 2, 3, 4]]
    view = view_of(tmp_path / "p", [[1, 2, 3, 4, 5, 6, 7]], columns={"order": orders})
    drawn = [table(view, [0], epoch)[0] for epoch in range(40)]
    assert {tuple(x[0]) for x in drawn} == {(1, 2)}
    for position in (0, 1):
        seen = [x[2][position] for x in drawn]
        assert set(seen) == {3, 4, 5}
        assert max(seen.count(i) for i in (3, 4, 5)) < 25
    assert table(view, [0], 3, seed=1) == table(view, [0], 3, seed=1)
    assert [table(view, [0], e, seed=1) for e in range(9)] != drawn[:9]


def test_a_batch_holds_the_same_whatever_company_its_customers_keep(tiny_shop):
    view = TrainingView.build(tiny_shop[1], ("purchase",), "all", 12)
    together = table(view, list(range(20)), epoch=5)
    alone = [table(view, [u], epoch=5)[0] for u in range(20)]
    assert sorted(together) == sorted(alone)


def test_items_outside_the_catalogue_are_neither_read_nor_learned(tmp_path: Path):
    view = view_of(tmp_path / "p", [[1, 9, 2, 9, 3, 4, 5]], catalogue=[1, 2, 3, 4, 5])
    assert table(view, [0]) == [([1, 2], [1, 0], [2, 3])]


def same(a: TrainingView, b: TrainingView) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        if value is None or isinstance(value, (int, tuple)):
            assert value == other, name
        else:
            assert np.array_equal(np.asarray(value), np.asarray(other)), name
            assert value.dtype == other.dtype, name


@pytest.mark.parametrize("inputs", ["all", "targets"])
@pytest.mark.parametrize("block_rows", [1, 50, 10**6])
def test_mapped_or_in_memory_and_in_blocks_of_any_size_the_view_is_the_same(
    tiny_shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_rows: int, inputs: str
):
    _, split = tiny_shop
    plain = TrainingView.build(split, ("purchase",), inputs, 12)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    mapped = TrainingView.build(split, ("purchase",), inputs, 12, tmp_path / "view")
    same(mapped, plain)
    same(TrainingView.build(split, ("purchase",), inputs, 12), plain)
    assert table(mapped, [3, 1, 7]) == table(plain, [3, 1, 7])
    assert (tmp_path / "view" / "item.npy").is_file()


def test_blocks_hold_the_training_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 9, rng.integers(0, 12)).tolist() for _ in range(40)]
    types = [[str(rng.choice(["view", "purchase"])) for _ in h] for h in histories]
    prepared, split = tiny_prepared(
        tmp_path / "p", histories, event_types=types, catalogue=[1, 2, 3, 5, 8], n_items=8, held_out=[4, 9]
    )
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 30)
    for codes in (None, [EVENT_CODE["purchase"]]):
        offsets, rows = split.training_rows(codes)
        got = list(blocks.training_blocks(split, codes))
        assert len(got) > 3
        assert np.concatenate([np.diff(b.offsets) for b in got]).tolist() == np.diff(offsets).tolist()
        assert np.concatenate([b.item for b in got]).tolist() == prepared.events.item[rows].tolist()


def test_a_mapped_view_and_the_histories_hold_nothing_of_the_logs_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    _, split = tiny_prepared(tmp_path / "p", rng.integers(1, 50, (500, 800)).tolist())  # 400,000 events
    requests, _ = split.part("validation")
    known_V = np.ones(50, bool)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 2_000)

    def peak(call) -> int:
        tracemalloc.start()
        call()
        bytes_ = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return bytes_

    one_byte_an_event = 400_000
    assert peak(lambda: TrainingView.build(split, ("purchase",), "all", 20, tmp_path / "view")) < 2 * one_byte_an_event
    assert peak(lambda: TrainingView.build(split, ("purchase",), "all", 20)) > 12 * one_byte_an_event
    assert peak(lambda: Histories.of(requests, known_V, None, 20)) < 2 * one_byte_an_event


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves nothing")
def test_a_file_of_the_view_has_its_room_on_the_disk_before_it_is_written_to(tiny_shop, tmp_path: Path):
    """A sparse one ends in SIGBUS, without a word, when the disk is full."""
    columns = Columns(tmp_path / "view", tiny_shop[1])
    columns.limit = 1 << 20
    columns.append("item", np.ones(3, np.int32))
    assert (tmp_path / "view" / "item.npy").stat().st_blocks * 512 >= 4 << 20
    assert columns.tensor("item").tolist() == [1, 1, 1]


@pytest.mark.parametrize("function", ["os.posix_fallocate", "numpy.lib.format.open_memmap"])
def test_a_disk_too_full_for_the_view_is_named(
    tiny_shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(function, full, raising=False)
    with pytest.raises(
        UserError, match=r"cannot write .*/run/\.view-0/.*\.npy: No space left on device; free some space"
    ):
        fit(*tiny_shop, folder=tmp_path / "run", trainer={"resident": "mapped"})
    assert not list(tmp_path.glob("run/.view*"))


def test_nothing_to_learn_from_is_said(tmp_path: Path):
    with pytest.raises(UserError, match="nothing to learn from"):
        view_of(tmp_path / "p", [[1, 2, 3]])
    with pytest.raises(UserError, match="inputs=everything"):
        view_of(tmp_path / "q", [[1, 2, 3, 4]], "everything")


def test_histories_leave_out_unknown_items_and_requests_without_any():
    requests = Requests.from_histories([[1, 7, 2], [], [7], [3]])
    known_V = np.array([False, True, True, True, True])
    histories = Histories.of(requests, known_V, None, 2)
    assert histories.request_R.tolist() == [0, 3]
    batch = histories.batch(np.array([1, 0]), EDGES, torch.device("cpu"), ())
    assert batch.item_P[batch.layout.slot_N].tolist() == [3, 1, 2]
    assert Histories.of(requests, known_V, [EVENT_CODE["purchase"]], 2).request_R.tolist() == []


@pytest.mark.parametrize("block_rows", [1, 60])
def test_histories_gathered_in_blocks_are_those_gathered_at_once(monkeypatch: pytest.MonkeyPatch, block_rows: int):
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 9, rng.integers(0, 30)).tolist() for _ in range(60)]
    requests = Requests.from_histories(histories)
    shuffled = rng.permutation(60)
    requests = Requests(requests.events, requests.start[shuffled], requests.end[shuffled])
    known_V = np.array([False, True, True, False, True, True, True, True, True])

    def windows() -> list[tuple[int, list[int]]]:
        h = Histories.of(requests, known_V, None, 5)
        return [(r, h.item_M[s : s + n].tolist()) for r, s, n in zip(h.request_R, h.start_R, h.length_R, strict=True)]

    at_once = windows()
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    assert windows() == at_once
    assert len(at_once) > 40


def test_positions_filled_up_for_fixed_shapes_change_nothing_else(tiny_shop):
    view = TrainingView.build(tiny_shop[1], ("purchase",), "all", 12)
    users = np.arange(20)
    plain, padded = (view.batch(users, EDGES, 0, 3, pad=pad) for pad in (1, 64))
    assert len(plain.item_P) % 64 != 0
    assert len(padded.item_P) == padded.layout.n_slots == -(-len(plain.item_P) // 64) * 64
    assert sum(b * length for b, length in padded.layout.groups) == len(padded.item_P)
    assert torch.equal(padded.item_P[: len(plain.item_P)], plain.item_P)
    assert (padded.item_P[len(plain.item_P) :] == 0).all()
    assert torch.equal(padded.label_N, plain.label_N)
    assert torch.equal(padded.layout.slot_N, plain.layout.slot_N)


def test_ages_are_days_before_the_newest_event_of_the_window_and_kept_for_those_who_read_them_alone(tmp_path: Path):
    far = 2**53 + 1  # µs; float64 cannot tell it from its neighbour, nor float32 the days in between
    times = [[far + day * DAY for day in (0, 1, 1, 4, 9, 9, 11)]]
    _, split = tiny_prepared(tmp_path / "p", [[1, 2, 3, 4, 5, 6, 7]], times, event_types=[["view"] + ["purchase"] * 6])
    view = TrainingView.build(split, ("purchase",), "all", 3, reads=("age",))
    assert view.type_M is None
    batch = view.batch(np.array([0]), EDGES, 0, 0)
    assert batch.type_P is None
    assert batch.age_P.dtype == torch.float32
    assert batch.age_P[batch.layout.slot_N].tolist() == [3.0, 3.0, 0.0]  # of items 2, 3 and 4
    assert TrainingView.build(split, ("purchase",), "all", 3).batch(np.array([0]), EDGES, 0, 0).age_P is None
    mapped = TrainingView.build(split, ("purchase",), "all", 3, tmp_path / "view", ("age",))
    assert torch.equal(mapped.batch(np.array([0]), EDGES, 0, 0).age_P, batch.age_P)

    requests = Requests.from_histories([[1, 2, 3], [1, 8, 2]], timestamps=[[0, DAY // 2, 4 * DAY], [0, DAY, 5 * DAY]])
    known_V = np.arange(9) % 8 > 0  # item 8 is not known
    histories = Histories.of(requests, known_V, None, 2, ("age",))
    asked = histories.batch(np.array([0, 1]), EDGES, torch.device("cpu"), ("age",))
    assert asked.age_P[asked.layout.slot_N].tolist() == [3.5, 0.0, 5.0, 0.0]
    with pytest.raises(UserError, match="reads how long ago events were, and this history has only their order"):
        Histories.of(Requests.from_histories([[1]]), known_V, None, 2, ("age",))


def test_a_batch_carries_what_a_network_reads_and_nothing_else(tmp_path: Path):
    times = [[0, DAY, 3 * DAY, 3 * DAY, 10 * DAY, 11 * DAY]]  # the last two are held out
    columns = {"price": [[1.5, np.nan, 2.5, 4.0, 1.0, 1.0]], "channel": [[1, 2, 0, 1, 1, 1]]}
    prepared, split = tiny_prepared(tmp_path / "p", [[1, 2, 3, 4, 5, 6]], times, columns=columns, channels=("a", "b"))
    reads = ("since", "until", "price", "channel")
    for folder in (None, tmp_path / "view"):
        batch = TrainingView.build(split, ("purchase",), "all", 3, folder, reads).batch(np.array([0]), EDGES, 0, 0)
        at = batch.layout.slot_N
        assert batch.since_P[at].tolist() == [0.0, 1.0, 2.0]  # from the event before; of the oldest nothing is known
        assert batch.until_P[at].tolist() == [1.0, 2.0, 0.0]  # from each labelled event to the one after it
        assert batch.price_P[at].tolist() == [1.5, 0.0, 2.5]
        assert batch.channel_P[at].tolist() == [1, 2, 0]
        assert batch.type_P is None
        assert batch.age_P is None
    asked = Requests(prepared.events, np.array([0, 1]), np.array([2, 4]), np.array([2 * DAY, 5 * DAY]))
    histories = Histories.of(asked, np.ones(7, bool), None, 2, reads)
    answered = histories.batch(np.array([0, 1]), EDGES, torch.device("cpu"), reads)
    at = answered.layout.slot_N
    assert answered.since_P[at].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert answered.until_P[at].tolist() == [1.0, 1.0, 0.0, 2.0]  # the newest event's ends when the question is put
    assert answered.price_P[at].tolist() == [1.5, 0.0, 2.5, 4.0]
    assert answered.channel_P[at].tolist() == [1, 2, 0, 1]
    with pytest.raises(UserError, match="reads when it is asked; say it"):
        Histories.of(replace(asked, instant=None), np.ones(7, bool), None, 2, reads)
    bare = tiny_prepared(tmp_path / "q", [[1, 2, 3, 4]])[1]
    for column, said in (("price", "reads prices, and tiny has none"), ("until", "has only their order")):
        with pytest.raises(UserError, match=said):
            TrainingView.build(bare, ("purchase",), "all", 3, reads=(column,))
