"""A table in memory becomes the same dataset whatever library and kinds of columns it has, or one line says why not."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import shopkeeper as sk
from api.shoplog import COLUMNS, frame


def fingerprint(table: Any, **told: Any) -> str:
    data = sk.Dataset.from_pandas(table, **{**COLUMNS, **told})
    return data.prepared.fingerprint


@pytest.fixture(scope="module")
def usual() -> str:
    return fingerprint(frame())


@pytest.mark.parametrize(
    "other",
    [
        lambda f: pl.from_pandas(f),
        lambda f: pl.from_pandas(f).lazy(),
        lambda f: pl.from_pandas(f).with_columns(pl.col("sku").cast(pl.Categorical)),
        lambda f: pa.Table.from_pandas(f),
        lambda f: {name: f[name].tolist() for name in f},
        lambda f: f.set_index("who"),
        lambda f: f.set_index(["who", "sku"]),
        lambda f: f.astype({"sku": "category"}),
        lambda f: f.astype({"who": "category"}),
        lambda f: f.astype({"who": "Int64", "price": "Float64", "sku": "string"}),
        lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
        lambda f: f.astype({"who": float}),
        lambda f: f.astype({"who": str}),
        lambda f: f.assign(bought=f["bought"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
        lambda f: f.assign(bought=f["bought"].astype(str)),
        lambda f: f.assign(bought=f["bought"].astype("datetime64[s]").astype("int64")),
        lambda f: f.assign(bought=f["bought"].astype("datetime64[ms]").astype("int64")),
        lambda f: f.assign(extra=[["a"]] * len(f)),  # a column that nobody asks for
        lambda f: f.iloc[np.arange(len(f))].set_index(np.arange(len(f))[::-1]),
    ],
)
def test_the_same_log_in_another_shape_is_the_same_dataset(usual: str, other: Any):
    assert fingerprint(other(frame())) == usual


def test_times_without_a_zone_are_the_shops():
    local = sk.Dataset.from_pandas(frame(), **COLUMNS, time_zone="America/New_York")
    first = local.to_pandas()["timestamp"].min()
    assert first == pd.Timestamp("2024-01-01 14:00", tz="UTC")  # nine o'clock in New York


@pytest.mark.parametrize(("kind", "expected"), [("int64", 7), (str, "7"), ("category", 7), (float, 7)])
def test_ids_come_back_as_they_were(kind: Any, expected: Any):
    data = sk.Dataset.from_pandas(frame().astype({"who": kind}), **COLUMNS)
    assert data.to_pandas()["user_id"].iloc[0] == expected
    assert type(data.users()["user_id"].tolist()[0]) is type(expected)
    model = sk.fit("popularity", data, evaluation={"resamples": 20, "refit": False})
    listed = model.recommend([expected, 14], k=2)
    assert listed["user_id"].tolist() == [expected, expected, type(expected)(14), type(expected)(14)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: pd.concat([f, f[["sku"]]], axis=1), "2 columns are called 'sku'"),
        (lambda f: f.rename(columns={"who": "whom"}), "there is no column 'who'. Did you mean 'whom'?"),
        (lambda f: f.assign(who=f["who"] + 0.5), "column 'who' holds 7.5, a number with a fraction, which is no id"),
        (lambda f: f.assign(who=[7, "x"] * (len(f) // 2)), "column 'who' holds values of several kinds (int, str)"),
        (lambda f: f.assign(who=f["who"] > 7), "column 'who' holds bool, and ids are text or whole numbers"),
        (lambda f: f.assign(sku=[b"s"] * len(f)), "column 'sku' holds bytes; decode it to text first"),
        (lambda f: f.assign(sku=[["s1"]] * len(f)), "and a row must be one event"),
        (lambda f: f.assign(bought="yesterday"), "column 'bought' holds no times ('yesterday')"),
        (lambda f: f.assign(bought=f["bought"] - f["bought"].min()), "column 'bought' holds duration"),
        (lambda f: f.iloc[:0], "the frame has no rows"),
        (lambda f: f.assign(sku=pd.cut(f["price"], 3)), "column 'sku' holds extension"),
        (lambda f: f.assign(who=[uuid.uuid5(uuid.NAMESPACE_DNS, str(w)) for w in f["who"]]), "make text of it first"),
        (lambda f: f["sku"], "a Series is no table"),
        (lambda f: f["sku"].tolist(), "a list is no table; give a pandas or Polars DataFrame"),
        (lambda f: "log.csv", "log.csv is a path"),
        (lambda f: f.set_index("who", drop=False), "'who' is the name of a column and of the index"),
    ],
)
def test_what_is_no_log_ends_in_one_line(change: Any, words: str):
    with pytest.raises(sk.UserError, match=r".") as e:
        fingerprint(change(frame()))
    assert words in str(e.value)
    assert "\n" not in str(e.value)


def test_a_column_that_is_customer_and_item_is_a_mistake_and_a_day_that_may_be_a_month_is_said(caplog):
    with pytest.raises(sk.UserError, match="user and item are both column 'who'"):
        fingerprint(frame(), item="who")
    with pytest.raises(sk.UserError, match="user names no column"):
        fingerprint(frame(), user=None)
    early = frame()[frame()["bought"].dt.day <= 12]
    fingerprint(early.assign(bought=early["bought"].dt.strftime("%d/%m/%Y %H:%M")))
    assert "column 'bought': the dates fit %d/%m/%Y %H:%M and %m/%d/%Y %H:%M alike" in caplog.text


def test_rows_without_an_id_stop_it_or_are_kept_aside_where_that_is_allowed():
    holed = frame()
    holed.loc[::10, "who"] = np.nan  # which makes a column of numbers floats
    with pytest.raises(sk.UserError, match=r"row 1 of the frame, column 'who': no user_id.*10\.0%.*max_rejected_share"):
        fingerprint(holed)
    data = sk.Dataset.from_pandas(holed, **COLUMNS, max_rejected_share=0.2)
    assert len(data.rejected()) == len(holed.iloc[::10])
    assert set(data.rejected()["reason"]) == {"no user_id"}
    assert data.n_events == len(holed) - len(data.rejected())
    assert data.users()["user_id"].tolist()[0] in set(frame()["who"])


@pytest.mark.parametrize(("no", "yes"), [(0, 1), (False, True), (0.0, 1.0)])
def test_kinds_of_events_may_be_numbers_or_truth_values(no: Any, yes: Any):
    log = frame().assign(bought_it=[no, yes] * (len(frame()) // 2))
    data = sk.Dataset.from_pandas(log, **COLUMNS, type="bought_it", types={no: "view", yes: "purchase"})
    assert data.to_pandas()["event_type"].value_counts().to_dict() == {"view": 600, "purchase": 600}


def test_one_column_of_items_is_told_as_a_list_is():
    told = {"item_columns": "title", "user_columns": "town"}
    log = frame().assign(title=lambda f: "T " + f["sku"], town="Bonn")
    data = sk.Dataset.from_pandas(log, **COLUMNS, **told)
    assert set(data.items()["title"]) == set(log["title"])
    assert set(data.users()["town"]) == {"Bonn"}


def test_kinds_of_events_are_told_or_asked_for():
    log = frame().assign(kind=["buy", "look"] * (len(frame()) // 2))
    with pytest.raises(sk.UserError, match=r"types=.*'buy': 'purchase'.*'look': 'view'"):
        fingerprint(log, type="kind")
    with pytest.raises(sk.UserError, match=r"types: 'purchas' is no kind of event. Did you mean 'purchase'\?"):
        fingerprint(log, type="kind", types={"buy": "purchas", "look": "view"})
    data = sk.Dataset.from_pandas(log, **COLUMNS, type="kind", types={"buy": "purchase", "look": "view"})
    assert data.to_pandas()["event_type"].value_counts().to_dict() == log["kind"].replace(
        {"buy": "purchase", "look": "view"}
    ).value_counts().to_dict()  # fmt: skip
    assert data.spec["target_events"] == ["purchase"]
    with pytest.raises(
        sk.UserError, match=r"event='purchse' is no kind of event. Did you mean 'purchase'\?.* is type='…'"
    ):
        fingerprint(frame(), event="purchse")


def test_whether_seen_items_come_back_is_seen_in_the_log():
    assert sk.Dataset.from_pandas(frame(), **COLUMNS).spec["filter_seen"] is False
    once = frame().drop_duplicates(["who", "sku"])
    assert sk.Dataset.from_pandas(once, **COLUMNS).spec["filter_seen"] is True
    assert sk.Dataset.from_pandas(once, **COLUMNS, filter_seen=False).spec["filter_seen"] is False
    looked = pd.concat([once.assign(what="view"), once.assign(what="purchase")])
    assert sk.Dataset.from_pandas(looked, **COLUMNS, type="what").spec["filter_seen"] is False


def test_what_is_known_of_items_comes_from_a_table_or_from_the_log():
    names = pd.DataFrame({"sku": [f"s{n}" for n in range(1, 13)], "title": [f"Item {n}" for n in range(1, 13)]})
    from_table = sk.Dataset.from_pandas(frame(), **COLUMNS, items=names).items()
    log = frame().merge(names, on="sku", how="left", sort=False).sort_values(["who", "bought"], kind="stable")
    from_log = sk.Dataset.from_pandas(log, **COLUMNS, item_columns=["title"]).items()
    expected = dict(zip(names["sku"], names["title"], strict=True))
    for found in (from_table, from_log):
        assert dict(zip(found["item_id"], found["title"], strict=True)) == expected
    with pytest.raises(sk.UserError, match="items has neither a column 'sku' nor 'item_id'"):
        sk.Dataset.from_pandas(frame(), **COLUMNS, items=names.rename(columns={"sku": "code"}))


def test_a_frame_of_items_that_matches_little_is_told_of_in_words_of_frames(caplog: pytest.LogCaptureFixture):
    names = pd.DataFrame({"sku": [f"S{n}" for n in range(1, 13)], "title": "?"})
    sk.Dataset.from_pandas(frame(), **COLUMNS, items=names, name="loud").items()
    (said,) = [text for text in caplog.messages if "matched" in text]
    assert said.startswith("items=…: 0 of 12 items matched; 12 ids differ by capital letters only")
    assert said.endswith("; spell the ids alike in both frames")


def test_settings_of_a_dataset_are_checked_by_name():
    with pytest.raises(sk.UserError, match=r"from_pandas has no argument .temporl.. Did you mean 'temporal'"):
        fingerprint(frame(), temporl={"test_days": 7})
    data = sk.Dataset.from_pandas(frame(), **COLUMNS, temporal={"test_days": 5})
    assert data.spec["temporal"] == {"validation_days": 7, "test_days": 5}  # nine in ten pauses are no longer
    assert sk.Dataset.from_pandas(frame(), **COLUMNS, temporal=None).spec["temporal"] is None


def test_windows_of_a_log_of_hours_are_shares_and_a_window_is_told_one_way():
    start = frame()["bought"].min()
    hours = frame().assign(bought=[start + pd.Timedelta(minutes=3 * n) for n in range(len(frame()))])
    data = sk.Dataset.from_pandas(hours, **COLUMNS)
    assert data.spec["temporal"] == {"validation_share": 0.15, "test_share": 0.15}
    assert len(sk.fit("popularity", data, split="temporal").metrics())
    told = sk.Dataset.from_pandas(hours, **COLUMNS, temporal={"test_days": 0.1})
    assert told.spec["temporal"] == {"validation_share": 0.15, "test_days": 0.1}


@pytest.mark.parametrize(("more", "kind"), [
    ((), "purchase"), (("session",), "view"), (("session", "price"), "purchase"), (("quantity",), "purchase"),
])  # fmt: skip
def test_what_rows_without_a_kind_are_is_one_rule_for_files_and_frames(
    more: tuple[str, ...], kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    columns = {"user": "customer", "item": "item", "time": "date"} | {ours: ours for ours in more}
    frame = pd.DataFrame({name: [f"{name[0]}{n % 7}" for n in range(90)] for name in columns.values()})
    frame = frame.assign(**{ours: range(1, 91) for ours in more if ours in ("price", "quantity")})
    frame["date"] = [f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in range(90)]
    frame.to_csv(tmp_path / "list.csv", sep=";", index=False)
    with caplog.at_level("INFO"):
        data = sk.Dataset.from_pandas(frame, **columns)
        assert f"every row is taken as a {kind}: event='…' says another" in caplog.text
        assert data.spec["event_type"] == sk.Dataset.from_file(tmp_path / "list.csv").spec["event_type"] == kind
        assert f"list.csv: no column tells kinds of events apart; every row is taken as a {kind}" in caplog.messages
    assert sk.Dataset.from_pandas(frame, **columns, event="favourite").spec["event_type"] == "favourite"


def test_a_file_is_guessed_as_new_dataset_does_and_what_is_told_goes_before(tmp_path: Path, usual: str):
    frame().rename(columns={"who": "customer_id"}).to_csv(tmp_path / "orders.csv", index=False)
    data = sk.Dataset.from_file(tmp_path / "orders.csv")
    assert data.spec["columns"] == {"user_id": "customer_id", "item_id": "sku", "timestamp": "bought", "price": "price"}
    assert (data.n_events, data.n_users, data.n_items) == (len(frame()), 40, 12)
    told = sk.Dataset.from_file(tmp_path / "orders.csv", user="sku", item="customer_id")
    assert (told.n_users, told.n_items) == (12, 40)
    with pytest.raises(sk.UserError, match=r"orders.csv has no column 'custmer_id'. Did you mean 'customer_id'\?"):
        sk.Dataset.from_file(tmp_path / "orders.csv", user="custmer_id")
    whole, half = frame().rename(columns={"who": "customer_id"}), len(frame()) // 2
    (tmp_path / "several").mkdir()
    for n, part in enumerate((whole[:half], whole[half:]), start=1):
        part.to_csv(tmp_path / f"several/orders_{n}.csv", index=False)
    for path in (tmp_path / "several", tmp_path / "several" / "orders_*.csv"):
        assert sk.Dataset.from_file(path, name="both").prepared.fingerprint == data.prepared.fingerprint
    with pytest.raises(sk.UserError, match="is not a file"):
        sk.Dataset.from_file(tmp_path / "nothing.csv")
