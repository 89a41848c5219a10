"""A sequence network as a customer model: what it reads of whom, who is held out, and what is left blank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.customers.correction.calibration import SMOOTH
from shopkeeper.customers.networks.gru import GRU
from shopkeeper.customers.networks.questions import gathered, numbered
from shopkeeper.customers.networks.sequence import SequenceCustomerModel, of_some_customers
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.metrics.classification import auroc, log_loss
from shopkeeper.models.fit import Fit
from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.training.config import TrainerConfig
from tiny import DAY

FIT: dict[str, Any] = {"seed": 1, "progress": False,
                       "trainer": TrainerConfig(accelerator="cpu", precision="fp32", threads=1)}  # fmt: skip
CONF = Path(__file__).parents[3] / "conf"
SMALL: dict[str, Any] = {"width": 8, "max_length": 16, "epochs": 3, "batch_size": 32, "lr": 0.02, "patience": 0}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("shop"), n_users=300)


@pytest.fixture(scope="module")
def cohorts(shop: Prepared) -> list[Cohort]:
    several = build_cohort(shop, [CUTOFFS[0] - 60 * DAY, CUTOFFS[0]], 60, 90)
    return [several, *(build_cohort(shop, t, 60, 90) for t in CUTOFFS[1:])]


@pytest.fixture(scope="module")
def model(cohorts: list[Cohort]) -> GRU:
    made = GRU(**{**SMALL, "epochs": 8, "rare": 5})
    made.learned = made.fit(cohorts[0], cohorts[1], Fit(**FIT))  # type: ignore[attr-defined]
    return made


def test_it_learns_more_than_the_base_rate_and_tells_its_curve(model: GRU, cohorts: list[Cohort]):
    base, test = BaseRate(), cohorts[2]
    base.fit(cohorts[0], cohorts[1], Fit())
    p = model.predict(test).probability
    assert auroc(test.label, p) > 0.7
    assert log_loss(test.label, p) < log_loss(test.label, base.predict(test).probability) - 0.03
    learned: Any = model.learned  # type: ignore[attr-defined]
    assert [row["epoch"] for row in learned.history] == list(range(1, 9))
    best = min(learned.history, key=lambda row: row["log_loss"])
    assert learned.steps == best["epoch"]
    assert learned.plan["precision"] == "fp32"
    assert model.calibrators[0].method in SMOOTH


def test_another_instant_is_another_answer_and_rows_may_share_a_history(model: GRU, cohorts: list[Cohort]):
    test = cohorts[2]
    later = replace(test, cutoff=test.cutoff + 20 * DAY)
    now, then = (model.predict(c).probability for c in (test, later))
    assert (then > now).mean() > 0.9  # who has not come for longer is more likely gone
    twice = replace(test, **{n: np.concatenate([getattr(test, n)] * 2) for n in ("customer", "start", "end", "label")},
                    cutoff=np.concatenate([test.cutoff, later.cutoff]))  # fmt: skip
    np.testing.assert_allclose(model.predict(twice).probability, np.concatenate([now, then]), atol=1e-6)


def test_only_what_is_needed_of_the_log_is_read_and_each_row_keeps_its_history(cohorts: list[Cohort]):
    train, rng = cohorts[0], np.random.default_rng(0)
    some = rng.permutation(len(train))[:50]
    for length in (3, 1000):
        part = replace(train, **{n: getattr(train, n)[some] for n in ("customer", "cutoff", "start", "end", "label")})
        found = gathered(part, length, ("timestamp", "event_type"), part.label[:, None])
        assert len(found.item) < len(train.events.item)
        for row in range(len(part)):
            there = slice(max(part.start[row], part.end[row] - length), part.end[row])
            here = slice(max(found.start[row], found.end[row] - length), found.end[row])
            np.testing.assert_array_equal(found.item[here], train.events.item[there])
            np.testing.assert_array_equal(found.columns["timestamp"][here], train.events.timestamp[there])
        last = train.events.timestamp[part.end - 1]
        np.testing.assert_allclose(found.since(), (part.cutoff - last) / DAY, rtol=1e-6)


def test_items_that_are_rare_or_unknown_are_one(cohorts: list[Cohort]):
    asked = gathered(cohorts[0], 16, ("timestamp",))
    item = asked.item.copy()
    item[:4] = [0, 99, 1, 2]  # of no item, of one that came later
    number = numbered(replace(asked, item=item), np.array([False, True, False, True])).item
    assert number[:4].tolist() == [4, 4, 1, 4]
    assert set(number.tolist()) == {1, 3, 4}
    for rare, n in ((None, 1), (1, 8), (10**6, 0)):
        made = GRU(**{**SMALL, "epochs": 1, "rare": rare})
        made.fit(cohorts[0], None, Fit(**FIT))
        assert made.known_V.sum() == (n if rare else 0)


def test_a_share_of_the_customers_is_held_out_whole_and_nobody_where_nothing_is_validated(cohorts: list[Cohort]):
    customer = cohorts[0].customer
    held = of_some_customers(customer, 0.25, 3)
    people = len(np.unique(customer))
    assert len(np.unique(customer[held])) == round(people / 4)
    assert not set(customer[held]) & set(customer[~held])
    assert not of_some_customers(customer, 0.0, 3).any()
    for fit, share in ((Fit(**FIT, steps=2), 0.1), (Fit(**FIT), 0.0),
                       (Fit(**{**FIT, "trainer": replace(FIT["trainer"], validation_requests=0)}), 0.1)):  # fmt: skip
        made = GRU(**{**SMALL, "epochs": 2, "held_out": share})
        learned = made.fit(cohorts[0], None, fit)
        assert [row.get("log_loss") for row in learned.history] == [None, None]
        assert learned.steps == 2


def test_neither_calibration_nor_test_is_looked_at_while_it_learns(model: GRU, cohorts: list[Cohort]):
    again = GRU(**{**SMALL, "epochs": 8, "rare": 5})
    turned = replace(cohorts[1], label=1 - cohorts[1].label)
    again.fit(cohorts[0], turned, Fit(**FIT))
    assert again.network is not None
    assert model.network is not None
    mine, its = again.network.state_dict(), model.network.state_dict()
    assert all(torch.equal(mine[name], its[name]) for name in its)


def test_too_few_of_a_class_leave_every_score_blank_with_the_reason_saved_and_opened(
    cohorts: list[Cohort], tmp_path: Path
):
    made = GRU(**SMALL)
    few = np.zeros(len(cohorts[0]))
    few[:7] = 1
    made.fit(replace(cohorts[0], label=few), cohorts[1], Fit(**FIT))
    made.save(tmp_path)
    opened = GRU()
    opened.load(tmp_path)
    for one in (made, opened):
        found = one.predict(cohorts[2])
        assert np.isnan(found.probability).all()
        assert set(found.blank_reason) == {"too few positives in training (7 of at least 20)"}
    with pytest.raises(UserError, match="no weights yet"):
        opened.vectors(None, 1)  # type: ignore[arg-type]


def test_a_customer_without_history_gets_no_score_and_the_others_keep_theirs(model: GRU, cohorts: list[Cohort]):
    test = cohorts[2]
    end = test.end.copy()
    end[3] = test.start[3]
    found = model.predict(replace(test, end=end))
    assert np.isnan(found.probability[3])
    assert found.blank_reason[3] == "no history before the cutoff"
    others = np.delete(model.predict(test).probability, 3)
    np.testing.assert_allclose(np.delete(found.probability, 3), others, atol=1e-6)


class OfSASRec(SequenceCustomerModel):
    """A network that was made for the next item."""

    format, network_class, shape_class = "test.sasrec/1", SASRecNetwork, SASRecShape


def test_a_network_made_for_the_next_item_is_asked_about_customers_as_it_is(cohorts: list[Cohort], tmp_path: Path):
    made = OfSASRec(**{**SMALL, "blocks": 1, "rare": 1})
    made.fit(cohorts[0], cohorts[1], Fit(**FIT, folder=tmp_path / "place"))
    assert list(tmp_path.rglob("step-*"))
    made.save(tmp_path / "run")
    opened = OfSASRec()
    opened.load(tmp_path / "run")
    p, other = (m.predict(cohorts[2]).probability for m in (made, opened))
    assert p.tobytes() == other.tobytes()
    assert auroc(cohorts[2].label, p) > 0.6
    with pytest.raises(UserError, match=r"holds a model of kind 'test.sasrec/1', not 'shopkeeper.gru/1'"):
        GRU().load(tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"widht": 8}, r"a GRU has no setting model.widht. Did you mean 'width'"),
        ({"held_out": 1.0}, r"model.held_out=1.0 must be"),
        ({"rare": 0}, r"model.rare=0 must be"),
        ({"width": 0}, r"model.width=0 must be"),
        ({"lr": -1}, r"model.lr=-1 must be"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        GRU(**settings)
    with pytest.raises(UserError, match="is what models are made from"):
        SequenceCustomerModel()


@pytest.mark.parametrize("name", ["gru", "blend_networks"])
def test_of_few_customers_more_epochs_than_four_are_waited_for(cohorts: list[Cohort], name: str):
    """With a learning rate that moves nothing no validation is better: it ended at step 25, five in each epoch."""
    shipped = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())
    settings = shipped["members"]["gru"] if "members" in shipped else shipped
    own = ("defaults", "name", "task", "tasks", "target")
    made = GRU(**{k: v for k, v in settings.items() if k not in own} | {"lr": 1e-12, "width": 4})
    learned = made.fit(cohorts[0], None, Fit(**FIT))
    people = len(np.unique(cohorts[0].customer))
    steps_per_epoch = -(-round(0.9 * people) // settings["batch_size"])
    assert (len(learned.history) - 1) * steps_per_epoch >= 100
