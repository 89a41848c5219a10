"""The helper that other tests stand on says what it promises."""

from __future__ import annotations

from itertools import pairwise

from tiny import cycle_histories, days, tiny_prepared


def test_a_tiny_dataset_opens_with_its_training_rows_and_requests(tmp_path):
    histories = [[1, 2, 3, 4], [2, 3], [3, 1, 2]]
    prepared, split = tiny_prepared(tmp_path, histories, days(histories), held_out=[3])
    offsets, rows = split.training_rows()
    assert [prepared.events.item[rows[a:b]].tolist() for a, b in pairwise(offsets)] == [
        [1, 2],
        [2, 3],
        [],
    ]
    requests, targets = split.part("test")
    assert requests.last_items(4).tolist() == [[0, 1, 2, 3], [0, 0, 3, 1]]
    assert targets.item.tolist() == [4, 2]
    assert requests.instant.tolist() == [3 * 86_400_000_000, 2 * 86_400_000_000]
    assert split.request_table("test")["warm_targets"].to_pylist() == [[False], [True]]
    assert split.target_hash("test") != split.target_hash("validation")
    assert prepared.items["item_id"].to_pylist() == ["i1", "i2", "i3", "i4"]


def test_a_cycle_continues_from_the_last_item():
    assert cycle_histories(2, 3, 4) == [[1, 2, 3, 1], [2, 3, 1, 2]]
