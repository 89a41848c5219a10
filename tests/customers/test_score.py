"""Every customer as of today: what a run says of each, and why it says nothing of some."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from customers.test_totals_verbs import FEW, SMALL, rows
from house import House, read
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.errors import UserError
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.score import score, scores_of

WINDOWS = {"horizon_days": 20, "active_days": 30}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("score"))
    renamed = [("=c0+1" if who == "c0" else who, *rest) for who, *rest in rows()]
    house.dataset("rhythm", renamed, churn=WINDOWS)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(house.place)
        house.train("runs/churn", "model=logistic", *SMALL, *FEW)
        house.train("runs/spend", "model=base_rate", "task=spend", *SMALL, *FEW)
        house.train("runs/popularity", "model=popularity", *SMALL)
    return house


@pytest.fixture(autouse=True)
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.place)


def scored(house: House, *words: str) -> None:
    score(house._composed("score", words))


def test_as_of_the_test_cutoff_everybody_has_the_score_that_evaluation_gave(house: House):
    scored(house, "run=runs/churn", "at=2023-06-28", "to=then.parquet")
    asked = pq.read_table("runs/churn/test.parquet")
    assert str(asked["instant"][0].as_py())[:10] == "2023-06-28"
    then = dict(zip(asked["user_id"].to_pylist(), asked["probability"].to_pylist(), strict=True))
    table = pq.read_table("then.parquet")
    assert table.column_names == ["user_id", "probability", "blank_reason"]
    assert table.num_rows == 80
    for user, probability, reason in zip(*table.to_pydict().values(), strict=True):
        assert probability == then.get(user), user
        assert reason == ("" if user in then else "no purchase in the 30 days before the cutoff"), user
    assert 20 < len(then) < 80
    about = json.loads(table.schema.metadata[b"shopkeeper"])
    assert about == {
        "dataset": "rhythm", "task": "churn", "model": "logistic", "seed": 1, "horizon_days": 20.0,
        "as_of": "2023-06-28T00:00:00Z", "answers": "probabilities", "leaving": True,
        "fingerprint": read("runs/churn/manifest.json")["dataset_fingerprint"],
    }  # fmt: skip


def test_a_model_that_knows_intervals_has_them_in_the_table_and_no_bound_is_none(monkeypatch: pytest.MonkeyPatch):
    plain = BaseRate.predict

    def bounded(self: BaseRate, cohort: Cohort) -> Predictions:
        n = len(cohort)
        return replace(plain(self, cohort), low=np.full(n, 1.5), high=np.full(n, np.inf))

    monkeypatch.setattr(BaseRate, "predict", bounded)
    table, _ = scores_of(open_run("runs/spend"))
    assert table.column_names == ["user_id", "expected", "low", "high", "blank_reason"]
    asked = table["expected"].to_pylist()
    assert table["low"].to_pylist() == [None if value is None else 1.5 for value in asked]
    assert set(table["high"].to_pylist()) == {None}


def test_today_is_the_end_of_the_log_and_the_file_says_so(house: House, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        scored(house, "run=runs/spend")
    table = pq.read_table("outputs/scores/rhythm-spend-base_rate-2023-07-18.parquet")
    assert table.column_names == ["user_id", "expected", "blank_reason"]
    expected = [value for value in table["expected"].to_pylist() if value is not None]
    assert len(set(expected)) == 1
    assert expected[0] > 1
    assert f"{len(expected)} of 80 customers have a score" in caplog.text
    assert "no purchase in the 30 days before the cutoff" in caplog.text


def test_as_csv_no_id_is_a_formula(house: House):
    scored(house, "run=runs/churn", "to=out/scores.csv")
    with open("out/scores.csv", newline="") as file:
        read = list(csv.DictReader(file))
    ids = [row["user_id"] for row in read]
    assert "'=c0+1" in ids
    assert "c1" in ids
    number = [float(row["probability"]) for row in read if not row["blank_reason"]]
    assert len(number) > 20
    assert 0 < min(number) <= max(number) < 1
    assert {row["probability"] for row in read if row["blank_reason"]} == {""}


def test_before_somebody_came_there_is_no_history(house: House):
    scored(house, "run=runs/churn", "at=2023-01-12", "to=early.parquet")
    reasons = pq.read_table("early.parquet")["blank_reason"].to_pylist()
    assert "no history before the cutoff" in reasons


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run=runs/popularity",), "runs/popularity recommends items and says nothing about customers"),
        (("run=runs/churn", "at=2024-01-01"), r"at=2024-01-01T00:00:00Z lies after the end of the log"),
        (("run=runs/churn", "to=scores.xlsx"), r"to=scores.xlsx ends in none of .parquet, .csv"),
        (("run=runs/churn", "at=2022-01-01"), "no customer has a purchase in the 30 days before"),
    ],
)
def test_what_cannot_be_scored_is_one_line(house: House, words: tuple[str, ...], said: str):
    with pytest.raises(UserError, match=said) as error:
        scored(house, *words)
    assert "\n" not in str(error.value)
