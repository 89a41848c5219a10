"""What item vectors begin with: the SVD that a textbook would take, of training alone, as large as a random start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recommenders.checks import check_training_rows_only
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.features import item_start
from shopkeeper.features.content import item_content
from shopkeeper.features.item_start import alike, taken_together
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.gru4rec import GRU4Rec
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import TrainerConfig
from tiny import days, tiny_prepared

N_ITEMS, D = 12, 4
SMALL: dict[str, Any] = {"width": D, "max_length": 10, "batch_size": 16, "epochs": 1, "lr": 1e-12}
FIT = Fit(
    seed=1,
    trainer=TrainerConfig(accelerator="cpu", precision="fp32", threads=1, validation_requests=0),
    progress=False,
)
TABLE = {"brand": ["oak", "elm"] * 6, "grade": ["a", "b", "c"] * 4, "material": ["pine"] * 12}


def histories() -> list[list[int]]:
    rng = np.random.default_rng(3)
    return [rng.integers(1, N_ITEMS, rng.integers(4, 9)).tolist() + [N_ITEMS, 1] for _ in range(25)]


def shop(path: Path, **options: Any) -> tuple[Prepared, Split]:
    bought = histories()
    return tiny_prepared(path, bought, days(bought), n_items=N_ITEMS, catalogue=range(1, N_ITEMS + 1), **options)


def nearest_of_rank(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The products of a matrix's rows, as near as `rank` numbers of a row can have them."""
    value, vector = np.linalg.eigh(matrix @ matrix.T)
    return (vector[:, -rank:] * value[-rank:]) @ vector[:, -rank:].T


@pytest.mark.parametrize("whole", [True, False])
def test_items_taken_together_have_the_products_of_the_matrix_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
):
    _, split = shop(tmp_path)
    there_UV = np.zeros((25, N_ITEMS + 1))
    for u, bought in enumerate(histories()):
        for item in bought[:-2]:  # validation and test have the last ones
            there_UV[u, item] = 1
    scaled_UV = there_UV / np.sqrt(there_UV.sum(1, keepdims=True)) / np.sqrt(np.maximum(there_UV.sum(0), 1))
    monkeypatch.setattr(item_start, "SMALL", 200 if whole else 0)
    got_VD = taken_together(split, None, D)
    assert got_VD.shape == (N_ITEMS + 1, D)
    np.testing.assert_allclose(got_VD @ got_VD.T, nearest_of_rank(scaled_UV.T, D), atol=1e-5)
    assert not got_VD[[0, N_ITEMS]].any()  # item 12 is only ever a validation target
    size_D = np.linalg.norm(got_VD, axis=0)
    assert (np.diff(size_D) < 0).all()
    np.testing.assert_array_equal(got_VD, taken_together(split, None, D))


def test_items_that_are_alike_have_the_products_of_what_they_share(tmp_path: Path):
    prepared, _ = shop(tmp_path, items=TABLE)
    content = item_content(prepared, "all", None, np.ones(N_ITEMS + 1, bool))
    got_VD = alike(content, 5)
    # Rows by hand: two brands of six items each, three grades of four each; what all items have says nothing.
    by_hand = np.zeros((N_ITEMS + 1, 5))
    for item in range(1, N_ITEMS + 1):
        by_hand[item, (item - 1) % 2] = np.log(12 / 6)
        by_hand[item, 2 + (item - 1) % 3] = np.log(12 / 4)
    np.testing.assert_allclose(got_VD @ got_VD.T, by_hand @ by_hand.T, atol=1e-5)
    assert got_VD.shape[1] == 4  # what two brands and three grades say has four dimensions


@pytest.mark.parametrize(("network", "way"), [(SASRec, "svd"), (GRU4Rec, "svd"), (SASRec, "content")])
def test_a_network_begins_with_them_as_large_as_at_random_and_the_unknown_keep_that(
    tmp_path: Path, network: Any, way: str
):
    told = {"brand": [*["oak", "elm"] * 5, None, None], "price": [*[1.0, 2.0, 3.0] * 3, 1.0, None, None]}
    prepared, split = shop(tmp_path, items=told)
    drawn, begun = network(**SMALL), network(**SMALL, item_init=way)
    for model in (drawn, begun):
        model.fit(prepared, split, FIT)
    random_VD, start_VD = drawn.item_vectors(), begun.item_vectors()
    content = item_content(prepared, "all", None, np.ones(N_ITEMS + 1, bool))
    want_VR = taken_together(split, None, D) if way == "svd" else alike(content, D)
    known_V = want_VR.any(1)
    assert known_V.sum() == (11 if way == "svd" else 10), "the check needs items that are unknown"
    scale = np.sqrt((random_VD[1:] ** 2).mean() / (want_VR[known_V] ** 2).mean())
    n = want_VR.shape[1]
    np.testing.assert_allclose(start_VD[known_V, :n], scale * want_VR[known_V], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(start_VD[known_V, n:], random_VD[known_V, n:], atol=1e-6)
    np.testing.assert_allclose(start_VD[~known_V], random_VD[~known_V], atol=1e-6)
    others, same = begun.network.state_dict(), drawn.network.state_dict()
    assert all(torch.allclose(others[k], v, atol=1e-6) for k, v in same.items() if k != "item.weight")


@pytest.mark.parametrize("way", ["svd", "content"])
def test_nothing_that_comes_after_training_is_in_them(tmp_path: Path, way: str):
    if way == "svd":
        check_training_rows_only(lambda: SASRec(**SMALL, item_init="svd"), tmp_path, FIT)
        return
    from cold.brand_shop import brand_shop, new_of, split_of

    events = {"items": {"from_events": {"brand": "brand"}}}  # a brand is known once somebody has bought of it
    prepared = brand_shop(tmp_path, customers=40, **events)
    split, model = split_of(prepared), SASRec(**SMALL | {"width": 8}, item_init="content")
    model.fit(prepared, split, FIT)
    same = SASRec(**SMALL | {"width": 8})
    same.fit(prepared, split, FIT)
    moved_V = np.abs(model.item_vectors() - same.item_vectors()).max(1) > 1e-6
    assert moved_V[1:].sum() > 80
    assert not moved_V[new_of(prepared)].any()


def test_who_asks_for_what_the_data_lack_is_told_what_there_is(tmp_path: Path):
    prepared, split = shop(tmp_path)
    with pytest.raises(UserError, match=r"model\.item_init=content: the item table of tiny says nothing .* use item_i"):
        SASRec(**SMALL, item_init="content").fit(prepared, split, FIT)
    with pytest.raises(UserError, match=r"model\.item_init=vectors is not known; choose random or svd or content"):
        SASRec(**SMALL, item_init="vectors")
