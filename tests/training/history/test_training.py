"""How own histories and whole baskets are trained on: by batches, processes, cores and after a stop as all at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recommenders.checks import FIT
from shopkeeper.data.own import COUNTS
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import values_of
from shopkeeper.models.fit import Fit
from shopkeeper.nn.own import HALF_LIVES, OwnTerm
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.schema import EVENT_CODE
from shopkeeper.training.batching.own import RequestPairs, own_shape
from shopkeeper.training.config import TrainerConfig
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.objectives.own_history import AskedBatch, OwnHistory
from tiny import DAY, tiny_prepared
from training.history.kitchen import COFFEE, MILK, NO_VALIDATION, SMALL, mixed, opened
from training.small_training import MODEL, TRAINER, assert_close, fit


@pytest.mark.parametrize(("baskets", "power"), [(True, 0.0), (True, 0.5), (False, 0.0)])
def test_the_gradient_of_a_batch_is_that_of_all_logits_at_once(tmp_path: Path, baskets: bool, power: float):
    model, objective, plan, _, _ = opened(tmp_path, baskets, power)
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
            product_QC = h_QD @ item_CD.T
            assert own.near is not None
            given_R = given_R + own.near * product_QC[cell].detach()
            logit_QC = product_QC.index_put(cell, given_R)
            logit_QC = logit_QC + own.trust * objective.table_TC[a.table_Q]
            right = torch.log_softmax(logit_QC, 1)[a.query_L, a.class_L]
            loss = -(right * a.weight_L).sum() * 0.5 * objective.each
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in network.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) > 10
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)
    lines_Q, weight_Q = (torch.bincount(a.query_L, w, len(a.slot_Q)) for w in (None, a.weight_L))
    assert not baskets or lines_Q.max() > 1
    np.testing.assert_allclose(weight_Q, lines_Q**power / (lines_Q**power).float().mean(), rtol=1e-5)


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
    demand = len(COUNTS) + np.arange(len(HALF_LIVES))  # of all that is told that alone is of the training end
    key = lambda p: sorted(
        (int(i), *np.delete(f, demand).round(4).tolist()) for i, f in zip(p.item_R, p.told_RF.numpy(), strict=True)
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
    of_item_1, of_item_2 = objective.demand_TCS[:, :, 0].T
    assert of_item_2[day_T < 9].max() == -30  # item 2 is first seen on day 10
    assert of_item_2[day_T >= 10].min() > -10
    assert of_item_2[-1] > of_item_2[day_T >= 10][0]
    assert of_item_1.min() > -10
    early = objective.demand_TCS[day_T < 9]
    changed, other = tiny_prepared(
        tmp_path / "later", [[1, 1, 2, 2, 2, 2, 1, 1]] * 3, [[t * DAY for t in row] for row in times]
    )
    again = OwnHistory(other, ("purchase",))
    again.open(model._network(), model.recipe, None)
    assert changed.n_items == 2
    np.testing.assert_array_equal(again.demand_TCS[day_T < 9], early)


def test_a_query_is_told_demand_of_some_days_before_and_not_asked_for_what_was_not_there_then(tmp_path: Path):
    model, fresh, plan, _, split = opened(tmp_path)
    aged = OwnHistory(split, ("purchase",), age=20.0)
    aged.open(model._network(), model.recipe, None)
    aged.ready(model._network(), plan, torch.device("cpu"), 0)
    users = np.arange(len(aged.length_U))
    now, told = (o.show(users, plan, 1, 3, torch.device("cpu")) for o in (fresh, aged))
    assert isinstance(now, AskedBatch)
    assert isinstance(told, AskedBatch)
    day = aged.start_T // DAY
    late = day[now.asked.table_Q.numpy()] - day[told.asked.table_Q.numpy()]
    elapsed = day[now.asked.table_Q.numpy()] - day[0]
    assert 5 < late.max() <= 20
    assert (late >= 0).all()
    assert (late <= np.minimum(elapsed / 2, 20) + 1).all()
    other = aged.show(users, plan, 1, 4, torch.device("cpu"))
    assert isinstance(other, AskedBatch)
    rows = lambda batch: set(zip(batch.asked.slot_Q.tolist(), batch.asked.table_Q.tolist(), strict=True))
    assert rows(other) != rows(told)
    assert aged.own.time is not None
    few = [aged._known_until(aged.own.time[q + 1], q, 1, 3) for q in (np.arange(0, 40), np.arange(20, 40))]
    np.testing.assert_array_equal(few[0][20:], few[1])
    assert SASRec(history="kernel", item_statistics="nightly", demand_age=20.0)._objective(split, FIT).age == 0


def test_what_came_into_the_shop_since_demand_is_known_is_not_asked_for(tmp_path: Path):
    bought = [[1, 1, 2, 2, 1, 2, 1, 1]] * 30
    times = [[t * DAY for t in (0, 10, 11, 12, 13, 14, 15, 16)]] * 30
    prepared, split = tiny_prepared(tmp_path, bought, times)
    model = SASRec(history="kernel", **SMALL, epochs=1)
    model.fit(prepared, split, NO_VALIDATION)
    assert model.trained is not None
    asked = {}
    for age in (0.0, 6.0):
        objective = OwnHistory(split, ("purchase",), age=age)
        objective.open(model._network(), model.recipe, None)
        objective.ready(model._network(), model.trained.plan, torch.device("cpu"), 0)
        batch = objective.show(np.arange(30), model.trained.plan, 1, 1, torch.device("cpu"))
        assert isinstance(batch, AskedBatch)
        a = batch.asked
        assert a.pairs is not None
        table_Q, day_T = a.table_Q.numpy(), objective.start_T // DAY
        for query, column in ((a.query_L, a.class_L), (a.pairs.query_R, a.class_R)):
            new = column.numpy() == 1  # item 2 is first seen on day 11
            assert new.any()
            assert (day_T[table_Q[query.numpy()[new]]] >= 10).all()
        asked[age] = len(a.class_L)
    assert asked[0.0] == 30 * 5
    assert 30 * 2 < asked[6.0] < asked[0.0]  # item 1 always, item 2 now and then


def test_demand_of_a_log_of_hours_is_known_before_its_end(tmp_path: Path):
    minute = DAY // 1440
    bought = [[1, 1, 2, 1, 2, 2, 1, 1]] * 3
    prepared, split = tiny_prepared(tmp_path, bought, [[t * minute for t in (0, 9, 18, 36, 45, 54, 63, 64)]] * 3)
    model = SASRec(history="kernel", **SMALL, epochs=1)
    model.fit(prepared, split, NO_VALIDATION)
    objective = OwnHistory(split, ("purchase",))
    objective.open(model._network(), model.recipe, None)
    taken_1 = np.array([3 * sum(t * minute < start for t in (0, 9, 36)) for start in objective.start_T])
    taken_2 = np.array([3 * sum(t * minute < start for t in (18, 45, 54)) for start in objective.start_T])
    assert taken_1.max() == 9  # one table a day would have known of nothing
    assert taken_2.max() >= 6
    seen = objective.demand_TCS[:, 1, 0] > -30
    said = objective.demand_TCS[seen, :, 0]
    mean = (taken_1 + taken_2)[seen] / 2
    for column, taken in zip(said.T, (taken_1, taken_2), strict=True):
        np.testing.assert_allclose(column, np.log((taken[seen] + 0.5) / (mean + 0.5)), atol=2e-3)


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


def test_own_items_take_from_the_networks_scores_as_much_as_is_learned():
    term = OwnTerm(own_shape(5, 8, "frequency"))
    purchases = [[EVENT_CODE["purchase"]] * 2], [[DAY, 2 * DAY]], [7 * DAY]
    requests = Requests.from_histories([[COFFEE, MILK]], *purchases)
    asks = RequestPairs.of(requests, np.ones(6, bool), None, [EVENT_CODE["purchase"]], term)
    vector, item = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    product = vector[:1] @ item.T

    def own_scores() -> np.ndarray:
        score = product.copy()
        asks.put(score, vector[:1], item, term)
        return score[0, [COFFEE, MILK]]

    before = own_scores()
    with torch.no_grad():
        term.near += 0.5
    np.testing.assert_allclose(own_scores() - before, 0.5 * product[0, [COFFEE, MILK]], rtol=1e-5)


def test_a_network_beside_a_small_one_learns_at_its_pace(tiny_shop: tuple[Prepared, Split]):
    def weights(pace: float, lr: float) -> dict[str, torch.Tensor]:
        told = {"history": "frequency", "network_pace": pace, "epochs": 1, "batch_size": 10**4}
        return fit(*tiny_shop, lr=lr, **told)._network().state_dict()

    def moved(pace: float) -> dict[str, float]:  # AdamW's first step is the learning rate, whatever the gradient
        begun, stepped = weights(pace, 1e-9), weights(pace, 0.01)
        return {name: float((stepped[name] - begun[name]).abs().max()) for name in begun}

    slow, usual = moved(0.2), moved(1.0)
    assert (slow["own.direct"], slow["item.weight"]) == pytest.approx((0.01, 0.002), rel=1e-2)
    assert usual["item.weight"] == pytest.approx(0.01, rel=1e-2)
