"""`task=next_query` through all verbs: searches are asked about, queries are suggested, answers are texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from garden import CONFIG, garden

from house import House
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.errors import UserError
from shopkeeper.files import read_json

HERE = ("dataset=garden", "task=next_query")
RULES = "runs/garden/next_query/temporal/item_to_item"
POPULAR = "runs/garden/next_query/temporal/popularity"
ORACLE = {"rose": "rose fertilizer", "pond": "teichfolie 2", "bonsai": "盆栽 はさみ"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory):
    """A garden shop of which two recommenders are trained, by searches."""
    place = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(place)
        garden(place / "raw")
        spec = {
            "defaults": [{"override /split@_global_.split": "temporal"}],
            **CONFIG,
            "filter_seen": False,
            "temporal": {"validation_days": 10, "test_days": 10},
        }
        (place / "conf/dataset").mkdir(parents=True)
        (place / "conf/dataset/garden.yaml").write_text(yaml.safe_dump(spec))
        house = House(place)
        house.train(RULES, "model=item_to_item", "model.relation=alternative", *HERE)
        house.train(POPULAR, "model=popularity", *HERE)
        yield house


def test_the_task_asks_for_searches_whatever_the_dataset_says(house: House):
    run = read_json(Path(RULES) / "metrics.json")
    assert run["task"] == "next_query"
    assert run["test"]["ndcg@10"]["value"] == 1.0  # in this shop the look says what is searched for
    assert read_json(Path(POPULAR) / "metrics.json")["test"]["ndcg@10"]["value"] < 0.9
    timeline = json.loads(next(Path("data/prepared/garden/splits").glob("*/timeline.json")).read_text())
    assert timeline["spec"]["target_events"] == ["search"]
    assert timeline["catalogue"]["n_items"] == 4


def test_evaluate_compares_suggestions_with_their_baselines_and_writes_a_report(house: House):
    house.evaluate(
        *HERE,
        f"runs=[{POPULAR}]",
        "evaluation.resamples=20",
        "report.resamples=20",
        "report.shuffle=false",
        "report.customers=5",
        "out=report",
    )
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert "What will they search for next?" in page
    assert "rose fertilizer" in page
    assert "query:" not in page
    compared = {path.name for path in Path("report").rglob("*") if path.is_dir()}
    assert {"recency", "personal_frequency", "recent_popularity", "item_to_item"} <= compared
    assert Path("report/searches.parquet").is_file()


def test_a_bundle_suggests_texts_and_reads_what_was_typed(house: House):
    house.export(f"run={RULES}", *HERE, "name=suggestions", "k=4")
    bundle = Bundle.load(Path("exports/suggestions"))
    at = "2024-03-02T10:00:00Z"

    def first(*history) -> str:
        return (bundle.answer([list(history)], as_of=at)[0].items or [("", 0.0)])[0][0]

    for look, query in ORACLE.items():
        assert first([look, "view", "2024-03-01T10:00:00Z"]) == query
    # After a search only what was looked at since then counts.
    search = {"query": " ROSE fertilizer", "timestamp": "2024-03-01T11:00:00Z"}
    assert first(["rose", "view", "2024-03-01T10:00:00Z"], search, ["pond", "view", "2024-03-01T12:00:00Z"]) == (
        "teichfolie 2"
    )
    left = bundle.answer([[["rose", "view", "2024-03-01T10:00:00Z"]]], as_of=at, exclude=[["Rose Fertilizer"]])[0]
    assert "rose fertilizer" not in [item for item, _ in left.items or []]
    assert bundle.seen["unknown_items"] == bundle.seen["unknown_excluded"] == 0
    first({"query": "nobody asked this before", "timestamp": "2024-03-01T10:00:00Z"})
    assert bundle.seen["unknown_items"] == 1
    for wrong in ({"query": " "}, {"query": 7}, {"query": "boots", "event_type": "view"}):
        with pytest.raises(UserError, match="query"):
            first({**wrong, "timestamp": "2024-03-01T10:00:00Z"})


def test_recommend_shows_texts(house: House, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    house.recommend(f"run={RULES}", "history=[[pond,view]]", "k=1")
    assert "teichfolie 2" in capsys.readouterr().out


def test_a_shop_without_searches_is_told_what_the_task_needs(house: House):
    rows = [(f"c{n}", "pen", f"2024-01-{d:02}", "1") for n in range(3) for d in range(1, 31)]
    house.dataset("pens", rows)
    with pytest.raises(UserError, match=r"pens holds no event of target_events=\['search'\].*columns\.query"):
        house.train("runs/pens", "dataset=pens", "task=next_query", "model=popularity")
    with pytest.raises(UserError, match=r"model=logistic is for .*, not task=next_query"):
        house.train("runs/no", "model=logistic", *HERE)
