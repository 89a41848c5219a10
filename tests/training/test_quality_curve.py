"""The benchmark of time to quality ranks every system's scores as the validation does, and reads the curve right."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_the_figure_is_that_of_the_validation():
    from _quality import ndcg

    rng = np.random.default_rng(0)
    score_BV = rng.integers(0, 40, (30, 21)).astype(np.float32)  # many ties
    histories = [rng.choice(np.arange(1, 21), rng.integers(1, 8), replace=False) for _ in range(30)]
    target_B = rng.integers(1, 21, 30)
    score_BV[3, target_B[3]] = -np.inf  # an item that the system does not know
    got = ndcg(score_BV, histories, target_B)
    for b in range(30):
        own = score_BV[b, target_B[b]]
        others = [score_BV[b, i] for i in range(1, 21) if i not in set(histories[b].tolist()) - {target_B[b]}]
        rank = 1 + sum(s > own for s in others) + (sum(s == own for s in others) - 1) / 2
        want = 1 / math.log2(rank + 1) if rank <= 10 and own > -np.inf else 0.0
        assert got[b] == pytest.approx(want)
    assert (got > 0).sum() > 5


def test_histories_keep_their_newest_items_in_the_systems_own_ids():
    from _quality import padded, to_our_items

    id_of = np.array([-1, 5, -1, 7])  # items 1 and 3 are 5 and 7 there, item 2 is unknown
    histories = [np.array([1, 2, 3, 1]), np.array([3])]
    assert padded(histories, id_of, 2).tolist() == [[7, 5], [0, 7]]
    assert padded(histories, id_of, 2, left=False, pad=-1).tolist() == [[7, 5], [7, -1]]
    ours = to_our_items(np.arange(8)[None], id_of)
    assert ours.tolist() == [[-np.inf, 5.0, -np.inf, 7.0]]


def test_the_time_to_a_value_is_the_end_of_the_first_epoch_that_reaches_it():
    from time_to_quality import seconds_to

    values = [0.1, 0.3, 0.2, 0.4]
    result = {"epochs": [{"seconds": 2.0, "ndcg@10": v} for v in values]}
    assert seconds_to(result, 0.25) == 4.0
    assert seconds_to(result, 0.4) == 8.0
    assert seconds_to(result, 0.5) is None
