"""When the next order comes: days as quantiles, cut off at the window's end, by every model that says them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from customers.test_totals_verbs import SMALL, rows
from customers.toyshop import CUTOFFS, toy_shop
from house import House
from shopkeeper.customers.base import Cohort
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.bg_nbd import BGNBDModel, ParetoNBDModel
from shopkeeper.customers.blend import Blend
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.hazard import Hazard
from shopkeeper.customers.networks.gru import GRU
from shopkeeper.customers.networks.transformer import Transformer
from shopkeeper.customers.state import all_blank
from shopkeeper.customers.waits.days import LEVELS, MEDIAN, Shift, from_distribution
from shopkeeper.customers.waits.quantile_trees import QuantileTrees
from shopkeeper.customers.waits.usual_gap import UsualGap, gaps_and_recency
from shopkeeper.customers.window import WAIT
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.labels import customer_table
from shopkeeper.evaluation.table import summarise
from shopkeeper.metrics.waiting import pinball_rows
from shopkeeper.models.about import DAYS
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.score import score
from shopkeeper.schema import MICROSECONDS_PER_DAY as DAY
from shopkeeper.training.config import TrainerConfig
from tiny import tiny_prepared

ASKED: dict[str, Any] = {"truth": as_it_is, "of": WAIT, "answers": DAYS}
H = 60
FIT: dict[str, Any] = {"seed": 1, "progress": False,
                       "trainer": TrainerConfig(accelerator="cpu", precision="fp32", threads=1)}  # fmt: skip
NETWORK: dict[str, Any] = {"width": 16, "max_length": 24, "epochs": 15, "batch_size": 64, "lr": 0.01, "patience": 4}


def models() -> dict[str, Any]:
    return {
        "base_rate": BaseRate(),
        "usual_gap": UsualGap(),
        "hazard": Hazard(max_trees=80, min_data_in_leaf=20),
        "quantile_trees": QuantileTrees(max_trees=80, min_data_in_leaf=20),
        "bg_nbd": BGNBDModel(),
        "pareto_nbd": ParetoNBDModel(),
        "gru": GRU(**NETWORK),
        "transformer": Transformer(**NETWORK, blocks=1),
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("waits"), n_users=500)


@pytest.fixture(scope="module")
def cohorts(shop: Prepared) -> dict[str, Cohort]:
    at = {"train": [160 * DAY, CUTOFFS[0]], "calibration": CUTOFFS[1], "test": CUTOFFS[2]}
    return {part: build_cohort(shop, t, H, 90, **ASKED) for part, t in at.items()}


@pytest.fixture(scope="module")
def fitted(shop: Prepared, cohorts: dict[str, Cohort]) -> dict[str, Any]:
    found = models()
    for model in found.values():
        if "dataset" in model.about.needs:
            model.bind(shop)
        model.fit(cohorts["train"], cohorts["calibration"], Fit(**FIT))
    return found


def test_quantiles_and_mean_of_a_distribution_are_those_of_the_wait_cut_off_at_the_window():
    at = np.linspace(0, 50, 2001)[1:]
    cdf = np.stack([1 - np.exp(-at / gap) for gap in (10.0, 60.0)])
    quantile, mean = from_distribution(cdf, at)
    right = np.minimum([[-gap * np.log(1 - level) for level in LEVELS] for gap in (10.0, 60.0)], 50)
    np.testing.assert_allclose(quantile, right, atol=0.02)
    np.testing.assert_allclose(mean, [gap * (1 - np.exp(-50 / gap)) for gap in (10.0, 60.0)], atol=0.02)
    nobody, _ = from_distribution(np.zeros((1, 3)), np.array([10.0, 20.0, 30.0]))
    assert (nobody == 30).all()  # nothing in the window: each quantile says so
    at_once, _ = from_distribution(np.ones((1, 2)), np.array([10.0, 20.0]))
    np.testing.assert_allclose(at_once, 10 * np.array(LEVELS)[None, :])


def test_the_pinball_loss_of_cut_off_waits_is_least_at_the_cut_off_quantiles_of_the_whole_waits():
    wait = np.random.default_rng(0).exponential(60, 40_000)
    seen = np.minimum(wait, 50.0)
    right = np.minimum([-60 * np.log(1 - level) for level in LEVELS], 50.0)

    def loss(quantile: np.ndarray) -> float:
        return float(pinball_rows(seen, np.tile(quantile, (len(seen), 1)), LEVELS).mean())

    assert right[MEDIAN] < 50 == right[-1] == right[-2]
    for place in range(len(LEVELS)):
        for off in (-4.0, 4.0):
            wrong = np.clip(right + off * (np.arange(len(LEVELS)) == place), 0, 50)
            assert loss(right) < loss(wrong) or (wrong == right).all(), (place, off)


def test_a_usual_gap_is_the_median_between_a_customers_orders_before_the_cutoff(tmp_path: Path):
    days = [[0, 10, 30, 90], [50], [0, 4, 4, 14, 99, 200], [98, 99, 120]]
    order = [[1, 2, 3, 4], [5], [6, 7, 7, 8, 9, 10], [11, 11, 12]]  # an order of two lines is one
    times = [[d * DAY for d in one] for one in days]
    prepared, _ = tiny_prepared(tmp_path, [[1] * len(one) for one in days], times, columns={"order": order})
    cohort = build_cohort(prepared, 100 * DAY, 50, None, observed_until=150 * DAY, **ASKED)
    gap, recency = gaps_and_recency(cohort)
    np.testing.assert_array_equal(gap, [20, np.nan, 10, np.nan])
    np.testing.assert_array_equal(recency, [10, 50, 1, 2])
    np.testing.assert_array_equal(cohort.label, [50, 50, 50, 20])
    model = UsualGap()
    model.shop_gap = 15.0
    # On time, overdue (a shop's gap anew), on time, one order only.
    np.testing.assert_array_equal(model._expected(gap, recency), [10, 15, 9, 13])


@pytest.mark.parametrize("name", list(models()))
def test_as_many_waits_as_promised_lie_below_each_quantile(fitted: dict[str, Any], cohorts: dict[str, Cohort], name):
    test, said = cohorts["test"], fitted[name].predict(cohorts["test"])
    assert (np.diff(said.quantile, axis=1) >= 0).all()
    assert 0 <= said.quantile.min() <= said.quantile.max() <= H
    for q, level in enumerate(LEVELS):
        inside = said.quantile[:, q] < H  # a quantile beyond the window promises nothing that the window shows
        if inside.sum() > 50:
            share = (test.label[inside] <= said.quantile[inside, q]).mean()
            assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / inside.sum()), (level, share)
    assert said.value.mean() == pytest.approx(test.label.mean(), abs=4)


def test_models_of_the_next_order_are_told_apart_by_loss_and_concordance(
    fitted: dict[str, Any], cohorts: dict[str, Cohort], shop: Prepared
):
    tables = {
        name: customer_table(shop, cohorts["test"], model.predict(cohorts["test"]), {"model": name})
        for name, model in fitted.items()
    }
    found = {name: summarise(table, resamples=50) for name, table in tables.items()}
    loss = {name: one["pinball"]["value"] for name, one in found.items()}
    assert min(loss.values()) == loss["pareto_nbd"]  # the toy's customers live as it thinks
    learned = ("hazard", "quantile_trees", "gru", "transformer")
    assert max(loss[name] for name in learned) < loss["usual_gap"] < loss["base_rate"]
    assert found["base_rate"]["concordance"]["value"] == 0.5
    assert found["hazard"]["concordance"]["value"] > found["usual_gap"]["concordance"]["value"] > 0.55
    one = tables["hazard"].slice(0, 1).to_pylist()[0]
    waited, quantiles = one["waited"], np.array(one["quantiles"])
    assert one["in_interval"] == float(quantiles[0] <= waited <= quantiles[-1])
    assert one["absolute_error"] == pytest.approx(abs(quantiles[MEDIAN] - waited))
    assert one["pinball"] == pytest.approx(pinball_rows(np.array([waited]), quantiles[None, :], LEVELS)[0])
    assert found["hazard"]["mean_total"]["value"] == pytest.approx(cohorts["test"].label.mean())


@pytest.mark.parametrize("name", list(models()))
def test_what_was_saved_says_the_same(fitted: dict[str, Any], cohorts: dict[str, Cohort], name: str, tmp_path: Path):
    fitted[name].save(tmp_path)
    again = models()[name]
    again.load(tmp_path)
    for one, other in ((fitted[name].predict(c), again.predict(c)) for c in (cohorts["test"],)):
        np.testing.assert_array_equal(one.value, other.value)
        np.testing.assert_array_equal(one.quantile, other.quantile)


@pytest.mark.parametrize("name", list(models()))
def test_where_hardly_a_wait_ends_in_its_window_every_score_is_blank_and_says_why(
    shop: Prepared, cohorts: dict[str, Cohort], name: str, tmp_path: Path
):
    model, train = models()[name], cohorts["train"]
    if name in ("bg_nbd", "pareto_nbd"):
        model.min_customers = 10_000
    if "dataset" in model.about.needs:
        model.bind(shop)
    model.fit(replace(train, label=np.full(len(train), float(H))), None, Fit(seed=1))
    said = model.predict(cohorts["test"])
    assert np.isnan(said.value).all()
    assert np.isnan(said.quantile).all()
    assert (said.blank_reason != "").all()
    table = customer_table(shop, cohorts["test"], said, {})
    assert table["quantiles"].null_count == table["days"].null_count == len(cohorts["test"])
    model.save(tmp_path)
    again = models()[name]
    again.load(tmp_path)
    assert (again.predict(cohorts["test"]).blank_reason == said.blank_reason).all()


def test_who_has_no_score_has_no_quantile(cohorts: dict[str, Cohort]):
    test = replace(
        cohorts["test"], end=np.where(np.arange(len(cohorts["test"])) == 3, cohorts["test"].start, cohorts["test"].end)
    )
    said = Shift().said(np.full((len(test), len(LEVELS)), 7.0), np.full(len(test), 7.0), test)
    np.testing.assert_array_equal(np.isnan(said.quantile).all(axis=1), np.arange(len(test)) == 3)
    assert np.isnan(all_blank(said, "too few").quantile).all()


@pytest.mark.parametrize("periods", [0, 105])  # of 210 days: as many weeks as months of 30 days; 60 years
def test_a_log_from_before_1970_teaches_the_hazard_what_the_same_log_later_does(
    tmp_path: Path, periods: int, shop: Prepared, cohorts: dict[str, Cohort], fitted: dict[str, Any]
):
    ago = periods * 210 * DAY
    assert shop.events.timestamp is not None
    early = replace(shop, events=replace(shop.events, timestamp=np.asarray(shop.events.timestamp) - ago))
    until = int(cohorts["train"].observed_until[0]) - ago
    at = [t - ago for t in (160 * DAY, CUTOFFS[0])]
    train = build_cohort(early, at, H, 90, observed_until=until, **ASKED)
    model = models()["hazard"]
    model.bind(early)
    model.fit(train, None, Fit(seed=1))
    assert model.booster.model_to_string() == fitted["hazard"].booster.model_to_string()


def test_dates_are_trained_compared_and_scored_as_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    house = House(tmp_path)
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60})
    monkeypatch.chdir(tmp_path)
    for model in ("base_rate", "usual_gap", "hazard"):
        few = ("model.min_positives=1",)
        house.train(f"runs/rhythm/next_order/temporal/{model}", "task=next_order", f"model={model}", *SMALL, *few)
    house.evaluate(*SMALL, "report.resamples=20")
    report = tmp_path / "reports/rhythm/temporal"
    board = json.loads((report / "leaderboard.json").read_text())["next_order"]
    assert {"pinball", "concordance", "absolute_error", "in_interval"} <= set(board["usual_gap"])
    found = json.loads((report / "comparisons.json").read_text())["next_order"]
    assert {one["metric"] for one in found} == {"pinball", "concordance"}
    page = (report / "report.html").read_text(encoding="utf-8")
    for words in ("When will the next order come?", "who does not order in the window is only known to be later"):
        assert words in page, words

    score(house._composed("score", ("run=runs/rhythm/next_order/temporal/hazard", "to=today.parquet")))
    table = pq.read_table("today.parquet").to_pylist()
    days = [f"days_{100 * level:.0f}" for level in LEVELS]
    today = np.datetime64(json.loads(pq.read_schema("today.parquet").metadata[b"shopkeeper"])["as_of"].rstrip("Z"))
    scored = [row for row in table if not row["blank_reason"]]
    assert 20 < len(scored) < len(table)
    for row in table:
        known = [row[day] for day in days if row[day] is not None]
        assert known == sorted(known)
        assert all(0 <= day < 20 for day in known)
        assert (row["date"] is None) == (row["days_50"] is None)
        if row["date"] is not None:
            off = (np.datetime64(row["date"].replace(tzinfo=None)) - today) / np.timedelta64(1, "D")
            assert off == pytest.approx(row["days_50"], abs=1e-6)
        if row["blank_reason"]:
            assert not known
            assert row["expected"] is None
    assert any(row["date"] is None for row in scored)  # later than the window


def test_a_blend_refuses_a_member_whose_answers_are_not_mixed():
    settings = {"target": "shopkeeper.customers.waits.usual_gap.UsualGap"}
    with pytest.raises(UserError, match="member 'gap' answers with days, which are not mixed; leave it out"):
        Blend({"gap": settings})
