"""Asked of a customer and a category or item: pairs by hand, what is known of them, and a run that is scored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from customers.test_totals_verbs import FEW, rows
from customers.toyshop import CUTOFFS, toy_shop
from house import House
from shopkeeper.customers.audit import audit_pairs
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.build_cohort import build_cohort, came_back, join_cohorts
from shopkeeper.customers.folds import rows_of
from shopkeeper.customers.logistic import Logistic
from shopkeeper.customers.networks.gru import GRU
from shopkeeper.customers.networks.pairs import of_customers
from shopkeeper.customers.subjects import CATEGORY, ITEM, KNOWN, Subjects, pair_features, paired, subjects_of
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.metrics.classification import auroc
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.audience import _scores_of_run
from shopkeeper.pipeline.context import prepared_of
from shopkeeper.pipeline.score import score
from shopkeeper.splits.audit_error import AuditError
from shopkeeper.training.config import TrainerConfig
from tiny import DAY, tiny_prepared

BOUGHT, VIEWED = "purchase", "view"
# Items 1 and 2 are tea, 3 is a cup, 4 has no category. Asked at day 500 about [500, 520): (day, type, item).
LOGS = [
    [(120, BOUGHT, 3), (400, BOUGHT, 1), (480, BOUGHT, 2), (490, VIEWED, 3), (500, BOUGHT, 3), (519, BOUGHT, 1)],
    [(495, BOUGHT, 4), (499, BOUGHT, 1), (499, BOUGHT, 1), (520, BOUGHT, 3)],
    [(140, BOUGHT, 3), (160, BOUGHT, 2)],
]


def by_hand(path: Path) -> Prepared:
    times, types = [[row[0] * DAY for row in log] for log in LOGS], [[row[1] for row in log] for log in LOGS]
    items = {"category": ["tea", "tea", "cups", None]}
    histories = [[row[2] for row in log] for log in LOGS]
    return tiny_prepared(path, histories, times, event_types=types, items=items, n_items=4)[0]


def asked(prepared: Prepared, subjects: Subjects, at: Any = 500 * DAY, active: float | None = None) -> Cohort:
    cohort = build_cohort(prepared, at, 20, active, observed_until=520 * DAY)
    found = paired(prepared, cohort, subjects, came_back)
    audit_pairs(prepared, found, subjects, came_back)
    return found


def test_pairs_by_hand(tmp_path: Path):
    prepared = by_hand(tmp_path)
    subjects = subjects_of(prepared, CATEGORY, [], 20, 500 * DAY)
    assert subjects.names == ("cups", "tea")
    np.testing.assert_array_equal(subjects.of_item, [0, 2, 2, 1, 0])
    cohort = asked(prepared, subjects)
    np.testing.assert_array_equal(cohort.customer, [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(cohort.subject, [1, 2] * 3)
    np.testing.assert_array_equal(cohort.label, [1, 1, 0, 0, 0, 0])
    known = dict(zip(KNOWN, cohort.features[:, -len(KNOWN) :].T, strict=True))
    np.testing.assert_array_equal(known["own_lines"], [1, 2, 0, 2, 1, 1])
    np.testing.assert_array_equal(known["own_lines_90d"], [0, 1, 0, 2, 0, 0])
    np.testing.assert_array_equal(known["own_days_since"], [380, 20, np.nan, 1, 360, 340])
    np.testing.assert_allclose(known["own_share"], [1 / 3, 2 / 3, 0, 2 / 3, 1 / 2, 1 / 2])
    np.testing.assert_array_equal(known["own_views_30d"], [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(known["own_days_since_view"], [10, *[np.nan] * 5])
    np.testing.assert_allclose(known["shop_share_30d"], [0, 3 / 4] * 3)  # of days 470 to 499: 2, 4, 1, 1
    np.testing.assert_allclose(known["shop_share_30d_year_ago"], [1 / 2, 1 / 2] * 3)  # of days 135 to 164: 3, 2
    names, n = cohort.feature_names[: -len(KNOWN)], len(KNOWN)
    np.testing.assert_array_equal(cohort.features[::2, :-n], cohort.features[1::2, :-n])
    assert names == build_cohort(prepared, 500 * DAY, 20, None, observed_until=520 * DAY).feature_names


def test_at_noon_the_shop_s_shares_are_those_of_the_midnight_before(tmp_path: Path):
    """A cup that was bought that morning (day 500) is not in them; a bundle knows the days alone."""
    prepared = by_hand(tmp_path)
    subjects = subjects_of(prepared, CATEGORY, [], 20, 500 * DAY)
    noon = build_cohort(prepared, 500 * DAY + DAY // 2, 19, None, observed_until=520 * DAY)
    known = dict(zip(KNOWN, pair_features(prepared, noon, subjects)[:2].T, strict=True))
    np.testing.assert_allclose(known["shop_share_30d"], [0, 3 / 4])
    np.testing.assert_allclose(known["shop_share_30d_year_ago"], [1 / 2, 1 / 2])
    np.testing.assert_array_equal(known["own_lines"], [2, 2])  # his own purchases count until noon


def test_subjects_are_those_that_are_named_or_bought_most_before_anything_is_judged(tmp_path: Path):
    prepared = by_hand(tmp_path)
    assert subjects_of(prepared, ITEM, [], 2, 500 * DAY).names == ("i1", "i2")  # 3, 2 and 2 lines: the first stays
    assert subjects_of(prepared, ITEM, [], 1, 150 * DAY).names == ("i3",)
    assert subjects_of(prepared, ITEM, ["i4", "i2"], 20, 0).names == ("i4", "i2")
    with pytest.raises(UserError, match=r"task\.subjects: dataset=tiny has no category 'teas'\. Did you mean 'tea'\?"):
        subjects_of(prepared, CATEGORY, ["teas"], 20, 0)
    with pytest.raises(UserError, match="nothing was bought early enough to choose"):
        subjects_of(prepared, ITEM, [], 20, 10 * DAY)
    bare = tiny_prepared(tmp_path / "bare", [[1]], [[DAY]])[0]
    with pytest.raises(UserError, match="has no categories of items; choose task=item_propensity"):
        subjects_of(bare, CATEGORY, [], 20, 2 * DAY)


def test_a_category_that_an_event_shows_only_later_is_not_known_before(tmp_path: Path):
    prepared = by_hand(tmp_path)
    subjects = subjects_of(prepared, CATEGORY, [], 20, 500 * DAY)
    late = replace(subjects, since=np.where(np.arange(5) == 1, 500 * DAY, subjects.since))
    cohort = build_cohort(prepared, 500 * DAY, 20, None, observed_until=520 * DAY)
    found = pair_features(prepared, cohort, late)[:, KNOWN.index("own_lines")]
    np.testing.assert_array_equal(found, [1, 1, 0, 0, 1, 1])


@pytest.mark.parametrize("wrong", ["label", "features"])
def test_what_the_log_does_not_say_fails_the_audit_of_pairs(tmp_path: Path, wrong: str):
    prepared = by_hand(tmp_path)
    subjects = subjects_of(prepared, CATEGORY, [], 20, 500 * DAY)
    cohort = asked(prepared, subjects)
    if wrong == "label":
        assert cohort.label is not None
        cohort.label[3] = 1
        said = "the label of customer 2 and 'tea' at 1971-05-16T00:00:00Z is not what the log says"
    else:
        cohort.features[0, -len(KNOWN)] += 1
        said = "own_lines change with what follows the cutoff"
    with pytest.raises(AuditError, match=said):
        audit_pairs(prepared, cohort, subjects, came_back)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("pairs"), n_users=150)


def test_what_happens_from_the_cutoff_on_moves_no_feature_and_blocks_move_none(
    shop: Prepared, monkeypatch: pytest.MonkeyPatch
):
    subjects = subjects_of(shop, CATEGORY, [], 20, CUTOFFS[1])
    cohort = build_cohort(shop, CUTOFFS, 60, 90)
    said = pair_features(shop, cohort, subjects)
    rng, events = np.random.default_rng(0), shop.events
    assert events.timestamp is not None
    later = events.timestamp >= CUTOFFS[-1]
    changed = replace(events, item=np.where(later, rng.integers(1, 9, len(later)), events.item).astype(np.int32))
    np.testing.assert_array_equal(pair_features(replace(shop, events=changed), cohort, subjects), said)
    assert (changed.item != events.item).sum() > 100
    monkeypatch.setattr("shopkeeper.features.subject_pairs.BLOCK", 50)
    np.testing.assert_array_equal(pair_features(shop, cohort, subjects), said)
    np.testing.assert_array_equal(
        paired(shop, cohort, subjects, came_back).label.reshape(len(cohort), -1).any(axis=1), cohort.label == 0
    )


def test_pairs_stay_pairs_where_rows_are_taken_and_cohorts_joined(shop: Prepared):
    subjects = subjects_of(shop, CATEGORY, [], 20, CUTOFFS[1])
    one, other = (paired(shop, build_cohort(shop, t, 60, 90), subjects, came_back) for t in CUTOFFS[:2])
    both = join_cohorts([(shop, one), (shop, other)])
    np.testing.assert_array_equal(both.subject, np.append(one.subject, other.subject))
    np.testing.assert_array_equal(rows_of(both, np.array([5, 1])).subject, both.subject[[5, 1]])


def loving(tmp_path: Path, n: int = 300) -> tuple[Cohort, Cohort, np.ndarray]:
    """Pairs to train on and to ask of customers who each love one category, and which."""
    rng = np.random.default_rng(5)
    love = rng.integers(0, 3, n)
    times = [np.sort(rng.uniform(0, 400, 25)) for _ in range(n)]
    items = [1 + np.where(rng.random(25) < 0.8, love[j], rng.integers(0, 3, 25)) for j in range(n)]
    prepared, _ = tiny_prepared(
        tmp_path,
        [one.tolist() for one in items],
        [[int(day * DAY) for day in one] for one in times],
        items={"category": ["a", "b", "c"]},
    )
    subjects = subjects_of(prepared, CATEGORY, [], 20, 300 * DAY)
    train, test = (paired(prepared, build_cohort(prepared, d * DAY, 40, None), subjects, came_back) for d in (300, 350))
    return train, test, love


def test_models_tell_what_a_customer_buys_from_what_others_buy(tmp_path: Path):
    """The share of all customers who buy tells nothing of whom."""
    train, test, love = loving(tmp_path)
    model = Logistic()
    model.fit(train, None, Fit(seed=1))
    said = model.predict(test).value
    assert test.label is not None
    assert auroc(test.label, said) > 0.75
    best = said.reshape(-1, 3).argmax(axis=1)
    assert (best == love).mean() > 0.9
    rate = BaseRate()
    rate.fit(train, None, Fit(seed=1))
    assert len(np.unique(rate.predict(test).value)) == 1


def test_a_network_has_a_head_for_each_category_and_says_it_in_the_order_of_pairs(tmp_path: Path):
    train, test, love = loving(tmp_path / "shop")
    model = GRU(width=8, max_length=30, epochs=12, lr=0.02, batch_size=64, dropout=0.0, dropout_embed=0.0)
    model.fit(train, test, Fit(seed=1, trainer=TrainerConfig(precision="fp32", threads=1), progress=False))
    assert model.heads == ("label", "b", "c")
    found = model.predict(test)
    assert test.label is not None
    assert auroc(test.label, found.value) > 0.75
    assert (found.value.reshape(-1, 3).argmax(axis=1) == love).mean() > 0.8
    some = np.array([7, 2, 3])  # in whatever order, not all of a customer's
    np.testing.assert_allclose(model.predict(rows_of(test, some)).value, found.value[some], rtol=1e-6)
    assert found.value.mean() == pytest.approx(test.label.mean(), abs=0.05)
    model.save(tmp_path / "run")
    again = GRU(width=8, max_length=30)
    again.load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict(test).value, found.value)
    one, other = of_customers(test), test.label.reshape(-1, 3)
    np.testing.assert_array_equal(one.label, other[:, 0])
    np.testing.assert_array_equal(one.further["c"].label, other[:, 2])
    np.testing.assert_array_equal(one.customer, test.customer[::3])


def test_a_task_by_item_is_trained_compared_and_scored_for_every_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    house = House(tmp_path)
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60})
    monkeypatch.chdir(tmp_path)
    words = ("dataset=rhythm", "split=temporal", "task=item_propensity", "task.subjects=[s1,s2,s7]")
    small = ("model.width=8", "model.epochs=2", "model.max_length=16", "audit=full")
    house.train("runs/rhythm/item_propensity/temporal/gru", "model=gru", *words, *FEW, *small)
    for model in ("base_rate", "logistic"):
        run = house.train(f"runs/rhythm/item_propensity/temporal/{model}", f"model={model}", *words, *FEW, "audit=full")
    table = run.table("test")
    assert set(table["subject"].to_pylist()) == {"s1", "s2", "s7"}
    assert set(table["slice:subject"].to_pylist()) == {"s1", "s2", "s7"}
    assert table.num_rows == 3 * len(set(table["user_id"].to_pylist()))
    house.evaluate(*words, "report.resamples=20")
    board = json.loads(Path("reports/rhythm/temporal/leaderboard.json").read_text())["item_propensity"]
    assert board["logistic"]["auroc"] > board["base_rate"]["auroc"] == 0.5
    assert "gru" in board

    score(house._composed("score", (f"run={run.path}", "to=pairs.parquet")))
    told = pq.read_table("pairs.parquet").to_pylist()
    assert set(told[0]) == {"user_id", "subject", "probability", "blank_reason"}
    scored = [row for row in told if not row["blank_reason"]]
    assert len(scored) == 3 * len({row["user_id"] for row in scored})
    assert [row["subject"] for row in scored[:3]] == ["s1", "s2", "s7"]
    others = [row for row in told if row["blank_reason"]]
    assert others
    assert all(row["subject"] is None is row["probability"] for row in others)
    assert len({row["user_id"] for row in told}) == 80

    with pytest.raises(UserError, match="answers of each customer and item, and an audience needs one score"):
        _scores_of_run(run, prepared_of(run.manifest), 0, [])
    with pytest.raises(
        UserError, match="model=bg_nbd answers of customers alone, and task=item_propensity asks of each"
    ):
        house.train("runs/bg_nbd", "model=bg_nbd", *words)
