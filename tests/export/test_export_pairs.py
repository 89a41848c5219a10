"""Bundles that are asked of a customer and each category or item: raw events in, what `score` says of each pair out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest

from customers.test_totals_verbs import FEW, rows
from house import House
from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.bundles.answer.everybody import answer_everybody
from shopkeeper.bundles.answer.wire import answered, response_schema
from shopkeeper.pipeline.score import score

ITEMS = ("item,kind\n", *(f"s{n},{('tea', 'cups', 'pots')[n % 3]}\n" for n in range(9)))
ASKED = {
    "lightgbm": ("task=category_propensity", "model.max_trees=20"),
    "logistic": ("task=item_propensity", "task.subjects=[s1,s2,s7]", "features=rich"),
    "base_rate": ("task=category_propensity",),
    "gru": ("task=category_propensity", "model.width=8", "model.max_length=12", "model.epochs=3"),
}


def by_user(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["user_id"], []).append(row)
    return found


def same_answers(
    bundle: Bundle, found: dict[str, list[dict[str, Any]]], names: list[str], at: str, within: float
) -> int:
    """How many of the customers that `score` was asked about have answers, all of them as `score` said."""
    scored = 0
    for user, wanted in found.items():
        history = [[i, "purchase", f"{t.replace(' ', 'T')}Z", float(p)] for c, i, t, p in rows() if c == user]
        (answer,) = answered(bundle, [{"history": history, "as_of": at}])
        jsonschema.validate(answer, response_schema(bundle.manifest))
        assert answer["reason"] == wanted[0]["blank_reason"]
        if answer["reason"]:
            assert answer["pairs"] is None
            continue
        assert [one["subject"] for one in answer["pairs"]] == [row["subject"] for row in wanted] == names
        for one, row in zip(answer["pairs"], wanted, strict=True):
            assert one["probability"] == pytest.approx(row["probability"], abs=within)
        scored += 1
    return scored


@pytest.mark.parametrize("model", ASKED)
def test_pairs_are_answered_as_they_were_scored_and_blanks_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
):
    house = House(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/items.csv").write_text("".join(ITEMS))
    items = {"file": "items.csv", "id": "item", "columns": {"category": "kind"}}
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60}, items=items)
    monkeypatch.chdir(tmp_path)
    words = ("dataset=rhythm", "split=temporal", *ASKED[model], *FEW)
    run = house.train("runs/it", f"model={model}", *words)
    words = ["name=pairs", "golden=40", "dataset=rhythm", "split=temporal", "calibration_gate=null"]
    house.export(f"run={run.path}", *words)
    assert verify("exports/pairs").ok
    bundle = Bundle.load("exports/pairs")
    ((kind, names),) = bundle.manifest["pairs"].items()
    assert set(names) == ({"s1", "s2", "s7"} if kind == "item" else {"tea", "cups", "pots"})
    at = run.metrics["windows"]["test"]
    afternoon = at.replace("T00:00:00", "T14:00:00")  # after the day's orders, which nobody counts before night
    assert afternoon != at
    for instant in (afternoon, at):
        score(house._composed("score", (f"run={run.path}", f"at={instant}", f"to={instant[11:13]}.parquet")))
        found = by_user(pq.read_table(f"{instant[11:13]}.parquet").to_pylist())
        scored = same_answers(bundle, found, names, instant, 1e-5 if model == "gru" else 1e-9)
        assert 20 < scored < len(found)
    # Later than the log the shop's newest day counts; a stranger's items are of no category.
    (late,) = bundle.answer([[("nothing known", "purchase", "2023-07-19T12:00Z")]], as_of="2024-02-01")
    assert late.reason.startswith("no purchase in the 60 days")
    answer_everybody(bundle, next(Path("data/prepared/rhythm").rglob("events.parquet")), Path("all"), as_of=at)
    table = pq.read_table("all/part-00000.parquet").to_pylist()
    assert sum(len(row["subjects"]) == 3 == len(row["probabilities"]) for row in table) == scored
    golden = json.loads(Path("exports/pairs/golden.json").read_text())["requests"]
    assert sum(bool(one["expected"]["pairs"]) for one in golden) > 10
