"""What a sequence model with own histories answers: what is known must come out, and every way to it must agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from recommenders.checks import (
    asked,
    check_answers,
    check_odd_shops,
    check_orders_without_time,
    check_refit,
    check_saving,
    check_training_rows_only,
    shoppers,
)
from shopkeeper.data.own import COUNTS
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.nn.own import OwnTerm
from shopkeeper.programs.own import own_items
from shopkeeper.recommenders.networks.gru4rec import GRU4Rec
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.schema import EVENT_CODE
from shopkeeper.training.batching.own import RequestPairs, demand_of, own_shape
from tiny import DAY
from training.history.kitchen import BREAD, COFFEE, MILK, NO_VALIDATION, SMALL, WASHER, kitchen, mixed


@pytest.fixture(scope="module")
def cook(tmp_path_factory: pytest.TempPathFactory) -> SASRec:
    model = SASRec(history="kernel", **SMALL, blocks=1, epochs=40)
    model.fit(*kitchen(tmp_path_factory.mktemp("kitchen")), NO_VALIDATION)
    return model


def test_an_item_bought_every_30_days_comes_up_when_due_and_not_the_day_after(cook: SASRec):
    # Bread and milk were bought the day before each of the instants.
    first = [(0, COFFEE), (30, COFFEE), (60, COFFEE)]
    other = [(d, BREAD if n % 2 else MILK) for n, d in enumerate(range(1, 62, 5))]
    day_after = cook.score(asked(sorted(first + other), 61))[0]
    due = cook.score(asked(sorted(first + other + [(66, MILK), (71, BREAD), (76, MILK), (81, BREAD), (86, MILK)]), 90))[
        0
    ]
    assert due[1:].argmax() + 1 == COFFEE
    assert day_after[COFFEE] < min(day_after[BREAD], day_after[MILK])


def test_an_item_that_all_bought_once_does_not_come_back(cook: SASRec):
    history = [(d, BREAD if n % 2 else MILK) for n, d in enumerate(range(1, 60, 5))]
    score = cook.score(asked(sorted([(0, COFFEE), (7, WASHER), (30, COFFEE), *history]), 60))[0]
    due = sorted(score[[COFFEE, BREAD, MILK]])[1:]  # coffee, and bread or milk
    assert score[WASHER] < min(due) - 2


def test_it_says_that_it_reads_the_instant_and_the_counts_alone_do_not(cook: SASRec):
    assert cook.about.reads_instant
    assert "timestamp" in cook.about.reads
    assert not cook.about.not_exported
    assert not SASRec(history="frequency").about.reads_instant
    assert not SASRec(history="copy").about.reads_instant
    assert SASRec().about.answers == "vectors"
    assert not SASRec().about.not_exported


@pytest.mark.parametrize("history", ["frequency", "copy"])
@pytest.mark.parametrize("model", [SASRec, GRU4Rec])
def test_it_keeps_the_promises_of_every_recommender(model: Any, history: str, tmp_path: Path):
    make = lambda: model(history=history, **SMALL, epochs=2)
    check_orders_without_time(make, tmp_path, NO_VALIDATION)
    check_all(make, tmp_path)


def test_with_a_clock_too_and_without_one_it_says_what_would_do(tmp_path: Path):
    make = lambda: SASRec(history="kernel", **SMALL, epochs=2)
    check_all(make, tmp_path)
    with pytest.raises(UserError, match=r"history=kernel reads how long ago .* choose model.history=frequency or copy"):
        check_orders_without_time(make, tmp_path, NO_VALIDATION)


def check_all(make: Any, path: Path) -> None:
    prepared, split = shoppers(path / "shoppers")
    check_answers(make, prepared, split, NO_VALIDATION)
    check_saving(make, prepared, split, path, NO_VALIDATION)
    check_refit(make, prepared, split, path, NO_VALIDATION)
    check_training_rows_only(make, path, NO_VALIDATION)
    check_odd_shops(make, path, NO_VALIDATION)


def test_nightly_it_knows_the_demand_until_midnight_and_nothing_later(tmp_path: Path):
    prepared, split = mixed(tmp_path)
    model = SASRec(history="frequency", item_statistics="nightly", **SMALL, blocks=1, epochs=1)
    model.fit(prepared, split, NO_VALIDATION)
    assert model.about.needs == ("nightly",)
    assert SASRec(history="frequency").about.needs == ()
    requests, _ = split.part("test")
    nightly = requests.nightly
    assert nightly is not None
    assert requests.instant is not None
    night = int(nightly.nights(requests.instant).max())
    said, rng = model.score(requests), np.random.default_rng(0)
    later = replace(requests, nightly=nightly.changed_from(night, prepared.n_items, rng))
    np.testing.assert_array_equal(model.score(later), said)
    before = replace(requests, nightly=nightly.changed_from(night - 30 * DAY, prepared.n_items, rng))
    assert (model.score(before) != said).any()


def test_a_warm_start_brings_what_was_learned_of_each_item(cook: SASRec, tmp_path: Path):
    cook.save(tmp_path / "run")
    prepared, split = kitchen(tmp_path / "again")
    model = SASRec(history="kernel", **{**SMALL, "lr": 1e-9}, blocks=1, epochs=1)
    model.fit(prepared, split, replace(NO_VALIDATION, init_from=tmp_path / "run"))
    mine, theirs = model._network().own, cook._network().own
    assert mine is not None
    assert theirs is not None
    torch.testing.assert_close(mine.again.weight, theirs.again.weight, atol=1e-6, rtol=0)
    plain = SASRec(**SMALL, blocks=1, epochs=1)
    with pytest.raises(UserError, match=r"was trained with history=kernel, this model has none"):
        plain.fit(prepared, split, replace(NO_VALIDATION, init_from=tmp_path / "run"))


def test_a_run_of_another_version_is_to_be_trained_again(cook: SASRec, tmp_path: Path):
    cook.save(tmp_path)
    tensors = load_file(tmp_path / "weights.safetensors")
    tensors["network.own.demand_V"] = tensors.pop("network.own.demand_SV")[0]
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        said = file.metadata()
    save_file(tensors, tmp_path / "weights.safetensors", said)
    with pytest.raises(UserError, match=r"another version \(own.demand_SV\); train it again"):
        SASRec(history="kernel", **SMALL, blocks=1).load(tmp_path)


def test_before_it_has_learned_own_items_stand_by_how_often_they_were_taken():
    term = OwnTerm(own_shape(5, 8, "kernel"))
    histories = [[COFFEE, COFFEE, COFFEE, MILK, MILK, BREAD]]
    told = [[EVENT_CODE["purchase"]] * 6], [[day * DAY for day in (1, 2, 3, 4, 5, 6)]], [7 * DAY]
    pairs = RequestPairs.of(
        Requests.from_histories(histories, *told), np.ones(6, bool), None, [EVENT_CODE["purchase"]], term
    ).pairs
    logit = dict(zip(pairs.item_R.tolist(), pairs.logits(term, torch.zeros(1, 8), torch.zeros(6, 8)), strict=True))
    assert logit[COFFEE] > logit[MILK] > logit[BREAD] > 0


def test_demand_of_a_week_tells_what_rises_from_what_is_over():
    at = np.array([0] * 8 + [99] * 4, np.int64) * DAY
    long, week, longest = demand_of(at, np.array([1] * 8 + [2] * 4), 100 * DAY, 3)
    assert week[2] > week[1]
    assert week[2] - week[1] > long[2] - long[1] > longest[2] - longest[1]


def test_own_items_of_a_bundle_of_before_are_scored_by_one_hidden_layer() -> None:
    model = SASRec(width=8, blocks=1, max_length=6, history="kernel")
    network = model.network = model._made(model._shape(5, 0, **model.settings))
    term = network.own
    assert term is not None
    with torch.no_grad():
        for values in term.parameters():
            values += torch.randn_like(values) * 0.3
    model.known_V, model.target_codes = np.ones(6, bool), [EVENT_CODE["purchase"]]
    purchases = [[EVENT_CODE["purchase"]] * 3], [[n * DAY for n in range(3)]], [9 * DAY]
    requests = Requests.from_histories([[1, 2, 1]], *purchases)
    told = model._own_arrays()
    assert told is not None
    before = own_items(requests, {name: values for name, values in told.items() if not name.startswith("second")})[2]
    both = own_items(requests, told)[2]
    with torch.no_grad():
        term.second.weight.zero_()
        term.second.bias.zero_()
    alone = own_items(requests, model._own_arrays() or {})[2]
    np.testing.assert_array_equal(before, alone)
    assert np.abs(both - before).max() > 0.1


def test_a_bundle_of_before_is_not_told_the_place_of_a_cart() -> None:
    model = SASRec(width=8, blocks=1, max_length=6, history="kernel")
    network = model.network = model._made(model._shape(5, 0, **model.settings))
    term, place = network.own, COUNTS.index("cart_place")
    assert term is not None
    with torch.no_grad():
        for values in term.parameters():
            values += torch.randn_like(values) * 0.3
    model.known_V, model.target_codes = np.ones(6, bool), [EVENT_CODE["purchase"]]
    types = [[EVENT_CODE[name] for name in ("purchase", "add_to_cart", "add_to_cart")]]
    requests = Requests.from_histories([[1, 2, 3]], types, [[n * DAY for n in range(3)]], [9 * DAY])
    told = model._own_arrays()
    assert told is not None
    short = {name: np.delete(told[name], place, -1) for name in ("weight", "direct")}
    before, today = own_items(requests, told | short)[2], own_items(requests, told)[2]
    np.testing.assert_allclose(before[[0, 2]], today[[0, 2]], rtol=1e-5)  # no cart is newer than 3's
    assert abs(today[1] - before[1]) > 1e-3
