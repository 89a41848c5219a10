"""Own history and whole baskets in a sequence model: what is known must come out, and every way to it must agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_training import MODEL, TRAINER, assert_close, fit

from recommenders.checks import (
    FIT,
    check_answers,
    check_odd_shops,
    check_orders_without_time,
    check_refit,
    check_saving,
    check_training_rows_only,
    shoppers,
)
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import values_of
from shopkeeper.models.fit import Fit
from shopkeeper.nn.own import OwnTerm
from shopkeeper.recommenders.networks.gru4rec import GRU4Rec
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.schema import EVENT_CODE
from shopkeeper.training.batching.own import RequestPairs, demand_of, own_shape
from shopkeeper.training.config import Plan, TrainerConfig
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.objectives.own_history import AskedBatch, OwnHistory
from tiny import DAY, tiny_prepared

COFFEE, WASHER, BREAD, MILK, NEVER = 1, 2, 3, 4, 5
SMALL: dict[str, Any] = {"width": 8, "max_length": 10, "batch_size": 8, "lr": 0.01, "patience": 0}
NO_VALIDATION = replace(FIT, trainer=TrainerConfig.of({**TRAINER, "plan": {}, "validation_requests": 0}))


def kitchen(path: Path) -> tuple[Prepared, Split]:
    """Thirty households: coffee each 30 days, one washer ever, and bread and milk in turn every fifth day."""
    items, times = [], []
    for u in range(30):
        events = [(u + 30 * n, COFFEE) for n in range(6)] + [(u + 7 + u % 3 * 40, WASHER)]
        events += [(u + d, (BREAD, MILK)[(d + u) % 2]) for d in range(1, 170, 5)]
        events = sorted(events) + [(u + 400, NEVER), (u + 401, NEVER)]  # the two that leave_one_out takes away
        items.append([item for _, item in events])
        times.append([day * DAY for day, _ in events])
    return tiny_prepared(path, items, times, catalogue=range(1, 6))


def asked(history: list[tuple[int, int]], *days: int) -> Requests:
    """The same history, asked on several days."""
    n = len(days)
    return Requests.from_histories(
        [[item for _, item in history]] * n,
        [[EVENT_CODE["purchase"]] * len(history)] * n,
        [[day * DAY for day, _ in history]] * n,
        [day * DAY for day in days],
    )


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


def mixed(path: Path) -> tuple[Prepared, Split]:
    """Forty customers with views, carts and orders of several lines, in time."""
    rng = np.random.default_rng(3)
    histories, times, types, orders, code = [], [], [], [], 0
    for _ in range(40):
        n = int(rng.integers(6, 30))
        order = np.zeros(n, np.int64)
        kind = rng.choice(["view", "add_to_cart", "purchase"], n)
        at = np.cumsum(rng.integers(0, 5, n)) * DAY
        for m in range(n):
            if kind[m] == "purchase":
                same = m > 0 and kind[m - 1] == "purchase" and rng.random() < 0.5
                code += not same
                order[m], at[m] = code, at[m - 1] if same else at[m]
        histories.append(rng.integers(1, 13, n).tolist())
        times.append(np.maximum.accumulate(at).tolist())
        types.append(kind.tolist())
        orders.append(order.tolist())
    return tiny_prepared(path, histories, times, event_types=types, columns={"order": orders}, n_items=12)


def opened(path: Path, baskets: bool = True) -> tuple[SASRec, OwnHistory, Plan, Prepared, Split]:
    """A model of one epoch, and its objective once more."""
    prepared, split = mixed(path)
    model = SASRec(history="kernel", targets="baskets" if baskets else "events", **SMALL, blocks=1, epochs=2)
    model.fit(prepared, split, NO_VALIDATION)
    objective = OwnHistory(split, ("purchase",), baskets=baskets)
    assert model.trained is not None
    objective.open(model._network(), model.recipe, None)
    objective.ready(model._network(), model.trained.plan, torch.device("cpu"), 0)
    return model, objective, model.trained.plan, prepared, split


@pytest.mark.parametrize("baskets", [True, False])
def test_the_gradient_of_a_batch_is_that_of_all_logits_at_once(tmp_path: Path, baskets: bool):
    model, objective, plan, _, _ = opened(tmp_path, baskets)
    network = model._network().eval()
    batch = objective.show(np.arange(len(objective.length_U)), plan, 1, 0, torch.device("cpu"))
    assert isinstance(batch, AskedBatch)
    a, own = batch.asked, network.own
    assert own is not None
    assert a.pairs is not None
    found = []
    for fast in (True, False):
        network.zero_grad()
        x_PD = network(network.embed(batch), batch.layout.groups)
        if fast:
            loss = objective.loss(x_PD, batch, network, plan, 0.5, 0)
        else:
            h_QD, item_CD = x_PD[a.slot_Q], network.item.weight[1:]
            cell, given_R = (a.pairs.query_R, a.pairs.item_R - 1), a.pairs.logits(own, h_QD, network.item.weight)
            logit_QC = (h_QD @ item_CD.T).index_put(cell, given_R)
            logit_QC = logit_QC + own.trust * objective.table_TC[a.table_Q]
            right = torch.log_softmax(logit_QC, 1)[a.query_L, a.class_L]
            loss = -(right * a.weight_L).sum() * 0.5 * objective.each
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in network.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) > 10
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(torch.zeros(len(a.slot_Q)).index_add_(0, a.query_L, a.weight_L), 1, rtol=1e-6)


def test_it_is_asked_in_training_as_it_is_asked_later(tmp_path: Path):
    model, objective, plan, prepared, split = opened(tmp_path)
    users = np.arange(len(objective.length_U))
    batch = objective.show(users, plan, 1, 0, torch.device("cpu"))
    assert isinstance(batch, AskedBatch)
    events, offsets = prepared.events, prepared.offsets
    starts, ends, instants, wanted = [], [], [], []
    for u in range(len(offsets) - 1):
        rows = np.arange(offsets[u], split.train_end[u])
        steps: dict[int, list[int]] = {}
        for r in rows:
            if events.event_type[r] == EVENT_CODE["purchase"]:
                steps.setdefault(int(events.order[r]), []).append(int(r))
        for lines in steps.values():
            if lines[0] > offsets[u]:
                starts.append(offsets[u])
                ends.append(lines[0])
                instants.append(events.timestamp[lines[0]])
                wanted.append(sorted(int(events.item[r]) for r in lines))
    requests = Requests(events, np.array(starts), np.array(ends), np.array(instants))
    own = model._network().own
    assert own is not None
    assert batch.asked.pairs is not None
    later = RequestPairs.of(requests, model.known_V, None, [EVENT_CODE["purchase"]], own)
    key = lambda p: sorted(
        (
            int(i),
            int(k),
            *np.delete(f, [11, 12, 13]).round(4).tolist(),
        )  # all but demand, which is that of the training end
        for i, k, f in zip(p.item_R, p.kind_R, p.features_RF.numpy(), strict=True)
    )
    assert len(ends) >= len(batch.asked.slot_Q) > 50  # fewer where the network's window ends before them
    known = set(key(later.pairs))
    assert set(key(batch.asked.pairs)) <= known
    labels: dict[int, list[int]] = {}
    for query, label in zip(batch.asked.query_L.tolist(), batch.asked.class_L.tolist(), strict=True):
        labels.setdefault(query, []).append(label + 1)
    baskets = [sorted(items) for items in labels.values()]
    assert all(basket in wanted for basket in baskets)


def test_an_item_is_no_class_before_it_was_seen_and_demand_knows_nothing_of_its_day(tmp_path: Path):
    bought = [[1, 1, 2, 1, 2, 2, 1, 1]] * 3
    times = [[0, 1, 10, 11, 12, 13, 14, 15]] * 3
    prepared, split = tiny_prepared(tmp_path, bought, [[t * DAY for t in row] for row in times])
    model = SASRec(history="kernel", **SMALL, epochs=1)
    model.fit(prepared, split, NO_VALIDATION)
    objective = OwnHistory(split, ("purchase",))
    objective.open(model._network(), model.recipe, None)
    day_T = objective.start_T // DAY
    of_item_1, of_item_2 = objective.demand_TSC[:, 0].T
    assert of_item_2[day_T < 9].max() == -30  # item 2 is first seen on day 10
    assert of_item_2[day_T >= 10].min() > -10
    assert of_item_2[-1] > of_item_2[day_T >= 10][0]
    assert of_item_1.min() > -10
    early = objective.demand_TSC[day_T < 9]
    changed, other = tiny_prepared(
        tmp_path / "later", [[1, 1, 2, 2, 2, 2, 1, 1]] * 3, [[t * DAY for t in row] for row in times]
    )
    again = OwnHistory(other, ("purchase",))
    again.open(model._network(), model.recipe, None)
    assert changed.n_items == 2
    np.testing.assert_array_equal(again.demand_TSC[day_T < 9], early)


def test_stopped_and_resumed_it_ends_with_the_same_weights(
    tiny_shop: tuple[Prepared, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = fit(*tiny_shop, history="frequency", epochs=2)
    original = SequenceModule.training_step

    def step(self: SequenceModule, *args: Any) -> None:
        if self.step == 3:
            raise KeyboardInterrupt
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceModule, "training_step", step)
        with pytest.raises(KeyboardInterrupt):
            fit(*tiny_shop, tmp_path, history="frequency", epochs=2)
    again = fit(*tiny_shop, tmp_path, history="frequency", epochs=2)
    assert whole.trained is not None
    assert again.trained is not None
    for name, values in whole.trained.last_weights.items():
        assert torch.equal(values, again.trained.last_weights[name]), name
    with pytest.raises(UserError, match="belongs to another training"):
        fit(*tiny_shop, tmp_path, history="copy", epochs=2)


def test_two_processes_and_two_cores_learn_what_one_learns(tiny_shop: tuple[Prepared, Split], tmp_path: Path):
    settings = {"dropout": 0.0, "epochs": 2, "history": "frequency"}
    one = fit(*tiny_shop, **settings)
    cores = fit(*tiny_shop, trainer={"threads": 2, "plan": {**TRAINER["plan"], "cores": 2}}, **settings)
    two = SASRec(**{**MODEL, **settings})
    two.fit(
        *tiny_shop, Fit(seed=3, folder=tmp_path, trainer=TrainerConfig.of({**TRAINER, "devices": 2}), progress=False)
    )
    for other in (cores, two):
        assert_close(other._network().state_dict(), one._network().state_dict())
        assert other.trained is not None
        assert one.trained is not None
        np.testing.assert_allclose(other.trained.best_value, one.trained.best_value, rtol=1e-6)


@pytest.mark.parametrize("statistics", ["frozen", "nightly"])
def test_validation_while_training_ranks_by_what_the_model_answers(tmp_path: Path, statistics: str):
    prepared, split = mixed(tmp_path)
    model = SASRec(history="kernel", item_statistics=statistics, **SMALL, blocks=1, epochs=2)
    model.fit(prepared, split, replace(FIT, trainer=TrainerConfig.of({**TRAINER, "plan": {}})))
    assert model.trained is not None
    said = values_of(evaluate_requests(model, split, "validation"), "ndcg@10").mean()
    np.testing.assert_allclose(model.trained.best_value, said, rtol=1e-6)


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


def test_whole_baskets_may_be_the_targets_without_any_history(tiny_shop: tuple[Prepared, Split]):
    model = fit(*tiny_shop, targets="baskets", epochs=3)
    assert model.about.answers == "vectors"
    assert model.trained is not None
    assert model.trained.history[-1]["loss"] < model.trained.history[0]["loss"]
    assert model._network().own is None


def test_what_cannot_be_learned_so_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"model\.history=.*kernels"):
        SASRec(history="kernels")
    with pytest.raises(UserError, match=r"loss=bce draws negatives; use loss=softmax"):
        SASRec(history="kernel", loss="bce")


def test_before_it_has_learned_own_items_stand_by_how_often_they_were_taken():
    term = OwnTerm(own_shape(5, 8, "kernel"))
    histories = [[COFFEE, COFFEE, COFFEE, MILK, MILK, BREAD]]
    told = [[EVENT_CODE["purchase"]] * 6], [[day * DAY for day in (1, 2, 3, 4, 5, 6)]], [7 * DAY]
    pairs = RequestPairs.of(
        Requests.from_histories(histories, *told), np.ones(6, bool), None, [EVENT_CODE["purchase"]], term
    ).pairs
    logit = dict(zip(pairs.item_R.tolist(), pairs.logits(term, torch.zeros(1, 8), torch.zeros(6, 8)), strict=True))
    assert logit[COFFEE] > logit[MILK] > logit[BREAD] > 0


def test_own_items_take_from_the_networks_scores_as_much_as_is_learned_and_teach_it_nothing():
    term = OwnTerm(own_shape(5, 8, "frequency"))
    purchases = [[EVENT_CODE["purchase"]] * 2], [[DAY, 2 * DAY]], [7 * DAY]
    requests = Requests.from_histories([[COFFEE, MILK]], *purchases)
    pairs = RequestPairs.of(requests, np.ones(6, bool), None, [EVENT_CODE["purchase"]], term).pairs
    h, item = torch.randn(1, 8, requires_grad=True), torch.randn(6, 8, requires_grad=True)
    before = pairs.logits(term, h, item)
    with torch.no_grad():
        term.near += 0.5
    after = pairs.logits(term, h, item)
    torch.testing.assert_close(after - before, 0.5 * (h @ item[pairs.item_R].T)[0])
    after.sum().backward()
    assert term.near.grad is not None
    assert h.grad is None
    assert item.grad is None


def test_demand_of_a_week_tells_what_rises_from_what_is_over():
    at = np.array([0] * 8 + [99] * 4, np.int64) * DAY
    long, week, longest = demand_of(at, np.array([1] * 8 + [2] * 4), 100 * DAY, 3)
    assert week[2] > week[1]
    assert week[2] - week[1] > long[2] - long[1] > longest[2] - longest[1]
