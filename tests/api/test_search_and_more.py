"""A search, places, tables of customers, campaigns and the registry from Python: the same as by the verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import shopkeeper as sk
from api.shoplog import COLUMNS, frame
from shopkeeper.files import read_json

QUICK = {"evaluation": {"resamples": 50}}
NEAR = {"neighbours": {"type": "int", "low": 1, "high": 11}}


@pytest.fixture(scope="module")
def data() -> sk.Dataset:
    log = frame()
    goods = pd.DataFrame({"sku": [f"s{n}" for n in range(1, 13)], "category": ["hot", "cold"] * 6})
    return sk.Dataset.from_pandas(log, **COLUMNS, items=goods)


@pytest.fixture(scope="module")
def model(data: sk.Dataset) -> sk.Estimator:
    return sk.fit("item_knn", data, neighbours=5, tracking="none", **QUICK)


def test_a_search_finds_settings_that_a_training_reaches_again(data: sk.Dataset):
    search = sk.tune("item_knn", data, trials=4, space=NEAR, tuning="random", shrinkage=3.0, **QUICK)
    trials = search.to_pandas()
    assert trials["value"].is_monotonic_decreasing
    assert set(trials["state"]) == {"complete"}
    assert trials.iloc[0][["value", "neighbours"]].tolist() == [search.best_value, search.best_params["neighbours"]]
    fitted = search.best().fit(data)
    assert fitted.get_params()["shrinkage"] == 3.0
    assert fitted.metrics("validation").loc["ndcg@10", "value"] == pytest.approx(search.best_value, abs=1e-12)
    assert "4 trials; best validation ndcg@10" in repr(search)
    assert "<table>" in search._repr_html_()
    assert (search.path / "best.yaml").is_file()
    again = sk.tune("item_knn", data, trials=4, space=NEAR, tuning="random", shrinkage=3.0, **QUICK)
    assert again.path == search.path
    assert len(again.to_pandas()) == 4  # gone on with: there is nothing left to try


def test_a_search_among_all_gives_the_model_that_ranks_best_with_its_settings(data: sk.Dataset):
    few = {
        name: None for name in sk.Estimator("auto").get_params()["candidates"] if name not in ("recency", "item_knn")
    }
    search = sk.tune("auto", data, trials=2, tuning="random", candidates=few, **QUICK)
    trials = search.to_pandas()
    assert sorted(trials["model"]) == ["item_knn", "item_knn", "recency", "recency"]
    assert trials.iloc[0][["model", "value"]].tolist() == [search.best_model, search.best_value]
    assert f"4 trials; best validation ndcg@10 {search.best_value:.5f}: {search.best_model} with" in repr(search)
    fitted = search.best().fit(data)
    assert fitted.name == search.best_model
    assert fitted.metrics("validation").loc["ndcg@10", "value"] == pytest.approx(search.best_value, abs=1e-12)
    assert read_json(search.path / "board.json")["models"][0]["model"] == search.best_model


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"model": "item_knnn"}, "Did you mean 'item_knn'?"),
        ({"space": {"neighbour": {"type": "int", "low": 1, "high": 2}}}, "Did you mean 'neighbours'?"),
        ({"space": {}}, "there is nothing to search for model=item_knn"),
        ({"trials": None}, "a search needs an end: set tuning.trials or tuning.hours"),
        ({"tuning": "tpee"}, "there is no tuning=tpee. Did you mean 'tpe'?"),
        ({"tuning": {"sampler": "best"}}, "tuning.sampler"),
        ({"neighbour": 3}, "Did you mean 'neighbours'?"),
        ({"model": "auto", "space": NEAR}, "space is of one model, and 'auto' searches several"),
    ],
)
def test_what_is_no_search_ends_in_one_line(data: sk.Dataset, words: dict[str, Any], said: str):
    told = {"model": "item_knn", "trials": 2, **words}
    with pytest.raises(sk.UserError) as e:
        sk.tune(told.pop("model"), data, **told)
    assert said in str(e.value)
    assert "\n" not in str(e.value)


def test_a_place_of_the_shop_answers_as_its_file_says(data: sk.Dataset, model: sk.Estimator):
    seen, basket = [["s1", "s2"], []], [["s3"], ["s5", "s6"]]
    plain = model.recommend(history=[["s1", "s2"]], k=12, filter_seen=False)
    assert {"s1", "s2"} <= set(plain["item_id"])
    with_order = model.recommend(history=seen, basket=basket, placement="cart", k=12, filter_seen=False)
    listed = {who: set(rows["item_id"]) for who, rows in with_order.groupby("user_id")}
    assert [listed[who] & set(own) for who, own in enumerate(basket)] == [set(), set()]
    of_page = model.recommend(["7"], placement="product", k=12, filter_seen=False)
    last = data.to_pandas().query("user_id == 7")["item_id"].iloc[-1]
    assert last not in set(of_page["item_id"])
    cold = model.recommend(history=[["s1"]], placement="category", category="cold", k=12, filter_seen=False)
    assert set(cold["category"]) == {"cold"}
    bundle = model.export(golden=5, placements=["cart"])
    assert list(bundle.manifest["placements"]) == ["cart"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"placement": "carts"}, "there is no placement=carts. Did you mean 'cart'?"),
        ({"placement": "category", "category": "warm"}, "category=warm: shop has none"),
        ({"category": "hot"}, "add placement='category'"),
        ({"basket": [["s1"]]}, "give history, too"),
        ({"history": [["s1"], []], "basket": [["s1"]]}, "history is of 2 people and basket of 1"),
        ({"history": [["s1"]], "basket": ["s1"]}, "in place of a list of what one person did"),
        ({"history": 3}, "history=3 is no list of what people did"),
        ({"history": "s1"}, "history='s1' is no list of what people did"),
    ],
)
def test_what_is_no_place_or_basket_ends_in_one_line(model: sk.Estimator, words: dict[str, Any], said: str):
    with pytest.raises(sk.UserError) as e:
        model.recommend(**words)
    assert said in str(e.value)


def people(n: int = 200) -> pd.DataFrame:
    """Who has been there for long stays."""
    rng = np.random.default_rng(5)
    months = rng.integers(0, 60, n)
    left = rng.random(n) < 1 / (1 + np.exp(0.08 * months - 1))
    plan = np.where(rng.random(n) < 0.4, "yearly", "monthly")
    return pd.DataFrame({"who": np.arange(n) + 100, "months": months, "plan": plan, "left": np.where(left, "yes", "no"),
                         "spent": rng.gamma(2, 20, n).round(2)})  # fmt: skip


TOLD: dict[str, Any] = {"customer": "who", "label": "left", "features": ["months", "plan"]}


def test_a_table_of_customers_is_learnt_from_and_scored_under_its_own_ids():
    data = sk.Dataset.from_customers(people(), **TOLD)
    model = sk.fit("logistic", data, min_positives=5, **QUICK)
    assert model.task == "churn"
    assert model.metrics().loc["auroc", "value"] > 0.65
    scores = sk.score(model)
    assert scores["user_id"].tolist() == people()["who"].tolist()
    joined = scores.set_index("user_id")["probability"]
    assert (
        joined[people()["who"][people()["months"] < 6]].mean() > joined[people()["who"][people()["months"] > 50]].mean()
    )
    assert "200" in data._repr_html_()
    spend = sk.Dataset.from_customers(people(), customer="who", label="spent", features=["months"], task="spend")
    assert sk.fit("lightgbm", spend, task="spend", min_positives=5, **QUICK).metrics().loc["rmse", "n"] > 0


@pytest.mark.parametrize(
    "other",
    [
        lambda f: pl.from_pandas(f).lazy(),
        lambda f: pa.Table.from_pandas(f, preserve_index=False),
        lambda f: f.set_index("who"),
        lambda f: f.astype({"plan": "category", "left": "category", "months": "Int64"}),
        lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    ],
)
def test_a_table_of_customers_in_another_shape_is_the_same(other: Any):
    usual = sk.Dataset.from_customers(people(), **TOLD).prepared
    found = sk.Dataset.from_customers(other(people()), **TOLD).prepared
    assert found.users.equals(usual.users)


def test_a_label_may_be_a_number_or_a_truth_value_and_times_are_left_out(caplog: pytest.LogCaptureFixture):
    def labels(f: pd.DataFrame, **told: Any) -> list[float]:
        data = sk.Dataset.from_customers(f, **{**TOLD, **told})
        return data.prepared.table("labels.parquet")["churn"].to_pylist()

    right = (people()["left"] == "yes").astype(float).tolist()
    for as_other in (lambda s: s == "yes", lambda s: (s == "yes").astype(int), lambda s: (s == "yes").astype(float)):
        assert labels(people().assign(left=as_other(people()["left"]))) == right
    assert labels(people().replace({"yes": "gone", "no": "here"}), positive="gone") == right
    since = people().assign(since=pd.Timestamp("2024-01-01"))
    assert labels(since, features=None, label="left") == right
    assert "column 'since' holds times and is left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "told", "said"),
    [
        (lambda f: f, {"label": "leftt"}, "there is no column 'leftt'. Did you mean 'left'?"),
        (lambda f: f, {"customer": "whom"}, "there is no column 'whom'. Did you mean 'who'?"),
        (lambda f: f, {"label": "who"}, "customer and label are both column 'who'"),
        (lambda f: f, {"positive": "yess"}, "column 'left' holds no 'yess'. Did you mean 'yes'?"),
        (lambda f: f.replace({"yes": "gone"}), {}, "say which of them is the label: positive="),
        (lambda f: f.assign(left=None), {}, "column 'left' holds no value at all"),
        (lambda f: f, {"task": "next_item"}, "task=next_item is not asked about customers"),
        (lambda f: f, {"task": "chrn"}, "there is no task=chrn. Did you mean 'churn'?"),
        (lambda f: f, {"task": "spend", "positive": 1}, "task=spend takes numbers"),
        (lambda f: f, {"features": []}, "no column tells of a customer"),
        (lambda f: f.iloc[:0], {}, "the frame has no rows"),
        (lambda f: pd.concat([f, f[["left"]]], axis=1), {}, "2 columns are called 'left'"),
        (lambda f: f["who"], {}, "a Series is no table"),
    ],
)
def test_what_is_no_table_of_customers_ends_in_one_line(change: Any, told: dict[str, Any], said: str):
    with pytest.raises(sk.UserError) as e:
        sk.Dataset.from_customers(change(people()), **{**TOLD, **told})
    assert said in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("verb", [
    lambda f: sk.fit("popularity", f),
    lambda f: sk.tune("item_knn", f),
    lambda f: sk.segments(f),
    lambda f: sk.audience("win_back", f),
])  # fmt: skip
def test_a_frame_in_place_of_a_dataset_is_told_what_to_become(verb: Any):
    with pytest.raises(sk.UserError, match="data is a DataFrame; make a dataset of it first"):
        verb(frame())
    with pytest.raises(sk.UserError, match="model=item_knn stands for one model alone; leave ':x' out"):
        sk.Estimator("item_knn:x")


def test_several_rows_of_one_customer_are_refused():
    with pytest.raises(sk.UserError, match="leave one row for each, or say which one counts"):
        _ = sk.Dataset.from_customers(pd.concat([people(), people().head(3)]), **TOLD).prepared


def sent(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    mail, age = rng.choice(["none", "mail"], n), rng.normal(40, 9, n)
    bought = rng.random(n) < 0.2 + 0.3 * ((mail == "mail") & (age < 40))
    return pd.DataFrame({"who": np.arange(n), "mail": mail, "age": age, "bought": bought})


ASKED: dict[str, Any] = {
    "treatment": "mail", "control": "none", "outcomes": "bought", "features": ["age"], "learners": ["t"],
    "trees": {"trees": 10, "least_in_leaf": 20}, "evaluation": {"resamples": 50}, "folds": 2,
}  # fmt: skip


def test_a_campaign_is_judged_and_says_of_each_customer_what_a_message_would_bring():
    found = sk.uplift(sent(), customer="who", **ASKED)
    (row,) = found.to_pandas().to_dict("records")
    assert (row["arm"], row["outcome"], row["learner"]) == ("mail", "bought", "t")
    assert row["effect_low"] < 0.15 < row["effect_high"]
    each = found.customers()
    young = each["user_id"].astype(int).isin(sent()["who"][sent()["age"] < 35])
    assert each.loc[young, "mail/bought/t"].mean() > each.loc[~young, "mail/bought/t"].mean()
    assert len(found.curves()) > 2
    assert "uplift of campaign" in found._repr_html_()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"control": "nobody"}, "control=nobody is no arm of mail"),
        ({"features": ["agee"]}, "there is no column 'agee'. Did you mean 'age'?"),
        ({"learners": ["z"]}, "learners"),
        ({"fold": 3}, "there is no option 'fold'"),
    ],
)
def test_what_is_no_campaign_ends_in_one_line(told: dict[str, Any], said: str):
    with pytest.raises(sk.UserError) as e:
        sk.uplift(sent(), **{**ASKED, **told})
    assert said in str(e.value)


def test_a_tracked_model_becomes_challenger_and_is_let_through_or_told_why_not(tmp_path: Path, data: sk.Dataset):
    pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    told = {"name": "mlflow", "uri": uri, "artifacts": str(tmp_path / "kept")}
    with pytest.raises(sk.UserError, match="MLflow has no challenger of 'shop-next_item'"):
        sk.promote("shop-next_item", uri=uri)
    sk.fit("item_knn", data, neighbours=5, tracking=told, **QUICK).export(tmp_path / "bundle", golden=5)
    first = sk.promote("shop-next_item", uri=uri)
    assert not first.granted  # no report sets it beside a baseline yet
    assert first.to_pandas()["gate"].tolist() == ["comparison", "golden"]
    assert "does not become champion" in repr(first)
    with pytest.raises(sk.UserError, match=r"promote has no gate .latancy.\. Did you mean .latency.\?"):
        sk.promote("shop-next_item", uri=uri, latancy=2)


def test_one_of_recboles_models_is_fitted_by_its_own_name():
    from recbole_runs.shop import environment

    assert sk.Estimator("recbole:LightGCN").name == "LightGCN"
    environment()  # skips where `make recbole` was not called
    small = {"embedding_size": 8, "train_batch_size": 64}
    data = sk.dataset("demo_shop", simulate={"customers": 60})
    model = sk.fit("recbole:LightGCN", data, parameters=small, epochs=1, **QUICK)
    assert read_json(model.path / "manifest.json")["model"] == "LightGCN"
    again = sk.load(model.path)
    assert again.model == "recbole:LightGCN"
    assert again.recommend(k=3).equals(model.recommend(k=3))
    assert again.get_params()["parameters"] == small
