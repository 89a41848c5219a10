"""A plain table of customers with a label in place of a log: divided, trained, judged, exported, and what is wrong."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from house import House
from shopkeeper.bundles.answer.wire import answered
from shopkeeper.bundles.targets import write_triton
from shopkeeper.customers.build_table import in_disguise
from shopkeeper.customers.correction import calibration
from shopkeeper.errors import UserError
from shopkeeper.features.table import Encoding
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.score import scores_of
from shopkeeper.serving import Bundle
from shopkeeper.splits.people import PeopleSpec, divide
from shopkeeper.timeline import SplitSettings

HEADER = ("id", "months", "bill", "plan", "empty", "left", "spent")
TABLE: dict[str, Any] = {
    "labels": {"churn": {"column": "left", "one": "yes"}},
    "numbers": ["months", "bill"],
    "categories": ["plan", "empty"],
    "missing": ["?"],
}
CHOSEN = ("dataset=phones", "split=customers")


def rows(n: int = 240) -> list[list[str]]:
    """Who has been there for long stays; the yearly plan keeps people."""
    rng = np.random.default_rng(5)
    found = []
    for number in range(n):
        months, plan = int(rng.integers(0, 60)), ("monthly", "yearly")[int(rng.random() < 0.4)]
        leaves = rng.random() < 1 / (1 + np.exp(0.08 * months + 2 * (plan == "yearly") - 2))
        bill = "?" if number % 40 == 0 else f"{rng.normal(0, 30):.2f}"
        found.append([f"c{number}", str(months), bill, plan, "", ("no", "yes")[int(leaves)], f"{rng.gamma(2, 20):.2f}"])
    return found


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    write(rows())
    return House(tmp_path)


def write(lines: list[list[str]], header: tuple[str, ...] = HEADER, **told: Any) -> None:
    """`raw/phones.csv` and `conf/dataset/phones.yaml`."""
    for folder in ("raw", "conf/dataset"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    with open("raw/phones.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    spec = {
        "defaults": [{"override /split@_global_.split": "customers"}],
        "name": "phones",
        "raw": {"folder": "", "files": ["phones.csv"]},
        "reader": {"format": "csv"},
        "columns": {"user_id": "id"},
        "table": TABLE,
        "filters": {},
        **told,
    }
    Path("conf/dataset/phones.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def table_with(**changed: Any) -> dict[str, Any]:
    return {**TABLE, **changed}


def test_a_table_is_trained_compared_exported_and_scored(house: House):
    for model in ("base_rate", "logistic", "lightgbm"):
        run = house.train(f"runs/phones/churn/customers/{model}", f"model={model}", *CHOSEN, "model.min_positives=5")
        assert run.metrics["test"]["scored"]["value"] == 1
        assert run.metrics["divided"] == "by customer: 20% validation, the others test in 5 folds"
    assert open_run("runs/phones/churn/customers/logistic").metrics["test"]["auroc"]["value"] > 0.7
    house.evaluate(*CHOSEN, "report.resamples=20")
    page = Path("reports/phones/customers/report.html").read_text(encoding="utf-8")
    assert "the others test in 5 folds" in page
    assert "Who is about to leave?" in page
    label = pq.read_table("runs/phones/churn/customers/logistic/test.parquet")
    told = {line[0]: line[5] for line in rows()}
    said = zip(label["user_id"].to_pylist(), label["label"].to_pylist(), strict=True)
    assert all(told[user] == ("yes" if y else "no") for user, y in said)

    house.export("run=runs/phones/churn/customers/lightgbm", "name=gone", "golden=5", *CHOSEN)  # gives way to the next
    house.export("run=runs/phones/churn/customers/lightgbm", "name=gone", "golden=20", *CHOSEN)
    scores, instant = scores_of(open_run("runs/phones/churn/customers/lightgbm"))
    assert instant is None
    asked = [{"months": line[1], "bill": line[2], "plan": line[3], "empty": line[4]} for line in rows()]
    answers = Bundle.load("exports/gone").answer(asked)
    np.testing.assert_allclose([a.probability for a in answers], scores["probability"].to_numpy(), atol=1e-6)
    page = (write_triton(Path("exports/gone"), Path("triton")) / "README.md").read_text(encoding="utf-8")
    asked_there = json.loads(json.loads(page.partition(" -d '")[2].partition("'\n")[0])["inputs"][0]["data"][0])
    (said,) = answered(Bundle.load("exports/gone"), [asked_there])
    assert 0 < said["probability"] < 1
    with pytest.raises(UserError, match=r"row 0: there is no column 'month'\. Did you mean 'months'\?"):
        Bundle.load("exports/gone").answer([{"month": 3}])
    bundle = Bundle.load("exports/gone")
    strange = bundle.answer(
        [{"months": 3, "plan": "weekly"}, {"months": 3, "plan": None}, {"months": 3, "plan": "yearly"}]
    )
    assert [one.unknown for one in strange] == [1, 1, 0]  # a plan that nobody had is not known, as none is not
    assert bundle.seen["unknown_values"] == 2
    with pytest.raises(UserError, match="row 1: months is 'few', not a number; give one, or null"):
        Bundle.load("exports/gone").answer([{}, {"months": "few"}])


def test_without_a_run_the_command_is_named_that_makes_one(house: House):
    write(rows())
    with pytest.raises(UserError, match=r"`shopkeeper train .*model=base_rate task=churn` makes one"):
        house.evaluate(*CHOSEN)


def test_whoever_has_no_label_is_scored_and_neither_trained_nor_judged_on(house: House):
    lines = rows()
    for line in lines[:30]:
        line[5] = ""
    write(lines)
    run = house.train("run", "model=base_rate", *CHOSEN, "model.min_positives=5")
    assert run.manifest["left_out"] == {"table": {"label not known": 30}}
    judged = {*run.table("test")["user_id"].to_pylist(), *run.table("validation")["user_id"].to_pylist()}
    assert judged == {f"c{n}" for n in range(30, 240)}
    assert scores_of(run)[0]["probability"].null_count == 0


def test_amounts_of_a_column_are_asked_as_those_of_a_log(house: House):
    write(rows(), table=table_with(labels={**TABLE["labels"], "spend": {"column": "spent"}}))
    run = house.train("run", "model=lightgbm", "task=spend", *CHOSEN, "model.min_positives=5", "split.folds=1")
    actual = dict(zip(run.table("test")["user_id"].to_pylist(), run.table("test")["actual"].to_pylist(), strict=True))
    assert len(actual) == 48  # a fifth
    assert all(actual[line[0]] == float(line[6]) for line in rows() if line[0] in actual)
    with pytest.raises(UserError, match="a table with a label for task=churn and spend, not for task=orders"):
        house.train("no", "model=lightgbm", "task=orders", *CHOSEN)


def test_calibration_is_fitted_on_everybody_who_is_not_judged(house: House, monkeypatch: pytest.MonkeyPatch):
    calibrated: list[np.ndarray] = []

    def choose(said: np.ndarray, label: np.ndarray, customer: np.ndarray, seed: int) -> calibration.Calibrator:
        assert len(said) == len(label) == len(np.unique(customer))  # everybody once, by a model that had not seen them
        calibrated.append(customer)
        return calibration.Calibrator("temperature", {"slope": [2.0], "intercept": [0.0]})

    monkeypatch.setattr(calibration, "choose_calibrator", choose)
    house.train("runs/a", "model=logistic", *CHOSEN, "model.min_positives=5")
    people = divide(np.array([line[5] == "yes" for line in rows()], np.float64), None, PeopleSpec())
    judged = [np.setdiff1d(np.arange(1, 241), customer) - 1 for customer in calibrated]
    assert [fold.tolist() for fold in judged] == [[], *(fold.tolist() for fold in people.folds)]  # first who is kept


def test_a_model_learns_nothing_of_whom_it_is_asked_about(house: House, caplog: pytest.LogCaptureFixture):
    house.train("run", "model=logistic", *CHOSEN, "model.min_positives=5", "split.folds=1", "audit=full")
    with caplog.at_level(logging.WARNING):
        turned = rows()
        label = np.random.default_rng(0).permutation([line[5] for line in turned])
        write([[*line[:5], y, line[6]] for line, y in zip(turned, label.tolist(), strict=True)])
        run = house.train("shuffled", "model=logistic", *CHOSEN, "model.min_positives=5")
    assert run.metrics["test"]["auroc"]["low"] < 0.5 < run.metrics["test"]["auroc"]["high"]


def test_a_column_that_is_the_label_in_disguise_raises_an_alarm(house: House):
    lines = [[*line[:4], "gone" if line[5] == "yes" else "here", *line[5:]] for line in rows()]
    write(lines)
    run = house.train("run", "model=logistic", *CHOSEN, "model.min_positives=5")
    assert run.manifest["alarm"].startswith("of dataset=phones one column alone tells the label: empty (AUROC 1.000)")
    y = np.array([0.0, 1.0] * 50)
    columns = {"known": np.where(y == 1, np.nan, 3.0), "noise": np.random.default_rng(0).random(100)}
    rows_n = np.arange(100)
    found = in_disguise(columns, Encoding.of(columns, list(columns), [], rows_n), rows_n, y)
    assert found == [("known", 1.0)]  # that it is unknown tells
    columns = {"said": np.where(y == 1, "gone", "here").astype(object)}  # rows and labels alternate
    found = in_disguise(columns, Encoding.of(columns, [], ["said"], rows_n), rows_n, y)
    assert found == [("said", 1.0)]


def test_what_is_wrong_with_a_table_is_said_in_one_line(house: House):
    def wrong(lines: list[list[str]], words: str, **told: Any) -> None:
        write(lines, **told)
        with pytest.raises(UserError, match=words):
            house.train("no", "model=logistic", *CHOSEN)

    three = rows()
    three[7][5] = "maybe"
    wrong(three, r"the label column 'left' of churn holds 'maybe' \(1\), 'no' \(\d+\), 'yes' \(\d+\): more than two")
    both = {"churn": {"column": "left", "one": "yes", "zero": "no"}}
    wrong(three, "'maybe' is neither label 1 nor 0: add it to", table=table_with(labels=both))
    twice = {"churn": {"column": "left", "one": ["yes"], "zero": ["yes", "no"]}}
    wrong(rows(), r"table\.labels\.churn has 'yes' as one and as zero", table=table_with(labels=twice))
    never = {"churn": {"column": "left", "one": "Yes"}}
    wrong(rows(), r"and never Yes; correct table\.labels\.churn\.one", table=table_with(labels=never))
    wrong([*rows(), rows()[3]], r"1 of 241 rows are of a customer who has a row already, e\.g\. 'c3'")
    odd = rows()
    odd[9][1] = "long"
    wrong(odd, r"column 'months' shall be numbers and holds 'long' \(1 rows are no numbers\)")
    reached = [[*line[:4], f"{line[0]}@shop.org", *line[5:]] for line in rows()]
    wrong(reached, r"the column 'empty' holds e-mail addresses, .*; take it out of table\.categories and keep it in a")
    wrong(rows(), "table.labels and the features both name 'left'", table=table_with(categories=["plan", "left"]))
    wrong(rows(), "names the column 'plan' twice", table=table_with(categories=["plan", "plan"]))
    wrong([[*line[:5], "yes", line[6]] for line in rows()[:3]], "3 customers with a label are too few to divide")
    write(rows())
    for model in ("bg_nbd", "mlp"):
        with pytest.raises(UserError, match=rf"model={model} is trained on a log of .* one of base_rate, .*logistic$"):
            house.train("no", f"model={model}", *CHOSEN)
    with pytest.raises(UserError, match="is a table of customers without items; use task=churn"):
        house.train("no", "model=popularity", *CHOSEN)
    with pytest.raises(UserError, match="split=temporal divides a log, and this dataset is a table of customers"):
        house.train("no", "model=logistic", "dataset=phones", "split=temporal")
    with pytest.raises(UserError, match=r"needs a column of times: name it in columns\.timestamp"):
        house.train("no", "model=logistic", *CHOSEN, "split.by=time")


def test_one_class_leaves_a_run_without_scores_and_the_reason(house: House):
    write([[*line[:5], "yes", line[6]] for line in rows()])
    run = house.train("run", "model=logistic", *CHOSEN)
    assert run.metrics["test"]["scored"]["value"] == 0
    assert set(run.table("test")["blank_reason"].to_pylist()) == {
        "only one class in training (154 positives, 0 negatives)",
        "only one class in training (153 positives, 0 negatives)",
    }


def test_of_a_customer_with_several_rows_the_first_or_the_last_counts_where_that_is_said(house: House):
    again = rows()
    again.append([*again[3][:1], "999", *again[3][2:]])
    for how, months in (("first", float(again[3][1])), ("last", 999.0)):
        write(again, table=table_with(repeated=how))
        run = house.train(f"run_{how}", "model=base_rate", *CHOSEN, "model.min_positives=5")
        users = pq.read_table(f"{run.manifest['prepared']}/users.parquet")
        assert users.num_rows == 240
        assert users["months"][users["user_id"].to_pylist().index("c3")].as_py() == months


def test_rows_without_ids_are_numbered_by_their_line_and_time_divides_where_it_is_asked_to(house: House):
    header = ("when", *HEADER[1:])
    days = [f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in range(240)]
    write(
        [[day, *line[1:]] for day, line in zip(days, rows(), strict=True)], header, columns={"timestamp": "when"},
        timestamp={"format": "%Y-%m-%d"},
    )  # fmt: skip
    run = house.train("run", "model=base_rate", *CHOSEN, "split.by=time", "model.min_positives=5")
    assert run.table("test")["user_id"].to_pylist() == [str(n + 2) for n in range(192, 240)]
    assert run.table("validation")["user_id"].to_pylist() == [str(n + 2) for n in range(144, 192)]


def test_every_part_has_its_share_of_each_class_and_every_customer_one_place():
    label = np.array([1.0] * 50 + [0.0] * 150 + [np.nan] * 7)
    parts = divide(label, None, PeopleSpec())
    assert len(parts.folds) == 5
    assert sorted([*parts.validation, *parts.test]) == list(range(200))
    assert [int(label[fold].sum()) for fold in (parts.validation, *parts.folds)] == [10, 8, 8, 8, 8, 8]
    one = divide(label, None, PeopleSpec(folds=1, test_share=0.3, seed=4))
    assert sorted([*one.train, *one.validation, *one.test]) == list(range(200))
    assert [int(label[part].sum()) for part in (one.train, one.validation, one.test)] == [25, 10, 15]
    with pytest.raises(UserError, match=r"split.folds asks customers by chance, and split.by=time by the clock"):
        divide(label, np.arange(207), PeopleSpec(by="time", folds=3))
    with pytest.raises(UserError, match=r"split=customers: there is no setting 'fold'\. Did you mean 'folds'\?"):
        PeopleSpec.of(SplitSettings("customers", fold=3))


def test_rows_of_one_time_are_never_parted():
    time = np.repeat(np.arange(10), 20)
    parts = divide(np.arange(200) % 2.0, time, PeopleSpec(by="time", test_share=0.25, validation_share=0.25))
    assert [set(time[part].tolist()) for part in (parts.train, parts.validation, parts.test)] == [
        {0, 1, 2, 3, 4}, {5, 6}, {7, 8, 9},
    ]  # fmt: skip


def test_values_that_training_has_not_seen_are_others_and_columns_it_knows_nothing_of_are_left_out():
    columns = {
        "size": np.array([-2.0, 5.0, np.nan, -9.0]),
        "plan": np.array(["a", "b", None, "z"], object),
        "gone": np.array([None, None, None, "x"], object),
        "void": np.array([np.nan, np.nan, np.nan, 1.0]),
    }
    encoding = Encoding.of(columns, ["size", "void"], ["plan", "gone"], np.array([0, 1, 2]))
    assert encoding.names == ("size", "plan=a", "plan=b", "plan=(others)", "plan=(unknown)")
    np.testing.assert_array_equal(
        encoding.features(columns),
        [[0, 1, 0, 0, 0], [7, 0, 1, 0, 0], [np.nan, 0, 0, 0, 1], [0, 0, 0, 1, 0]],
    )
    assert Encoding.from_json(encoding.as_json()) == encoding


@pytest.mark.real
def test_telco_churn_is_told_as_well_as_is_honestly_known_of_it(raw: Path, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    words = ("model=logistic", "dataset=telco_churn", f"paths.raw={raw}")
    test = House(tmp_path).train("run", *words).metrics["test"]
    assert test["auroc"]["n"] == 5635
    assert 0.834 < test["auroc"]["value"] < 0.87  # what is far above it has seen what it is asked about
    assert test["log_loss"]["value"] < 0.4345
