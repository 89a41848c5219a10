"""Several tasks at once: heads of each kind, learned together, killed and gone on with, said and scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats

from customers.test_totals_verbs import FEW, rows
from customers.toyshop import CUTOFFS, toy_shop
from house import House
from shopkeeper.customers.base import Cohort, Further
from shopkeeper.customers.build_cohort import as_it_is, build_cohort, join_cohorts, window_labels
from shopkeeper.customers.folds import rows_of
from shopkeeper.customers.networks.gru import GRU
from shopkeeper.customers.networks.mlp import MLP
from shopkeeper.customers.networks.transformer import Transformer
from shopkeeper.customers.waits.days import from_distribution
from shopkeeper.customers.window import MONEY, ORDERS
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.metrics.value import normalised_gini, spearman
from shopkeeper.models.about import AMOUNTS, COUNTS, PROBABILITIES
from shopkeeper.models.fit import Fit
from shopkeeper.nn.heads import LEAST_SPREAD, PERIODS, Heads, ended, expected, nll
from shopkeeper.pipeline.score import score
from shopkeeper.training.config import TrainerConfig
from shopkeeper.training.module import SequenceModule
from tiny import DAY

TRAINER = TrainerConfig(accelerator="cpu", precision="fp32", threads=1)
SMALL: dict[str, Any] = {"width": 8, "max_length": 16, "epochs": 6, "batch_size": 32, "lr": 0.02, "patience": 0}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("heads"), n_users=250)


@pytest.fixture(scope="module")
def cohorts(shop: Prepared) -> list[Cohort]:
    found = []
    for at in ([CUTOFFS[0] - 60 * DAY, CUTOFFS[0]], CUTOFFS[1], CUTOFFS[2]):
        cohort = build_cohort(shop, at, 60, 90)
        further = {
            "orders": Further(window_labels(shop, cohort, as_it_is, ORDERS), COUNTS),
            "spend": Further(window_labels(shop, cohort, as_it_is, MONEY), AMOUNTS),
        }
        found.append(replace(cohort, further=further))
    return found


@pytest.fixture(scope="module")
def model(cohorts: list[Cohort]) -> GRU:
    made = GRU(**SMALL)
    made.told = made.fit(cohorts[0], cohorts[1], Fit(seed=1, trainer=TRAINER, progress=False))  # type: ignore[attr-defined]
    return made


def test_losses_are_the_negative_log_likelihoods_of_their_distributions():
    out, y = torch.tensor([[0.3, 0.2, -0.4]] * 3).double(), torch.tensor([0.0, 2.0, torch.nan]).double()
    p, spread = 1 / (1 + np.exp(-0.3)), np.log1p(np.exp(-0.4)) + LEAST_SPREAD
    amount = nll("amounts", out, y)
    assert amount[0].item() == pytest.approx(-np.log(1 - p))
    assert amount[1].item() == pytest.approx(-np.log(p) - stats.lognorm.logpdf(2, spread, scale=np.exp(0.2)))
    assert expected("amounts", out)[0].item() == pytest.approx(p * stats.lognorm.mean(spread, scale=np.exp(0.2)))
    count = nll("counts", out, y)
    np.testing.assert_allclose(count[:2], -stats.poisson.logpmf([0, 2], np.exp(0.3)))
    assert expected("counts", out)[0].item() == pytest.approx(np.exp(0.3))
    np.testing.assert_allclose(
        nll("probabilities", out, torch.tensor([0.0, 1.0, torch.nan]))[:2], [-np.log(1 - p), -np.log(p)]
    )
    assert torch.isnan(amount[2])
    assert torch.isnan(count[2])


def test_a_wait_is_told_by_hazards_and_one_that_does_not_end_by_all_of_them():
    out = torch.linspace(-3, 1, PERIODS, dtype=torch.float64).expand(5, PERIODS)
    h = 1 / (1 + np.exp(-np.linspace(-3, 1, PERIODS)))
    lasts = np.cumprod(1 - h)
    share = torch.tensor([0.0, 2.5 / PERIODS, 1 - 1e-9, 1.0, torch.nan], dtype=torch.float64)  # of the window
    lost = nll("days", out, share)
    right = [h[0], h[2] * lasts[1], h[-1] * lasts[-2], lasts[-1]]
    np.testing.assert_allclose(lost[:4], -np.log(right))
    assert torch.isnan(lost[4])
    np.testing.assert_allclose(ended(out)[0], 1 - lasts)
    _, mean = from_distribution(1 - lasts[None, :], np.arange(1, PERIODS + 1) / PERIODS)
    assert expected("days", out)[0].item() == pytest.approx(mean[0])


def test_an_unknown_label_and_an_amount_of_nothing_leave_gradients_that_are_numbers():
    heads = Heads(4, ("probabilities", "counts", "amounts", "days"))
    last = torch.randn(3, 4, requires_grad=True)
    label = torch.tensor([[1.0, torch.nan, 0.0, 1], [torch.nan, 3.0, 5.0, torch.nan], [0.0, 0.0, torch.nan, 0.2]])
    heads.loss(heads(last, torch.zeros(3)), label).nansum().backward()
    assert last.grad is not None
    assert torch.isfinite(last.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in heads.parameters() if p.grad is not None)


def test_labels_of_further_tasks_are_those_that_their_own_cohorts_have(shop: Prepared, cohorts: list[Cohort]):
    for name, of, answers in (("orders", ORDERS, COUNTS), ("spend", MONEY, AMOUNTS)):
        own = build_cohort(shop, [CUTOFFS[0] - 60 * DAY, CUTOFFS[0]], 60, 90, truth=as_it_is, of=of, answers=answers)
        np.testing.assert_array_equal(cohorts[0].further[name].label, own.label)
    some = np.array([4, 1])
    np.testing.assert_array_equal(
        rows_of(cohorts[0], some).further["spend"].label, cohorts[0].further["spend"].label[some]
    )
    both = join_cohorts([(shop, cohorts[0]), (shop, cohorts[1])])
    assert len(both.further["orders"].label) == len(cohorts[0]) + len(cohorts[1])


def test_one_network_says_who_leaves_how_often_and_for_how_much(model: GRU, cohorts: list[Cohort], tmp_path: Path):
    test = cohorts[2]
    found = model.predict(test)
    assert set(found.further) == {"orders", "spend"}
    orders, spend = (test.further[name].label for name in ("orders", "spend"))
    assert spearman(orders, found.further["orders"]) > 0.35
    assert normalised_gini(spend, found.further["spend"]) > 0.3
    assert spearman(orders, -found.value) > 0.35
    for name, actual in (("orders", orders), ("spend", spend)):
        assert found.further[name].mean() == pytest.approx(actual.mean(), rel=0.3)
    told: Any = model.told  # type: ignore[attr-defined]
    row = told.history[-1]
    assert row["loss"] == pytest.approx(np.mean([row[f"loss_{name}"] for name in ("label", "orders", "spend")]))
    assert min(r["loss"] for r in told.history) < told.history[0]["loss"]
    model.save(tmp_path)
    again = GRU()
    again.load(tmp_path)
    opened = again.predict(test)
    np.testing.assert_array_equal(opened.value, found.value)
    for name, values in found.further.items():
        np.testing.assert_array_equal(opened.further[name], values)


@pytest.mark.parametrize(("name", "answers"), [("orders", COUNTS), ("spend", AMOUNTS)])
def test_a_count_or_an_amount_may_be_what_is_asked_itself(cohorts: list[Cohort], name: str, answers: str):
    train, _, test = (replace(c, label=c.further[name].label, answers=answers, further={}) for c in cohorts)
    made = GRU(**SMALL)
    made.fit(train, None, Fit(seed=1, trainer=TRAINER, progress=False))
    said = made.predict(test).value
    assert test.label is not None
    assert normalised_gini(test.label, said) > 0.3
    few = replace(train, label=np.zeros(len(train)))
    made.fit(few, None, Fit(seed=1, trainer=TRAINER, progress=False))
    assert f"too few {answers} above 0" in made.predict(test).blank_reason[0]  # type: ignore[index]


@pytest.mark.parametrize("kind", [GRU, Transformer, MLP])
def test_killed_in_the_middle_of_an_epoch_and_gone_on_with_it_has_the_same_weights(
    kind: type[Any], cohorts: list[Cohort], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trainer = replace(TRAINER, checkpoint_minutes=0.0)
    small = {name: value for name, value in SMALL.items() if kind is not MLP or name != "max_length"}
    whole = kind(**small)
    whole.fit(cohorts[0], None, Fit(seed=1, trainer=TRAINER, progress=False))
    step = SequenceModule.training_step

    def dies(self: SequenceModule, *args: Any) -> Any:
        if self.step == 9:
            raise KeyboardInterrupt
        return step(self, *args)

    fit = Fit(seed=1, trainer=trainer, folder=tmp_path / "checkpoints", progress=False)
    with monkeypatch.context() as patched:
        patched.setattr(SequenceModule, "training_step", dies)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            kind(**small).fit(cohorts[0], None, fit)
    assert any((tmp_path / "checkpoints").rglob("*"))
    again = kind(**small)
    again.fit(cohorts[0], None, replace(fit, trainer=replace(trainer, resume=True)))
    assert whole.network is not None
    assert again.network is not None
    mine, its = whole.network.state_dict(), again.network.state_dict()
    assert set(mine) == set(its)
    assert all(torch.equal(mine[key], its[key]) for key in mine)


def test_a_run_learns_several_tasks_and_scores_say_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    house = House(tmp_path)
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60})
    monkeypatch.chdir(tmp_path)
    words = ("dataset=rhythm", "split=temporal", "task=churn", "task.together=[orders,spend]", *FEW)
    small = ("model.width=4", "model.max_length=8", "model.epochs=2")
    run = house.train("runs/gru", "model=gru", *words, *small, "audit=full")
    score(house._composed("score", (f"run={run.path}", "to=today.parquet")))
    told = pq.read_table("today.parquet").to_pylist()
    assert set(told[0]) == {"user_id", "probability", "orders", "spend", "blank_reason"}
    for row in told:
        assert (row["orders"] is None) == (row["spend"] is None) == bool(row["blank_reason"])
    assert all(row["orders"] > 0 < row["spend"] for row in told if not row["blank_reason"])
    with pytest.raises(
        UserError, match=r"model=logistic learns one task alone, and task\.together names orders, spend"
    ):
        house.train("runs/logistic", "model=logistic", *words)
    for name in ("churn", "next_order", "next_item"):
        with pytest.raises(UserError, match=rf"task\.together: '{name}' cannot be learned together with task=churn"):
            house.train("runs/other", "model=gru", *words[:3], f"task.together=[{name}]", *FEW, *small)


def test_the_next_order_is_learned_beside_who_leaves_and_for_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    house = House(tmp_path)
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60})
    monkeypatch.chdir(tmp_path)
    words = ("dataset=rhythm", "split=temporal", "task=next_order", "task.together=[churn,spend]", *FEW)
    small = ("model.width=8", "model.blocks=1", "model.max_length=8", "model.epochs=3", "model.lr=0.01")
    run = house.train("runs/all", "model=transformer", *words, *small, "audit=full")
    assert run.metrics["test"]["pinball"]["value"] < 7
    score(house._composed("score", (f"run={run.path}", "to=today.parquet")))
    told = [row for row in pq.read_table("today.parquet").to_pylist() if not row["blank_reason"]]
    assert len(told) > 20
    for row in told:
        assert 0 <= row["days_10"] <= (20 if row["days_50"] is None else row["days_50"])
        assert 0 < row["churn"] < 1 < row["spend"]


def test_other_heads_of_probabilities_keep_their_loss(cohorts: list[Cohort]):
    """With a probability beside a probability the loss is called log loss, as with one alone."""
    train = replace(cohorts[0], further={"again": Further(cohorts[0].label, PROBABILITIES)})  # type: ignore[arg-type]
    made = GRU(**{**SMALL, "epochs": 1})
    learned = made.fit(train, None, Fit(seed=1, trainer=TRAINER, progress=False))
    assert {"log_loss", "log_loss_label", "log_loss_again"} <= set(learned.history[0])


def test_a_checkpoint_of_averaged_weights_is_told_from_a_training_without_averages(
    cohorts: list[Cohort], tmp_path: Path
):
    trainer = replace(TRAINER, checkpoint_minutes=0.0, resume=True)
    fit = Fit(seed=1, trainer=trainer, folder=tmp_path, progress=False)
    GRU(**{**SMALL, "epochs": 1, "average": "ema"}).fit(cohorts[0], None, fit)
    with pytest.raises(UserError, match=r"belongs to another training \(average: ema there, none here"):
        GRU(**{**SMALL, "epochs": 2}).fit(cohorts[0], None, fit)
