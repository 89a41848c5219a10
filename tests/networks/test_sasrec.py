"""SASRec through the contract: what a caller of fit, score, save and load relies on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.base import EmbeddingRecommender
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import TrainerConfig
from tiny import cycle_histories, tiny_prepared

CPU = TrainerConfig(accelerator="cpu", precision="fp32", threads=1)
SMALL = {"width": 16, "blocks": 1, "max_length": 10, "dropout": 0.0, "lr": 0.01, "batch_size": 16, "patience": 0}


@pytest.fixture(scope="module")
def cycle(tmp_path_factory):
    prepared, split = tiny_prepared(tmp_path_factory.mktemp("cycle") / "p", cycle_histories(40, 12, 14))
    model = SASRec(**SMALL, epochs=15)
    model.fit(prepared, split, Fit(seed=1, trainer=CPU, progress=False))
    return prepared, split, model


def test_a_deterministic_cycle_is_learned_and_an_unseen_person_gets_its_next_item(cycle):
    _, _, model = cycle
    score = model.score(Requests.from_histories([[3, 4, 5], [11], [12, 1]]))
    assert isinstance(model, EmbeddingRecommender)
    assert score.shape == (3, 13)
    assert score.dtype == np.float32
    assert score[:, 1:].argmax(1).tolist() == [5, 11, 1]  # items 6, 12, 2


def test_empty_and_all_unknown_histories_get_the_popular_items(cycle):
    _, _, model = cycle
    score = model.score(Requests.from_histories([[], [99, -3], [3]]))
    assert np.array_equal(score[0], model.fallback())
    assert np.array_equal(score[1], model.fallback())
    assert not np.array_equal(score[2], model.fallback())
    assert model.fallback()[1:].min() > 0


def test_unknown_items_in_a_history_are_skipped(cycle):
    _, _, model = cycle
    with_unknown, without = model.score(Requests.from_histories([[3, 77, 4, 99], [3, 4]]))
    np.testing.assert_allclose(with_unknown, without, atol=1e-6)


def test_a_history_beyond_the_limit_is_read_from_its_end(cycle):
    _, _, model = cycle
    long, short = model.score(Requests.from_histories([[7] * 50 + list(range(1, 11)), list(range(1, 11))]))
    np.testing.assert_allclose(long, short, atol=1e-6)


def test_scores_do_not_depend_on_the_company_a_request_comes_in(cycle):
    _, split, model = cycle
    requests, _ = split.part("test")
    whole = model.score(requests)
    np.testing.assert_allclose(whole[3:4], model.score(requests[3:4]), atol=1e-5)


def test_saved_and_loaded_it_answers_alike(cycle, tmp_path: Path):
    _, split, model = cycle
    requests, _ = split.part("test")
    model.save(tmp_path)
    other = SASRec()
    other.load(tmp_path)
    assert np.array_equal(model.score(requests), other.score(requests))
    assert np.array_equal(model.fallback(), other.fallback())


def test_a_damaged_or_foreign_file_is_refused_by_name(cycle, tmp_path: Path):
    model = cycle[2]
    with pytest.raises(UserError, match=r"weights\.safetensors is missing"):
        SASRec().load(tmp_path)
    model.save(tmp_path)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        SASRec().load(tmp_path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, file, {"format": "something/1"})
    with pytest.raises(UserError, match="something/1"):
        SASRec().load(tmp_path)


def test_views_help_when_they_announce_the_purchase(tmp_path: Path):
    # A view of item i is followed by the purchase of i: only a model that reads views can know.
    rng = np.random.default_rng(0)
    histories, types = [], []
    for _ in range(60):
        items = rng.integers(1, 9, 8)
        histories.append(np.repeat(items, 2).tolist())
        types.append(["view", "purchase"] * 8)
    prepared, split = tiny_prepared(tmp_path / "views", histories, event_types=types)
    requests, targets = split.part("test")
    right = {}
    for inputs in ("all", "targets"):
        model = SASRec(**SMALL, epochs=20, inputs=inputs)
        model.fit(prepared, split, Fit(seed=1, trainer=CPU, progress=False))
        right[inputs] = (model.score(requests)[:, 1:].argmax(1) + 1 == targets.item).mean()
    assert right["all"] > 0.9
    assert right["targets"] < 0.4


def test_a_warm_start_knows_the_old_items_and_learns_the_new_ones(cycle, tmp_path: Path):
    _, _, old = cycle
    old.save(tmp_path / "run")
    # The new day: the cycle has two more items, and the internal ids are in another order.
    names = [f"i{i}" for i in (13, 14, *range(1, 13))]
    histories = [[(item + 1) % 14 + 1 for item in history] for history in cycle_histories(40, 14, 14)]
    prepared, split = tiny_prepared(tmp_path / "new", histories, items={"item_id": names})
    settings = {**SMALL, "lr": 1e-9}
    model = SASRec(**settings, epochs=1)
    model.fit(prepared, split, Fit(seed=1, trainer=CPU, progress=False, init_from=tmp_path / "run"))
    assert model.score(Requests.from_histories([[5, 6, 7]]))[0, 1:13].argmax() + 1 == 8  # i3 i4 i5 -> i6
    model = SASRec(**SMALL, epochs=8)
    model.fit(prepared, split, Fit(seed=1, trainer=CPU, progress=False, init_from=tmp_path / "run"))
    assert model.score(Requests.from_histories([[14], [1]]))[:, 1:].argmax(1).tolist() == [0, 1]  # i12 -> i13 -> i14


@pytest.mark.parametrize("max_length", [10, 6, 14])
def test_a_warm_start_takes_over_the_newest_positions(cycle, tmp_path: Path, max_length: int):
    prepared, split, old = cycle
    old.save(tmp_path)
    model = SASRec(**{**SMALL, "lr": 1e-9, "max_length": max_length}, epochs=1)
    model.fit(prepared, split, Fit(seed=2, trainer=CPU, progress=False, init_from=tmp_path))
    mine, theirs = (m.network.position.weight.detach() for m in (model, old))
    n = min(len(mine), len(theirs))
    torch.testing.assert_close(mine[:n], theirs[:n], atol=1e-6, rtol=0)


def test_a_warm_start_from_another_shape_is_refused(cycle, tmp_path: Path):
    prepared, split, old = cycle
    old.save(tmp_path)
    with pytest.raises(UserError, match=r"width=16, this model has 8; set model\.width=16"):
        SASRec(**{**SMALL, "width": 8}).fit(prepared, split, Fit(trainer=CPU, progress=False, init_from=tmp_path))


def test_a_warm_start_from_a_folder_without_this_model_names_the_option(cycle, tmp_path: Path):
    prepared, split, _ = cycle
    with pytest.raises(UserError, match=r"init_from=.* is no run of this model: .*weights\.safetensors is missing"):
        SASRec(**SMALL).fit(prepared, split, Fit(trainer=CPU, progress=False, init_from=tmp_path))


def test_event_types_that_the_other_run_did_not_read_are_learned_and_those_it_read_are_not_lost(tmp_path: Path):
    histories = cycle_histories(10, 6, 8)
    types = [["view", "purchase"] * 4 for _ in histories]
    prepared, split = tiny_prepared(tmp_path / "data", histories, event_types=types)
    for inputs in ("targets", "all"):
        model = SASRec(**SMALL, epochs=1, inputs=inputs)
        model.fit(prepared, split, Fit(trainer=CPU, progress=False))
        model.save(tmp_path / inputs)
    warm = SASRec(**{**SMALL, "lr": 1e-9}, epochs=1, inputs="all")
    warm.fit(prepared, split, Fit(trainer=CPU, progress=False, init_from=tmp_path / "targets"))
    old = SASRec()
    old.load(tmp_path / "targets")
    np.testing.assert_allclose(warm.item_vectors(), old.item_vectors(), atol=1e-5)
    with pytest.raises(UserError, match=r"tells event types apart .* set model\.inputs=all"):
        SASRec(**SMALL, inputs="targets").fit(
            prepared, split, Fit(trainer=CPU, progress=False, init_from=tmp_path / "all")
        )


def test_a_cold_start_does_not_go_on_with_the_checkpoint_of_a_warm_one(cycle, tmp_path: Path):
    prepared, split, old = cycle
    old.save(tmp_path / "old")
    told = Fit(seed=1, trainer=CPU, progress=False, folder=tmp_path / "run", init_from=tmp_path / "old")
    SASRec(**SMALL, epochs=1).fit(prepared, split, told)
    with pytest.raises(UserError, match=r"belongs to another training \(init_from"):
        SASRec(**SMALL, epochs=2).fit(prepared, split, Fit(seed=1, trainer=CPU, progress=False, folder=told.folder))


def test_wrong_settings_are_named():
    with pytest.raises(UserError, match=r"model\.width=10 is not divisible by model\.heads=3"):
        SASRec(width=10, heads=3)
    with pytest.raises(UserError, match=r"model\.heads=0 must be a whole number of at least 1"):
        SASRec(heads=0)
    with pytest.raises(UserError, match="decay=linear"):
        SASRec(decay="linear")
    with pytest.raises(UserError, match=r"no setting model\.learning_rate"):
        SASRec(learning_rate=1)
