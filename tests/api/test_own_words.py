"""What goes wrong with a table in memory is said of that table, and not of the files and configs behind it."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml

import shopkeeper as sk
from api.shoplog import COLUMNS, frame

QUICK: dict[str, Any] = {"evaluation": {"resamples": 20, "refit": False}}


@pytest.fixture(scope="module")
def data() -> sk.Dataset:
    return sk.Dataset.from_pandas(frame(), **COLUMNS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: f.assign(price="€" + f["price"].astype(str)),
            r"row 1 of the frame, column 'price': not a number \(",
        ),
        (
            lambda f: f.assign(who=f["who"].where(f.index > 99).astype("Int64")),
            "row 1 of the frame, column 'who': no us",
        ),
        (
            lambda f: f.assign(bought=f["bought"].where(f.index > 99)),
            "row 1 of the frame, column 'bought': no timestamp",
        ),
    ],
)
def test_rows_that_are_no_events_are_said_to_be_those_of_the_frame(change: Any, words: str):
    found = sk.Dataset.from_pandas(change(frame()), **COLUMNS)
    for ask in (lambda: found.n_events, lambda: sk.fit("popularity", found, **QUICK)):
        with pytest.raises(sk.UserError, match=words) as e:
            ask()
        assert "allow it with Dataset.from_pandas(…, max_rejected_share=…), now 0.01" in str(e.value)
        assert not {"parquet", "reader", "config"} & set(str(e.value).replace(".", " ").split())


def test_a_few_rows_that_are_left_out_are_said_once(caplog: pytest.LogCaptureFixture):
    log = frame()
    log.loc[[3, 5], "bought"] = pd.NaT
    found = sk.Dataset.from_pandas(log, **COLUMNS)
    with caplog.at_level(logging.WARNING):
        sk.fit("popularity", found, **QUICK)
        assert found.n_events == len(log) - 2
    said = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert said == ["shop: rows left out: 2 × bought: no timestamp (rejected() of the dataset shows them)"]
    assert found.rejected()["row"].tolist() == [4, 6]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.set_index("who").rename_axis(None).set_axis(f["who"].astype(str)).rename_axis(None),
         "The index has no name; if it is that, frame = frame.rename_axis(index='who')"),
        (lambda f: pd.concat({"log": f}, axis=1), "Columns have levels; keep one of them"),
        (lambda f: f.assign(sku=pd.cut(f["price"], 3)), "which is neither text, number nor time; make one of it first"),
    ],
)  # fmt: skip
def test_where_else_a_column_may_be_is_said(change: Any, words: str):
    with pytest.raises(sk.UserError) as e:
        sk.Dataset.from_pandas(change(frame()), **COLUMNS)
    assert words in str(e.value)


@pytest.mark.parametrize(
    ("make", "given", "near"),
    [
        ("from_pandas", COLUMNS, "overwrite"),
        ("from_customers", {"label": "price"}, "overwrite"),
        ("from_file", {}, "refit"),  # it replaces nothing
    ],
)
def test_a_misspelt_argument_is_one_of_the_call(make: str, given: dict[str, str], near: str):
    log = "log.csv" if make == "from_file" else frame()
    with pytest.raises(sk.UserError) as e:
        getattr(sk.Dataset, make)(log, **given, overwrit=True)
    assert str(e.value).startswith(f"Dataset.{make} has no argument 'overwrit'. Did you mean '{near}'?")


def test_a_misspelt_setting_of_a_block_is_not_looked_for_in_a_file():
    with pytest.raises(sk.UserError) as e:
        sk.Dataset.from_pandas(frame(), **COLUMNS, temporal={"test_dys": 3})
    assert str(e.value).startswith("Dataset.from_pandas: unknown option `temporal.test_dys`")


def test_dates_are_not_told_of_a_config(caplog: pytest.LogCaptureFixture):
    sk.Dataset.from_pandas(frame().assign(bought=lambda f: f["bought"].dt.date), **COLUMNS)
    assert "make one column of both" in caplog.text
    assert "[date, time]" not in caplog.text


def test_settings_may_be_numbers_and_lists_of_numpy(data: sk.Dataset):
    grid = np.arange(5, 7)
    model = sk.fit("item_knn", data, neighbours=grid[0], evaluation={"k": np.array([5, 10]), **QUICK["evaluation"]})
    neighbours = model.run.config["model"]["neighbours"]
    assert (neighbours, type(neighbours)) == (5, int)
    assert model.run.config["evaluation"]["k"] == [5, 10]
    listed = model.recommend(history={np.int64(3): ["s1"]}, k=np.arange(2, 3)[0])
    assert listed["user_id"].tolist() == [3, 3]


def test_settings_of_a_dataset_may_be_numbers_of_numpy():
    told = {
        "filter_seen": np.bool_(True),
        "max_rejected_share": np.float64(0.5),
        "churn": {"horizon_days": np.int64(9)},
    }
    spec = sk.Dataset.from_pandas(frame(), **COLUMNS, **told).spec
    assert yaml.safe_load(yaml.safe_dump(dict(spec)))["churn"] == {"horizon_days": 9}
    assert (spec["filter_seen"], spec["max_rejected_share"]) == (True, 0.5)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("horizon_days", "give it as task={'name': 'churn', 'windows': {'horizon_days': …}}"),
        ("test_days", "give it as split={'test_days': …}"),
        ("filter_seen", "give it as Dataset.from_pandas(…, filter_seen=…)"),
        ("neighbors", "Did you mean 'neighbours'?"),
    ],
)
def test_a_setting_of_somebody_else_is_said_to_be_theirs(key: str, words: str):
    with pytest.raises(sk.UserError) as e:
        sk.Estimator("item_knn", **{key: 3})
    assert words in str(e.value)


def test_windows_of_a_task_go_where_the_message_says(data: sk.Dataset):
    few = sk.Dataset.from_pandas(frame(customers=1), **COLUMNS)  # too few pauses to propose windows by
    with pytest.raises(sk.UserError, match=r"or in the dataset churn: \{horizon_days: …, active_days: …\} .*'windows'"):
        sk.fit("base_rate", few)
    windows = {"horizon_days": 10, "active_days": 20}
    model = sk.fit("base_rate", data, task={"name": "churn", "windows": windows}, **QUICK)
    assert model.run.config["task"]["windows"]["horizon_days"] == 10


def test_windows_of_churn_are_proposed_by_the_pauses_unless_they_are_told(data: sk.Dataset):
    assert data.spec["churn"] == {"horizon_days": 7, "active_days": 7}  # everybody comes every third day
    told = sk.Dataset.from_pandas(frame(), **COLUMNS, churn={"horizon_days": 20})
    assert told.spec["churn"] == {"horizon_days": 20}
    views = sk.Dataset.from_pandas(frame(), **COLUMNS, event="view")
    assert "churn" not in views.spec


def test_units_below_zero_are_told_how_returns_are_given():
    units = np.where(frame().index % 10 == 3, -1, 1)
    back = sk.Dataset.from_pandas(frame().assign(units=units), **COLUMNS, quantity="units")
    with pytest.raises(sk.UserError, match=r"negative quantity .* what was sent back is an event of its own: type='…'"):
        _ = back.n_events
    kinds = np.where(units < 0, "return", "purchase")
    told = sk.Dataset.from_pandas(frame().assign(units=units, kind=kinds), **COLUMNS, quantity="units", type="kind")
    assert told.n_events == len(units)


def test_a_frame_in_place_of_its_column_or_of_lists_is_named(data: sk.Dataset):
    model = sk.fit("popularity", data, **QUICK)
    with pytest.raises(sk.UserError, match="users is a DataFrame; give its column of ids"):
        model.recommend(frame())
    with pytest.raises(sk.UserError, match=r"history is a DataFrame; give a list of items for each person"):
        model.recommend(history=frame()[["sku"]])


def test_a_model_that_is_given_twice_counts_once_and_names_are_short(data: sk.Dataset):
    one = sk.fit("popularity", data, **QUICK)
    other = sk.fit("popularity", data, half_life_days=5, **QUICK)
    report = sk.evaluate([one, one], report={"shuffle": False}, evaluation={"resamples": 20})
    assert report.to_pandas()["model"].tolist().count("popularity") == 1
    pair = sk.compare(one, other).pairs[0]
    assert {pair.a, pair.b} == {f"popularity ({m.path.name.removeprefix('popularity-')})" for m in (one, other)}


def test_amounts_in_place_of_a_label_of_two_values_are_told_of_a_task():
    amounts = pd.DataFrame({"who": ["a", "b", "c"], "months": [3, 40, 7], "paid": [2.5, 1.0, 7.25]})
    with pytest.raises(sk.UserError, match=r"'paid' holds numbers with fractions, and task=churn .* task='spend'"):
        sk.Dataset.from_customers(amounts, customer="who", label="paid")
    assert sk.Dataset.from_customers(amounts, customer="who", label="paid", task="spend").n_users == 3


def test_what_is_doubtful_about_ids_is_said_once_with_the_argument_that_settles_it(caplog: pytest.LogCaptureFixture):
    who = frame()["who"].astype(str).replace({"7": "guest", "14": "01", "21": "1"})
    found = sk.Dataset.from_pandas(frame().assign(who=who), **COLUMNS)
    with caplog.at_level(logging.WARNING):
        sk.fit("popularity", found, **QUICK)
    said = [r.getMessage() for r in caplog.records if "shop: user_id" in r.getMessage()]
    assert said == [
        "shop: user_id: 2.5% of the rows have 'guest', which stands for nobody in many shops; if it does here, set "
        "missing={'user_id': ['guest']} and max_rejected_share=0.04, as rows without one are rejected",
        "shop: user_id: 1 of 40 ids are another one but for leading zeros, and are kept apart",
    ]


def test_models_of_two_datasets_are_told_before_anything_is_looked_at(data: sk.Dataset, caplog):
    one = sk.fit("popularity", data, **QUICK)
    other = sk.fit("recency", sk.Dataset.from_pandas(frame(customers=30), **COLUMNS), **QUICK)
    for put_beside in (sk.evaluate, lambda models: sk.compare(*models)):
        with pytest.raises(sk.UserError, match="'recency' was trained on other data than 'popularity'; train both on"):
            put_beside([one, other])
    assert "raw files differ" not in caplog.text


def test_models_that_answered_the_same_of_a_frame_with_a_column_less_are_compared(data: sk.Dataset):
    less = sk.Dataset.from_pandas(frame(), **{ours: theirs for ours, theirs in COLUMNS.items() if ours != "price"})
    found = sk.compare(sk.fit("popularity", data, **QUICK), sk.fit("recency", less, **QUICK))
    assert len(found.to_pandas()) == 1


def test_lines_of_one_day_without_a_number_of_their_order_are_told_in_words_of_a_call(caplog: pytest.LogCaptureFixture):
    who = [f"c{n % 9}" for n in range(40) for _ in range(3)]
    day = [date(2025, 1, 1) + timedelta(days=n // 9) for n in range(40) for _ in range(3)]
    log = pl.DataFrame({"who": who, "what": [f"s{n % 7}" for n in range(120)], "day": day})
    with caplog.at_level(logging.WARNING):
        assert sk.Dataset.from_pandas(log, user="who", item="what", time="day", name="torn").n_events == 120
        together = log.with_columns(order=pl.concat_str("who", "day"))
        whole = sk.Dataset.from_pandas(together, user="who", item="what", time="day", order="order", name="whole")
        assert whole.n_events == 120
    (said,) = [r.getMessage() for r in caplog.records if "numbers orders" in r.getMessage()]
    assert said.startswith("torn: 67% of the purchases share customer and instant with the one before")
    assert said.endswith("order= names the column that does; customer and time as one text make an order of them")
