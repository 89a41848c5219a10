"""Validation while training gives what the evaluation's own ranks give, and where histories are encoded afterwards."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import fit, shop

from shopkeeper.metrics.ranker import Ranker
from shopkeeper.metrics.ranks import Flat, positions
from shopkeeper.training import validation
from shopkeeper.training.sequence_model import MANY
from shopkeeper.training.validation import Validator, means, per_request
from tiny import tiny_prepared


@pytest.mark.parametrize("filter_seen", [False, True])
@pytest.mark.parametrize(("pages", "baskets"), [(False, False), (True, False), (False, True)])
def test_ranks_equal_those_of_the_evaluation(
    tmp_path: Path, filter_seen: bool, pages: bool, baskets: bool, monkeypatch: pytest.MonkeyPatch
):
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 31, rng.integers(3, 15)).tolist() for _ in range(50)]
    prepared, split = tiny_prepared(tmp_path / "p", histories, n_items=30, catalogue=range(1, 28))
    requests, targets = split.part("validation")
    if baskets:
        lines = [rng.permutation(30)[: rng.integers(1, 9)] + 1 for _ in range(50)]
        bought = Flat.of(lines)
        targets = replace(targets, item=bought.item.astype(np.int32), offsets=bought.offsets)
        monkeypatch.setattr(type(split), "part", lambda self, name: (requests, targets))
    if pages:  # each asks for a category's items, of which one is not in the catalogue: every third is on none
        open_to = Flat.of([rng.permutation(30)[:9] + 1 if b % 3 else np.arange(1, 31) for b in range(50)])
        requests = replace(requests, candidates=(open_to.offsets, open_to.item.astype(np.int32)))
        monkeypatch.setattr(type(split), "part", lambda self, name: (requests, targets))
    item_VD = torch.randint(-2, 3, (31, 4)).float()  # small whole numbers: many ties
    vector_BD = torch.randint(-2, 3, (50, 4)).float()
    blank_B = torch.arange(50) % 7 == 0
    fallback_V = rng.integers(0, 5, 31).astype(np.float32)
    validator = Validator.of(
        split, types=None, max_length=8, filter_seen=filter_seen, fallback_V=fallback_V,
        edges=(8,), device=torch.device("cpu"), limit=10**6,
    )  # fmt: skip
    assert validator is not None
    got = validator._ranks(vector_BD, blank_B, item_VD, slice(0, 50))
    at, rows = requests.flat()
    vector_BD[blank_B] = 0
    want = []
    for b in range(50):  # fallback rows one by one, through vectors of width 1
        v, items = (torch.ones(1, 1), fallback_V[:, None]) if blank_B[b] else (vector_BD[b : b + 1], item_VD)
        own = Flat.of([targets.item[targets.offsets[b] : targets.offsets[b + 1]]])
        seen = Flat.of([prepared.events.item[rows[at[b] : at[b + 1]]]]) if filter_seen else None
        named = Flat.of([open_to.item[open_to.offsets[b] : open_to.offsets[b + 1]]]) if pages else None
        ranked = Ranker(len(items), split.catalogue, item_VD=items, k=0).rank_vectors(v, own, seen, named)
        want += positions(ranked.better, ranked.tied, own.offsets).tolist()
    assert np.isnan(want).any()
    np.testing.assert_array_equal(got, np.where(np.isnan(want), np.inf, want))
    monkeypatch.setattr(validation, "SCORES", 1)  # 16 requests at a time, and 16 targets of those
    np.testing.assert_array_equal(got, validator._ranks(vector_BD, blank_B, item_VD, slice(0, 50)))


def test_means_by_hand():
    # One target at rank 1; two targets, one at rank 3 and one without a rank.
    rows = per_request(np.array([1.0, 3.0, np.inf]), np.array([0, 1, 3]))
    ideal = 1 + 1 / np.log2(3)
    want = {"ndcg@10": (1 + 0.5 / ideal) / 2, "recall@10": 0.75, "hit@10": 1.0, "mrr": (1 + 1 / 3) / 2}
    assert means(rows) == pytest.approx(want)


def test_a_sample_of_the_requests_is_always_the_same_one(tiny_shop):
    def sample(limit: int):
        return Validator.of(
            tiny_shop[1], types=None, max_length=8, filter_seen=True,
            fallback_V=np.zeros(31, np.float32), edges=(8,), device=torch.device("cpu"), limit=limit,
        )  # fmt: skip

    assert len(sample(20).offsets) == 21
    assert np.array_equal(sample(20).target_class, sample(20).target_class)
    assert sample(0) is None


def test_many_histories_are_encoded_on_a_gpu_unless_training_was_beside_it(tmp_path: Path, monkeypatch):
    trained = fit(*shop(tmp_path), epochs=1)
    trained.save(tmp_path / "run")
    loaded = type(trained)()
    loaded.load(tmp_path / "run")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    where = {n: [model._device_for(n).type for model in (trained, loaded)] for n in (MANY - 1, MANY)}
    assert where == {MANY - 1: ["cpu", "cpu"], MANY: ["cpu", "cuda"]}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: vectors of two devices are not compared")
def test_vectors_of_a_gpu_are_those_of_a_cpu(tmp_path: Path, monkeypatch):
    prepared, split = shop(tmp_path)
    model = fit(prepared, split, trainer={"accelerator": "gpu", "precision": "auto"}, epochs=1)
    requests, _ = split.part("validation")
    monkeypatch.setattr("shopkeeper.training.sequence_model.MANY", 1)
    (on_gpu, blank), weight = model.encode(requests), model.item_vectors()
    monkeypatch.setattr("shopkeeper.training.sequence_model.MANY", len(requests) + 1)
    on_cpu, same = model.encode(requests)
    assert np.allclose(on_gpu, on_cpu, atol=1e-4)
    assert (blank == same).all()
    assert np.array_equal(weight, model.item_vectors())


def test_a_copy_of_a_network_that_was_compiled_reads_its_own_weights(tmp_path: Path, monkeypatch):
    """Histories are encoded on a GPU by a copy there: parts bound to the network itself would look for its weights."""
    monkeypatch.setattr(torch, "compile", lambda eager, **_: eager)
    prepared, split = shop(tmp_path)
    model = fit(prepared, split, trainer={"compile": "on", "precision": "fp32"}, epochs=1)
    assert model.trained.plan.compile
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.network.blocks.parameters():
            weight.fill_(torch.nan)
    assert np.isfinite(other.encode(split.part("validation")[0])[0]).all()
