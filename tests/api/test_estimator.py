"""Fit, ask, compare, hand over: from Python the same figures and lists as from the verbs, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import shopkeeper as sk
from api.shoplog import COLUMNS, frame
from shopkeeper.features.customer.declared import Windows
from shopkeeper.files import read_json

QUICK = {"evaluation": {"resamples": 50}}


@pytest.fixture(scope="module")
def data() -> sk.Dataset:
    return sk.Dataset.from_pandas(frame(), **COLUMNS)


@pytest.fixture(scope="module")
def model(data: sk.Dataset) -> sk.Estimator:
    return sk.fit("item_knn", data, neighbours=5, **QUICK)


@pytest.fixture(scope="module")
def popular(data: sk.Dataset) -> sk.Estimator:
    return sk.fit("popularity", data, **QUICK)


def verb(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "shopkeeper", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_verbs_go_on_in_a_folder_that_python_filled_and_find_the_same(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("SHOPKEEPER_RAW", raising=False)
    data = sk.Dataset.from_pandas(frame(), **COLUMNS, name="round", folder=tmp_path)
    mine = sk.fit("item_knn", data, neighbours=5, **QUICK)
    words = ["dataset=round", "model=item_knn", "model.neighbours=5", "evaluation.resamples=50", "tracking=none"]
    figures, trained = read_json(mine.path / "metrics.json"), read_json(mine.path / "manifest.json")["trained_at"]
    listed = mine.recommend(history=[["s1", "s2"]], k=3)
    verb(tmp_path, "train", *words)  # the same settings: the same folder
    assert read_json(mine.path / "metrics.json") == figures
    assert read_json(mine.path / "manifest.json")["trained_at"] > trained
    said = verb(tmp_path, "recommend", "run=item_knn", "history=[s1,s2]", "k=3")
    assert [line.split()[0] for line in said.splitlines()[2:]] == listed["item_id"].tolist()
    assert [line.split()[1] for line in said.splitlines()[2:]] == [f"{s:.4f}" for s in listed["score"]]
    again = sk.dataset("round", folder=tmp_path)
    assert again.prepared.fingerprint == data.prepared.fingerprint
    monkeypatch.chdir(tmp_path)  # a run of the verbs names its data as seen from there
    assert sk.load(mine.path).recommend(history=[["s1", "s2"]], k=3).equals(listed)
    assert again.users()["user_id"].dtype == np.int64


def test_a_run_that_is_opened_is_trained_by_the_settings_that_it_had(data: sk.Dataset):
    mine = sk.fit("item_knn", data, neighbours=5, evaluation={"resamples": 50, "k": [10, 3]}, trainer="cpu", seed=4)
    again = sk.load(mine.path).fit(data)
    assert again.path == mine.path, "the same settings have the same folder"
    assert "ndcg@3" in again.metrics().index


def test_nothing_is_left_in_the_current_folder_and_a_temporary_one_goes(tmp_path: Path):
    code = """
