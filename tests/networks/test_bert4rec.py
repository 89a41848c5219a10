"""BERT4Rec as a recommender: it learns an order from what is hidden, whole, killed and rounded, with each loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recommenders.checks import check_goes_on_after_a_kill, fitted, shoppers, stranger
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.nn.loss_settings import NAMES
from shopkeeper.recommenders.networks.bert4rec import BERT4Rec
from shopkeeper.training.config import PlanByHand, TrainerConfig
from tiny import days, tiny_prepared

CPU = TrainerConfig(accelerator="cpu", precision="fp32", threads=1, validation_requests=0)
FIT = Fit(seed=1, trainer=CPU, progress=False)
SMALL: dict[str, Any] = {
    "width": 16, "blocks": 1, "heads": 1, "max_length": 10, "dropout": 0.0, "lr": 0.01, "batch_size": 32, "patience": 0,
    "masked_last": 0.8,
}  # fmt: skip
ITEMS = 6
ASKED, AFTER = [[6, 1, 2, 3, 4], [4, 5, 1], [4, 5, 2, 3, 5, 6, 3]], [5, 2, 4]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Everybody takes pairs: any item and the one after it on a circle. What comes next, the last item alone says."""
    rng = np.random.default_rng(0)
    histories = [
        [i for a in rng.integers(0, ITEMS, 3 + u % 4) for i in (a + 1, (a + 1) % ITEMS + 1)] for u in range(120)
    ]
    return tiny_prepared(tmp_path_factory.mktemp("pairs"), histories, days(histories))


@pytest.fixture(scope="module")
def learned(shop: Any) -> BERT4Rec:
    return fitted(lambda: BERT4Rec(**SMALL, epochs=40), *shop, FIT)


def test_it_learns_an_order_and_without_positions_it_knows_none(shop: Any, learned: BERT4Rec):
    assert learned.score(stranger(ASKED))[:, 1:].argmax(1).tolist() == [item - 1 for item in AFTER]
    with torch.no_grad():
        blind = BERT4Rec(**SMALL)
        blind.network = BERT4Rec.network_class(learned.network.shape).eval()
        blind.network.load_state_dict(learned.network.state_dict())
        blind.network.position.weight.zero_()
        blind.known_V, blind.fallback_V = learned.known_V, learned.fallback_V
    assert np.abs(learned.score(stranger(ASKED)) - learned.score(stranger([row[::-1] for row in ASKED]))).max() > 1
    np.testing.assert_allclose(
        blind.score(stranger(ASKED)), blind.score(stranger([row[::-1] for row in ASKED])), atol=1e-4
    )


def test_an_item_that_it_does_not_know_changes_nothing(learned: BERT4Rec):
    learned.known_V = np.append(learned.known_V, False)
    np.testing.assert_array_equal(
        learned.score(Requests.from_histories([[2, 3, 7, 4]])), learned.score(Requests.from_histories([[2, 3, 4]]))
    )
    learned.known_V = learned.known_V[:-1]


def test_half_the_precision_learns_it_too(shop: Any):
    trainer = replace(CPU, precision="bf16")
    model = fitted(lambda: BERT4Rec(**SMALL, epochs=40), *shop, Fit(seed=1, trainer=trainer, progress=False))
    assert model.score(stranger(ASKED))[:, 1:].argmax(1).tolist() == [item - 1 for item in AFTER]


@pytest.mark.parametrize("name", [name for name in NAMES if "softmax" not in name])
def test_each_loss_over_drawn_negatives_gets_less(shop: Any, name: str):
    loss = {"name": name, "negatives": 12, "regularisation": 0.1, "draw": "popularity"}
    history = fitted(lambda: BERT4Rec(**SMALL, loss=loss, epochs=20), *shop, FIT).trained.history
    assert np.mean([h["loss"] for h in history[-3:]]) < 0.9 * history[0]["loss"]


def test_in_micro_batches_and_shares_it_learns_the_same(shop: Any):
    whole, parts = (
        fitted(lambda: BERT4Rec(**SMALL, epochs=2), *shop, Fit(seed=1, trainer=replace(CPU, **more), progress=False))
        for more in ({}, {"micro_batch": 7, "threads": 2, "plan": PlanByHand(cores=2)})
    )
    np.testing.assert_allclose(
        [h["loss"] for h in parts.trained.history], [h["loss"] for h in whole.trained.history], atol=1e-4
    )


def test_killed_and_gone_on_with_it_has_the_weights_of_a_run_that_was_not(shop: Any, tmp_path: Path):
    trainer = replace(CPU, checkpoint_minutes=0.0, validation_requests=100)

    def fit(folder: Path | None) -> BERT4Rec:
        model = BERT4Rec(**SMALL | {"dropout": 0.2}, epochs=3)
        model.fit(*shop, Fit(seed=1, trainer=trainer, progress=False, folder=folder))
        return model

    check_goes_on_after_a_kill(fit, tmp_path / "run")


def test_a_warm_start_knows_the_old_items(shop: Any, learned: BERT4Rec, tmp_path: Path):
    learned.save(tmp_path / "run")
    warm = BERT4Rec(**SMALL | {"lr": 1e-9, "masked": 0.4}, epochs=1)
    warm.fit(*shop, Fit(seed=2, trainer=CPU, progress=False, init_from=tmp_path / "run"))
    np.testing.assert_allclose(warm.score(stranger(ASKED)), learned.score(stranger(ASKED)), atol=1e-3)


def test_what_it_cannot_learn_is_said_with_what_can():
    with pytest.raises(UserError, match=r"BERT4Rec learns items of any place; choose history=none and targets=events"):
        BERT4Rec(history="kernel")
    with pytest.raises(UserError, match=r"model\.max_length=1 .*at least 2"):
        BERT4Rec(max_length=1)


def test_the_shortest_window_and_one_item_are_learned(tmp_path: Path):
    prepared, split = shoppers(tmp_path / "data")
    scores = fitted(lambda: BERT4Rec(**SMALL | {"max_length": 2}, epochs=1), prepared, split, FIT).score(
        stranger([[3], [1, 2, 3]])
    )
    np.testing.assert_array_equal(scores[0], scores[1])  # of which it reads the newest event alone
    histories = [[1] * 5] * 4
    one = fitted(lambda: BERT4Rec(**SMALL, epochs=1), *tiny_prepared(tmp_path / "one", histories, days(histories)), FIT)
    assert np.isfinite(one.score(stranger([[1], [1, 1]]))).all()
