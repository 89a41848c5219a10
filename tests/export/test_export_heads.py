"""Bundles of networks that say several things at once: what further tasks expect, and quantiles of days."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest

from customers.test_totals_verbs import FEW, rows
from house import House
from javascript import node
from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.bundles.answer.everybody import answer_everybody
from shopkeeper.bundles.answer.wire import answered, response_schema
from shopkeeper.bundles.targets import write_triton
from shopkeeper.pipeline.score import score
from shopkeeper.programs.waits import LEVELS, of_hazards

WORDS = ("dataset=rhythm", "split=temporal", *FEW, "model.max_length=8", "model.epochs=3", "model.lr=0.01",
         "trainer.precision=fp32")  # fmt: skip
ASKED = {
    # in no order of the alphabet: the bundle's manifest has names in that order
    "several": ("model=gru", "task=churn", "task.together=[spend,orders]", "model.width=4"),
    "waits": ("model=transformer", "task=next_order", "task.together=[churn,spend]", "model.width=8"),
}


def as_scored(folder: Path) -> list[dict[str, Any]]:
    """A bundle's answers to raw events, which are those that score wrote as of today, blanks with their reasons."""
    bundle, table = Bundle.load(folder), pq.read_table("today.parquet").to_pylist()
    as_of = json.loads(pq.read_schema("today.parquet").metadata[b"shopkeeper"])["as_of"]
    found = []
    for row in table:
        history = [[i, "purchase", f"{t.replace(' ', 'T')}Z", float(p)] for c, i, t, p in rows() if c == row["user_id"]]
        asked = {"history": history, "as_of": as_of}
        (answer,) = answered(bundle, [asked])
        jsonschema.validate(answer, response_schema(bundle.manifest))
        assert answer["reason"] == row["blank_reason"]
        key = "probability" if "probability" in row else "expected"
        for got, wanted in ((answer[key], row[key]), *((v, row[name]) for name, v in answer["further"].items())):
            assert got == (None if row["blank_reason"] else pytest.approx(wanted, rel=1e-5))
        if "quantiles" in answer:
            assert not row["blank_reason"]
            for level, days in zip(bundle.manifest["levels"], answer["quantiles"], strict=True):
                scored = row[f"days_{100 * level:.0f}"]
                assert days == pytest.approx(20 if scored is None else scored, abs=0.01)
        if not row["blank_reason"]:
            found.append(answer)
    return found


@pytest.fixture(params=ASKED)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that was exported, and scored as of today."""
    house = House(tmp_path)
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60})
    monkeypatch.chdir(tmp_path)
    run = house.train("runs/it", *WORDS, *ASKED[request.param])
    score(house._composed("score", (f"run={run.path}", "to=today.parquet")))
    words = (f"name={request.param}", "golden=40", "dataset=rhythm", "split=temporal", "calibration_gate=null")
    house.export(f"run={run.path}", *words)
    return str(request.param)


def test_raw_events_are_answered_as_they_were_scored_blanks_with_their_reasons(name: str):
    folder = Path("exports") / name
    said = as_scored(folder)
    assert len(said) > 20
    assert len({round(answer["further"]["spend"], 6) for answer in said}) > 10
    assert verify(folder).ok
    assert node("verify.mjs", str(folder.resolve())).stdout == "40 golden requests, 0 answered differently\n"
    prepared = next(Path("data/prepared/rhythm").rglob("events.parquet"))
    as_of = json.loads(pq.read_schema("today.parquet").metadata[b"shopkeeper"])["as_of"]
    bundle = Bundle.load(folder)
    answer_everybody(bundle, prepared, Path("all"), as_of=as_of)
    table = pq.read_table("all/part-00000.parquet")
    assert set(bundle.manifest["further"]) < set(table.column_names)
    if name == "waits":
        days = np.stack([table[f"days_{100 * level:.0f}"].drop_null() for level in LEVELS])
        assert (np.diff(days, axis=0) >= 0).all()
        assert len(days[0]) == table["expected"].drop_null().length() == len(said)


def test_models_of_several_tasks_have_names_of_their_own_in_one_triton(name: str):
    repository = write_triton(Path("exports") / name, Path("triton"))
    own = {"several": "rhythm-churn-gru", "waits": "rhythm-next_order-transformer"}[name]
    assert {path.parent.name for path in repository.glob("*/config.pbtxt")} == {own, f"{own}_graph"}


def test_hazards_become_the_days_of_the_distribution_that_they_say():
    logit = np.full((1, 400), np.log(0.02 / 0.98))  # 2 % of those who have not ordered do in each period
    quantile, mean = of_hazards(logit, {"of_quantile": [0, 0, 0, 0, 5], "of_mean": -1}, 400)
    right = [np.log(1 - level) / np.log(0.98) for level in LEVELS]
    np.testing.assert_allclose(quantile[0], np.add(right, [0, 0, 0, 0, 5]), atol=0.01)
    assert mean[0] == pytest.approx(1 / 0.02 - 0.5 - 1, abs=0.02)
    early, _ = of_hazards(logit, {"of_quantile": [-400] * 5, "of_mean": 0}, 400)
    assert (early == 0).all()