import shopkeeper as sk, sys
sys.path.insert(0, sys.argv[1])
from api.shoplog import COLUMNS, frame
data = sk.Dataset.from_pandas(frame(), **COLUMNS)
one, two = sk.fit("popularity", data), sk.fit("recency", data)
one.recommend(7)
sk.evaluate([one, two], report={"shuffle": False})
sk.compare(one, two)
one.export(golden=3)
print(data.room.path)
"""
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parents[1])], cwd=tmp_path,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert not Path(done.stdout.splitlines()[-1]).exists()


def test_another_dataset_of_that_name_in_a_folder_stays_unless_told(tmp_path: Path):
    sk.Dataset.from_pandas(frame(), **COLUMNS, folder=tmp_path)
    sk.Dataset.from_pandas(frame(), **COLUMNS, folder=tmp_path)  # the same once more
    log = tmp_path / "data/raw/shop/events.parquet"
    before = log.read_bytes()
    with pytest.raises(sk.UserError, match=r"shop.yaml is there already and says something else"):
        sk.Dataset.from_pandas(frame(), **COLUMNS, folder=tmp_path, event="view")
    with pytest.raises(sk.UserError, match=r"events.parquet is there already and holds other rows"):
        sk.Dataset.from_pandas(frame(41), **COLUMNS, folder=tmp_path)
    assert log.read_bytes() == before
    assert sk.Dataset.from_pandas(frame(41), **COLUMNS, folder=tmp_path, overwrite=True).n_users == 41
    assert yaml.safe_load((tmp_path / "conf/dataset/shop.yaml").read_text())["name"] == "shop"


def test_lists_are_of_the_customers_asked_as_of_the_end_of_the_log(model: sk.Estimator):
    listed = model.recommend([14, 7], k=3)
    assert listed["user_id"].tolist() == [14] * 3 + [7] * 3
    assert listed["rank"].tolist() == [1, 2, 3] * 2
    assert (listed.groupby("user_id")["score"].diff().dropna() <= 0).all()
    own = frame().query("who == 7")["sku"].tolist()  # everything that customer 7 has taken, oldest first
    assert model.recommend(history={"me": own}, k=3)["item_id"].tolist() == listed["item_id"].tolist()[3:]
    named = pd.Series([own], index=["me"])  # as groupby(…).agg(list) gives it
    assert model.recommend(history=named, k=3)["user_id"].tolist() == ["me"] * 3
    with pytest.raises(sk.UserError, match="history names somebody twice"):
        model.recommend(history=pd.Series([own, own], index=["me", "me"]))
    forms = [
        ["s1", "s2"],
        [("s1", "purchase"), "s2"],
        [{"item_id": "s1", "event_type": "purchase"}, ["s2"] * 1 + ["purchase"]],
    ]
    said = model.recommend(history=forms, k=3)
    assert said.groupby("user_id")["item_id"].agg(list).map(tuple).nunique() == 1
    with pytest.raises(sk.UserError, match="some events have a time and others none"):
        model.recommend(history=[[("s1", "purchase", "2024-03-01"), "s2"]])
    everybody = model.recommend(k=1)
    assert sorted(everybody["user_id"]) == sorted(set(frame()["who"]))
    unseen = model.recommend(7, k=12, filter_seen=True)
    assert len(unseen) == 0  # customer 7 has had all twelve
    assert model.recommend(history=[["s1"], []], k=2, filter_seen=True)["user_id"].tolist() == [0, 0, 1, 1]
    assert "s1" not in set(model.recommend(history=[["s1"]], k=12, filter_seen=True)["item_id"])


def test_a_model_that_reads_times_is_told_them_with_the_history(data: sk.Dataset):
    recent = sk.fit("item_knn", data, neighbours=5, half_life_events=None, half_life_days=5, **QUICK)
    own = frame().query("who == 7")
    events = [(sku, "purchase", str(when)) for sku, when in zip(own["sku"], own["bought"], strict=True)]
    of_log = recent.recommend(7, k=5)
    told = recent.recommend(history=[events], k=5)
    assert told["item_id"].tolist() == of_log["item_id"].tolist()
    assert told["score"].tolist() == pytest.approx(of_log["score"].tolist(), rel=1e-6)


def test_names_of_items_stand_beside_their_ids():
    titles = pd.DataFrame({"item_id": [f"s{n}" for n in range(1, 13)], "title": [f"Item {n}" for n in range(1, 13)]})
    named = sk.fit("popularity", sk.Dataset.from_pandas(frame(), **COLUMNS, items=titles), **QUICK)
    listed = named.recommend(7, k=12)
    assert listed["title"].tolist() == [f"Item {i[1:]}" for i in listed["item_id"]]


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda d, m: sk.fit("sasrek", d), "there is no model=sasrek. Did you mean 'sasrec'?"),
        (
            lambda d, m: sk.fit("item_knn", d, neigbours=3),
            "model=item_knn has no setting 'neigbours'. Did you mean 'nei",
        ),
        (lambda d, m: sk.fit("item_knn", d, neighbours="many"), "model.neighbours=many must be a whole number"),
        (lambda d, m: sk.fit("item_knn", d, split="temporl"), "there is no split=temporl. Did you mean 'temporal'?"),
        (lambda d, m: sk.fit("item_knn", d, split={"test_day": 3}), "unknown option `split.test_day`. Did you mean 't"),
        (lambda d, m: sk.fit("item_knn", d, task="chrun"), "there is no task=chrun. Did you mean 'churn'?"),
        (lambda d, m: sk.fit("item_knn", d, task="churn"), "model=item_knn is for task=next_item, not task=churn"),
        (lambda d, m: sk.fit("item_knn", d, trainer={"max_epoch": 3}), "unknown option `trainer.max_epoch`"),
        (lambda d, m: sk.fit("item_knn", d, evaluation=3), "evaluation=3 is no block of settings"),
        (lambda d, m: sk.fit("item_knn", d, task=3), "task=3 is neither a name nor settings"),
        (lambda d, m: sk.fit("item_knn", frame()), "data is a DataFrame; make a dataset of it first"),
        (lambda d, m: sk.fit(3, d), "a int is no model; give a name such as 'sasrec'"),
        (lambda d, m: sk.dataset("demo_shp"), "there is no dataset=demo_shp. Did you mean 'demo_shop'?"),
        (lambda d, m: sk.dataset("demo_shop", simulate={"custmers": 5}), "unknown option `simulate.custmers`. Did you"),
        (lambda d, m: sk.Estimator("item_knn").recommend(7), "item_knn is not fitted; call fit(data) first"),
        (lambda d, m: m.recommend(8), "customer 8 is not in shop; for somebody who is not in the log give history"),
        (lambda d, m: m.recommend(7, k=0), "k=0 must be a whole number of at least 1"),
        (lambda d, m: m.recommend(7, history=[["s1"]]), "users and history are given; give one of them"),
        (lambda d, m: m.recommend(history=[[("s1", "by")]]), "unknown event type 'by'"),
        (lambda d, m: m.recommend(history=["s1", "s2"]), "history has 's1' in place of a list of what one person did"),
        (lambda d, m: m.recommend(history={"me": 12}), "history has 12 in place of a list of what one person did"),
        (lambda d, m: m.recommend(history=[{"item_id": "s1"}]), "history has {'item_id': 's1'} in place of a list"),
        (lambda d, m: m.metrics("tests"), "there are no figures on 'tests'. Did you mean 'test'?"),
        (lambda d, m: sk.score(m), "item_knn recommends items and says nothing about customers"),
        (lambda d, m: sk.evaluate([]), "no model is given"),
        (lambda d, m: sk.evaluate([3]), "a int is no fitted model"),
        (lambda d, m: sk.compare(m), "compare needs at least two"),
        (lambda d, m: sk.compare(m, m), "is named twice"),
        (lambda d, m: sk.load("nowhere"), "there is no run folder nowhere"),
    ],
)
def test_mistakes_end_in_one_line_with_the_way_out(data: sk.Dataset, model: sk.Estimator, act, words: str):
    with pytest.raises(sk.UserError) as e:
        act(data, model)
    assert words in str(e.value)
    assert "\n" not in str(e.value)


def test_settings_are_got_and_set_as_scikit_learn_has_it(data: sk.Dataset):
    from sklearn.base import clone

    one = sk.Estimator("item_knn", neighbours=5, **QUICK)
    assert one.get_params()["neighbours"] == 5
    assert one.get_params()["shrinkage"] == "auto"  # as its YAML has it
    assert one.set_params(shrinkage=2.0) is one
    assert one.fit(data) is one
    assert one.run.config["model"]["shrinkage"] == 2.0
    other = clone(one)
    assert other.get_params() == one.get_params()
    assert other.set_params(**{**one.get_params(), "neighbours": 7}).get_params()["neighbours"] == 7
    with pytest.raises(sk.UserError, match="this is an estimator of item_knn; of another model make another"):
        one.set_params(model="ease")
    with pytest.raises(sk.UserError, match="not fitted"):
        _ = other.run
    with pytest.raises(sk.UserError, match=r"model=item_knn has no setting 'shrinkag'. Did you mean 'shrinkage'"):
        one.set_params(shrinkag=1)
    assert repr(other).startswith("Estimator('item_knn', ")


def test_a_report_and_a_comparison_say_what_the_verbs_say(model, popular, tmp_path: Path):
    report = sk.evaluate([model, popular], out=tmp_path / "report", evaluation={"resamples": 50})
    wide = report.to_pandas()
    assert {"item_knn", "popularity", "recency", "personal_frequency"} <= set(wide["model"])
    assert wide.columns[:6].tolist() == ["task", "model", "ndcg@10", "hit@10", "recall@10", "mrr"]
    assert wide["ndcg@10"].is_monotonic_decreasing
    long = report.to_pandas(intervals=True).query("model == 'item_knn' and metric == 'ndcg@10'").iloc[0]
    own = model.metrics().loc["ndcg@10"]
    assert long[["value", "low", "high", "n"]].astype(float).tolist() == own.astype(float).tolist()
    assert repr(report) == (tmp_path / "report/leaderboard.txt").read_text()
    pair = sk.compare(popular, model)
    assert pair.winner == pair.pairs[0].winner
    rows = pair.to_pandas()
    assert rows["difference"][0] == pytest.approx(
        model.metrics().loc["ndcg@10", "value"] - popular.metrics().loc["ndcg@10", "value"]
    )
    assert rows["statement"][0] in repr(pair)
    assert {"ndcg@10"} <= set(report.comparisons()["metric"])


def test_a_notebook_shows_tables_with_every_text_escaped(model, popular, data: sk.Dataset, tmp_path: Path):
    report = sk.evaluate([model, popular], out=tmp_path / "<i>", report={"shuffle": False})
    for shown in (data, model, sk.compare(popular, model), sk.Estimator("popularity"), report):
        page = shown._repr_html_()
        assert page.startswith("<table>")
        assert page.count("<table>") == page.count("</table>") > 0
        assert "<i>" not in page
    odd = sk.Estimator("popularity", event_weights={"<b>": 1})._repr_html_()
    assert "&lt;b&gt;" in odd
    assert "<b>" not in odd
    assert "item_knn" in model._repr_html_()
    assert "&lt;i&gt;" in report._repr_html_()


def test_a_bundle_answers_as_the_model_does(model: sk.Estimator, tmp_path: Path):
    bundle = model.export(tmp_path / "bundle", golden=5)
    assert repr(bundle) == f"Bundle({str(bundle.path)!r}, model='item_knn', task='next_item')"
    listed = model.recommend(history=[["s1", "s2"]], k=4)
    answered = bundle.recommend([["s1", "s2"]], k=4)[0]
    assert [item for item, _ in answered] == listed["item_id"].tolist()
    assert [score for _, score in answered] == pytest.approx(listed["score"].tolist(), rel=1e-4)


def test_scores_segments_and_an_audience_are_tables_of_customers(tmp_path: Path):
    shop = sk.dataset("demo_shop", simulate={"customers": 150})
    known = {"name": "rich", "position": None, "trends": {"windows": [45]}}
    leaving = sk.fit("logistic", shop, features=known, **QUICK)
    told = leaving.run.told.features
    assert (told.name, told.position, told.trends, told.time_of_week) == ("rich", None, Windows((45,)), True)
    assert sk.load(leaving.path).settings["features"] == leaving.run.config["features"]
    scores = sk.score(leaving)
    assert len(scores) == shop.n_users
    assert scores["probability"].dropna().between(0, 1).all()
    assert (scores["probability"].isna() == (scores["blank_reason"] != "")).all()
    groups = sk.segments(shop, smallest=5)
    assert set(groups.to_pandas()["user_id"]) == set(scores["user_id"])
    likely = sk.fit("popularity", shop, **QUICK)
    lost = sk.audience("win_back", shop, scores=leaving, recommender=likely, needs_consent=False,
                       control={"share": 0.2}, out=tmp_path / "lost")  # fmt: skip
    people = lost.to_pandas()
    assert set(people["arm"]) == {"treatment", "control"}
    assert set(people["user_id"]) <= set(scores["user_id"])
    contacts = pd.DataFrame({"user_id": scores["user_id"], "consent": "true",
                             "email": [f"{u}@example.org" for u in scores["user_id"]]})  # fmt: skip
    contacts.to_csv(tmp_path / "contacts.csv", index=False)
    sent = pd.read_csv(sk.upload(lost, tmp_path / "contacts.csv", "klaviyo", tmp_path / "list.csv", traits=[]))
    assert len(sent) == (people["arm"] == "treatment").sum()
    with pytest.raises(sk.UserError, match=r"there is no tool 'klavio'. Did you mean 'klaviyo'"):
        sk.upload(lost, tmp_path / "contacts.csv", "klavio", tmp_path / "more.csv")
