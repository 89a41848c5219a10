"""Whether an order is learned: by models that read one, and by none that sees a history as a set of items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.checks import N_ITEMS, check_learns_a_cycle, fitted, stranger
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.factors.bpr import BPR
from shopkeeper.recommenders.factors.ials import IALS
from shopkeeper.recommenders.item_pairs.ease import EASE
from shopkeeper.recommenders.item_pairs.slim import SLIM
from shopkeeper.recommenders.knn.user_knn import UserKNN
from shopkeeper.recommenders.networks.gru4rec import GRU4Rec
from shopkeeper.recommenders.networks.hstu import HSTU
from shopkeeper.recommenders.networks.lrurec import LRURec
from shopkeeper.recommenders.networks.narm import NARM
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.recommenders.networks.two_tower import TwoTower
from shopkeeper.training.config import TrainerConfig
from tiny import cycle_histories, days, tiny_prepared

FIT = Fit(seed=1, trainer=TrainerConfig(accelerator="cpu", precision="fp32", threads=1), progress=False)
SMALL: dict[str, Any] = {"width": 16, "max_length": 10, "lr": 0.02, "batch_size": 16, "patience": 0}
SAMPLED = {"name": "sampled_softmax", "negatives": 4}
READ_IT = {
    "two_tower": lambda: TwoTower(**SMALL, hidden=32, dropout=0.0, epochs=30),
    "esasrec": lambda: SASRec(**SMALL, dropout=0.1, gated=True, loss=SAMPLED, epochs=30),
}
SEE_A_SET = {
    "popularity": Popularity,
    "ease": lambda: EASE(l2=1.0),
    "slim": lambda: SLIM(half_life_days=None),
    "ials": lambda: IALS(width=4),
    "bpr": lambda: BPR(width=4, epochs=20),
    "user_knn": lambda: UserKNN(half_life_days=None),
}
NETWORKS = [SASRec, GRU4Rec, NARM, HSTU, LRURec, TwoTower]


@pytest.mark.parametrize("name", READ_IT)
def test_a_model_that_reads_an_order_learns_a_cycle(tmp_path: Path, name: str):
    check_learns_a_cycle(READ_IT[name], tmp_path, FIT)


@pytest.mark.parametrize("name", SEE_A_SET)
def test_a_model_that_sees_a_set_says_the_same_of_any_order_and_learns_no_cycle(tmp_path: Path, name: str):
    histories = cycle_histories(4 * N_ITEMS, N_ITEMS, 12)
    prepared, split = tiny_prepared(tmp_path, histories, days(histories))
    model = fitted(SEE_A_SET[name], prepared, split, FIT)
    one, another = (model.score(stranger(asked)) for asked in ([[1, 2, 3], [5, 6, 7]], [[3, 1, 2], [7, 5, 6]]))
    np.testing.assert_allclose(one, another, rtol=1e-5, atol=1e-6)
    scores_BV = model.score(stranger([[i % N_ITEMS + 1, (i + 1) % N_ITEMS + 1] for i in range(N_ITEMS)]))
    first = scores_BV[:, 1:].argmax(1) + 1
    assert sum(first == [(i + 2) % N_ITEMS + 1 for i in range(N_ITEMS)]) < N_ITEMS / 2


@pytest.mark.parametrize("network", NETWORKS)
def test_a_window_of_one_event_and_a_shop_of_one_item_are_learned(tmp_path: Path, network: Any):
    told = SMALL | {"max_length": 1, "epochs": 2, "width": 4}
    bought = [[1] * 4, [1] * 5, [1]]
    for name, histories in (("one item", bought), ("a cycle", cycle_histories(12, 4, 6))):
        prepared, split = tiny_prepared(tmp_path / name, histories, days(histories))
        scores_BV = fitted(lambda: network(**told), prepared, split, FIT).score(stranger([[1], [], [1, 1, 1]]))
        assert scores_BV.shape == (3, prepared.n_items + 1)
        assert np.isfinite(scores_BV).all()
        np.testing.assert_allclose(scores_BV[0], scores_BV[2], rtol=1e-5)  # of three events it reads the last


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            lambda: HSTU(**SMALL, time=True),
            r"reads how long ago events were, and .* only their order; set model\.time=false or take data with time",
        ),
        (
            lambda: LRURec(**SMALL, history="kernel"),
            r"history=kernel reads how long ago events were, and .* only their or",
        ),
        (
            lambda: SASRec(**SMALL, content=["brand"]),
            r"model\.content: the items of tiny have no 'brand', nor any other",
        ),
    ],
)
def test_a_network_asked_for_what_the_data_lack_says_what_that_is(tmp_path: Path, model: Any, said: str):
    prepared, split = tiny_prepared(tmp_path, cycle_histories(12, 4, 6))
    with pytest.raises(UserError, match=said):
        model().fit(prepared, split, FIT)
