"""Trees asked once a period, several sets of trees, buy till you die, a blend: NumPy that says what the model said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.bundles.answer import Answer, Bundle, verify
from shopkeeper.bundles.answer.answers import SAME_MEAN, difference
from shopkeeper.bundles.answer.customers import CustomerModel
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.golden_customers import external, invented_people, trained_answers
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.customers.bg_nbd import BGNBDModel, ParetoNBDModel
from shopkeeper.customers.blend import Blend
from shopkeeper.customers.build_cohort import as_it_is, build_cohort, came_back, stayed_away
from shopkeeper.customers.hazard import Hazard
from shopkeeper.customers.two_part import TwoPart
from shopkeeper.customers.waits.quantile_trees import QuantileTrees
from shopkeeper.customers.window import ALIVE, LINES, MONEY, ORDERS, WAIT
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES
from shopkeeper.models.fit import Fit
from shopkeeper.programs.season import expected_ratio
from tiny import DAY

TASKS: dict[str, dict[str, Any]] = {
    "churn": {"truth": stayed_away, "of": LINES, "answers": PROBABILITIES},
    "propensity": {"truth": came_back, "of": LINES, "answers": PROBABILITIES},
    "still_customer": {"truth": came_back, "of": ALIVE, "answers": PROBABILITIES},
    "orders": {"truth": as_it_is, "of": ORDERS, "answers": COUNTS},
    "spend": {"truth": as_it_is, "of": MONEY, "answers": AMOUNTS},
    "next_order": {"truth": as_it_is, "of": WAIT, "answers": DAYS},
}
TREES = {"name": "lightgbm", "target": "shopkeeper.customers.lightgbm.LightGBM", "max_trees": 20, "min_positives": 5}
HAZARD = {"name": "hazard", "target": "shopkeeper.customers.hazard.Hazard", "max_trees": 20, "periods": 3}
BTYD = {"name": "bg_nbd", "target": "shopkeeper.customers.bg_nbd.BGNBDModel"}
LINEAR = {"name": "two_part", "target": "shopkeeper.customers.two_part.TwoPart", "min_positives": 5}
TOGETHER: dict[str, Any] = {"trees": TREES, "hazard": HAZARD, "two_part": LINEAR, "bg_nbd": BTYD}
NETWORK = {"name": "gru", "target": "shopkeeper.customers.networks.gru.GRU", "width": 8, "max_length": 6, "epochs": 2,
           "batch_size": 32, "min_positives": 5}  # fmt: skip
MODELS = {
    "hazard": (lambda: Hazard(max_trees=20, periods=3), ("churn", "propensity", "next_order")),
    "two_part": (TwoPart, ("orders", "spend")),
    "quantile_trees": (lambda: QuantileTrees(max_trees=15), ("next_order",)),
    "bg_nbd": (BGNBDModel, tuple(TASKS)),
    "blend": (lambda: Blend(TOGETHER, folds=2, season=True), ("churn", "propensity", "orders", "spend")),
    "blend with a network": (lambda: Blend({**TOGETHER, "gru": NETWORK}, folds=2), ("churn", "spend")),
    "pareto_nbd": (lambda: ParetoNBDModel(most_customers=150), tuple(TASKS)),
}
CASES = [(name, task) for name, (_, tasks) in MODELS.items() for task in tasks]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("shop"))


def fitted(shop: Prepared, name: str, task: str) -> tuple[Any, Any]:
    train, calibration, test = (build_cohort(shop, t, 60, 90, **TASKS[task]) for t in CUTOFFS)
    model: Any = MODELS[name][0]()
    if "dataset" in model.about.needs:
        model.bind(shop)
    model.fit(train, calibration, Fit(seed=0))
    return model, test


@pytest.mark.parametrize(("name", "task"), CASES)
def test_new_customers_get_what_the_trained_model_says(shop: Prepared, tmp_path: Path, name: str, task: str):
    model, test = fitted(shop, name, task)
    path = export_bundle(model, shop, test, MadeFrom(model=name, task=task), tmp_path / "it")
    assert verify(path, repeat=0).ok
    people = invented_people(shop, test, 80, seed=9)
    wanted = trained_answers(model, shop, test, people)
    ids = shop.items["item_id"].to_pylist()
    got = Bundle.load(path).answer([external(p, ids, ()) for p in people], [write_instant(p.instant) for p in people])
    assert [one.reason for one in got] == [one.reason for one in wanted]
    said = [(number(one), number(other)) for one, other in zip(got, wanted, strict=True) if not one.reason]
    assert len(said) > 40
    close = {"rtol": 1e-5, "atol": 1e-6} if "network" in name else {"rtol": 1e-9, "atol": 1e-12}  # a graph is float32
    np.testing.assert_allclose(*np.array(said).T, **close)
    assert len({one for one, _ in said}) > 5
    if task == "next_order":
        days = [(one.quantiles, other.quantiles) for one, other in zip(got, wanted, strict=True) if not one.reason]
        assert len({tuple(one) for one, _ in days if one}) > 5
        np.testing.assert_allclose(*np.array(days).transpose(1, 0, 2), rtol=1e-9)


@pytest.mark.parametrize("name", ["bg_nbd", "blend"])
def test_who_was_not_active_is_told_so_also_where_the_model_has_no_order_to_go_by(tmp_path: Path, name: str):
    shop = toy_shop(tmp_path / "shop", views=0.6)
    model, test = fitted(shop, name, "churn")
    path = export_bundle(model, shop, test, MadeFrom(model=name, task="churn"), tmp_path / "it", golden=200)
    long_gone = [{"item_id": "i1", "event_type": "view", "timestamp": "1970-03-01"}]
    assert Bundle.load(path).answer([long_gone], ["1971-02-01"])[0].reason.startswith("no purchase in the 90 days")


def number(answer: Answer) -> float:
    found = answer.probability if answer.says == "probability" else answer.expected
    assert found is not None
    return found


def test_a_blend_s_bundle_holds_each_part_and_follows_the_shop_s_year(shop: Prepared, tmp_path: Path):
    model, test = fitted(shop, "blend", "churn")
    path = export_bundle(model, shop, test, MadeFrom(model="blend", task="churn"), tmp_path / "it")
    bundle = Bundle.load(path)
    assert isinstance(bundle.model, CustomerModel)
    assert bundle.model.arrays["scorers"].tolist() == ["trees", "hazards", "bg_nbd"]  # of two_part no probability
    people = invented_people(shop, test, 40, seed=9)
    ids = shop.items["item_id"].to_pylist()
    histories = [external(p, ids, ()) for p in people]

    def said(instant: int) -> dict[int, float]:
        answers = bundle.answer(histories, [write_instant(instant)] * len(people))
        return {n: one.probability for n, one in enumerate(answers) if one.probability is not None}

    year = bundle.manifest["season"]
    assert year["until"] == CUTOFFS[1] + 60 * DAY
    assert len(year["total"]) == 360 - int(shop.span[0] // DAY)
    at = people[0].instant
    now = said(at)
    bundle.manifest["season"] = None
    plain = said(at)
    factor = expected_ratio(np.array(year["total"]), 60, int((at - year["until"]) // DAY)) / np.exp(year["learnt"])
    assert abs(factor - 1) > 0.01
    assert now == pytest.approx({n: p**factor for n, p in plain.items()})


def test_a_blend_of_whose_members_one_has_no_program_is_refused_and_names_it(shop: Prepared, tmp_path: Path):
    model, test = fitted(shop, "blend", "churn")
    model.members["trees"] = WithoutProgram()
    with pytest.raises(UserError, match=r"member 'trees' has no program, .*model.members.trees=null"):
        export_bundle(model, shop, test, MadeFrom(model="blend", task="churn"), tmp_path / "it")
    assert list(tmp_path.iterdir()) == []


class WithoutProgram:
    """A customer model of somebody's own that is not exported."""


def test_a_mean_may_be_off_by_what_its_exponential_makes_of_a_rounding_and_a_probability_may_not():
    z = np.float32(9.1)
    off = np.exp(float(np.nextafter(z, np.float32(10)))) / np.exp(float(z)) - 1  # of the last of 32 bits
    assert 5e-7 < off < 1e-6 < SAME_MEAN
    amount = float(np.exp(9.1))
    for times, same in ((4, True), (20, False)):
        one, other = (Answer.of_customer(v, "", AMOUNTS) for v in (amount * (1 + times * off), amount))
        assert (difference(one, other) == "") == same
    one, other = (Answer.of_customer(v, "", PROBABILITIES) for v in (0.5 + 4e-6, 0.5))
    assert difference(one, other) == "probability 0.500004 instead of probability 0.5"
