"""The raw files of the simulated shop: frozen, reproducible, and shaped like a shop's own log."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shopkeeper.errors import UserError
from shopkeeper.files import read_json, sha256_file
from shopkeeper.simulated.presets import FROZEN, PRESETS, parameters_hash
from shopkeeper.simulated.settings import Simulation
from shopkeeper.simulated.shop import simulate
from shopkeeper.typed import read


@pytest.fixture(scope="module")
def raw_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    simulate(Simulation(preset="demo_shop", seed=3, customers=400), folder)
    return folder


@pytest.mark.parametrize("preset", sorted(FROZEN))
def test_the_parameters_are_those_that_were_frozen(preset: str) -> None:
    assert parameters_hash(preset) == FROZEN[preset], f"{preset} was changed: give a changed shop a new name"
    assert sorted(FROZEN) == sorted(PRESETS)


def test_the_log_of_the_frozen_shop_has_not_moved(raw_files: Path) -> None:
    """Also the tables and draws made from the parameters are frozen: figures of months ago stay comparable."""
    table = pq.read_table(raw_files / "events.parquet")
    digest = hashlib.sha256()
    for name in ("user_id", "item_id", "event_type", "timestamp", "order_id"):
        digest.update("\n".join(map(str, table[name].cast(pa.string()).to_pylist())).encode())
    assert digest.hexdigest()[:16] == "f3cb05a107690afa"


def test_the_same_settings_give_the_same_bytes_and_another_seed_another_shop(raw_files: Path, tmp_path: Path) -> None:
    simulate(Simulation(preset="demo_shop", seed=3, customers=400), tmp_path / "again")
    simulate(Simulation(preset="demo_shop", seed=4, customers=400), tmp_path / "other")
    for name in ("events.parquet", "items.parquet", "users.parquet", "truth.json"):
        assert sha256_file(tmp_path / "again" / name) == sha256_file(raw_files / name)
    assert sha256_file(tmp_path / "other" / "events.parquet") != sha256_file(raw_files / "events.parquet")
    assert sha256_file(tmp_path / "other" / "items.parquet") == sha256_file(raw_files / "items.parquet")


def test_costs_are_added_when_asked_for_and_nothing_else_moves(raw_files: Path, tmp_path: Path) -> None:
    simulate(Simulation(preset="demo_shop", seed=3, customers=400, costs=True), tmp_path)
    assert sha256_file(tmp_path / "events.parquet") == sha256_file(raw_files / "events.parquet")
    plain, told = (pq.read_table(place / "items.parquet") for place in (raw_files, tmp_path))
    assert told.select(plain.column_names).equals(plain)
    price, cost, margin = (told[name].to_numpy() for name in ("price", "cost", "margin"))
    np.testing.assert_allclose(price - cost, margin, atol=0.006)
    share = cost / price
    assert (share > 0.3).all()
    assert (share < 0.9).all()
    of = {c: share[np.array(told["category"].to_pylist()) == c].mean() for c in set(told["category"].to_pylist())}
    assert max(of.values()) > 1.3 * min(of.values())  # what sells is not what pays


def test_rows_are_in_time_order_with_plain_columns(raw_files: Path) -> None:
    table = pq.read_table(raw_files / "events.parquet")
    assert table.schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
    for name in ("user_id", "item_id", "event_type", "session_id", "order_id", "channel"):
        assert table.schema.field(name).type == pa.string(), name
    time = table["timestamp"].cast(pa.int64()).to_numpy()
    assert (np.diff(time) >= 0).all()
    assert set(pc.unique(table["event_type"]).to_pylist()) == {"view", "add_to_cart", "purchase", "return"}
    assert set(pc.unique(table["channel"]).to_pylist()) == {"web", "store"}
    assert read_json(raw_files / "truth.json")["events"] == table.num_rows
    items = set(pq.read_table(raw_files / "items.parquet")["item_id"].to_pylist())
    assert set(pc.unique(table["item_id"]).to_pylist()) <= items


def test_lines_of_one_order_share_customer_time_and_channel(raw_files: Path) -> None:
    bought = pq.read_table(raw_files / "events.parquet").filter(pc.field("event_type") == "purchase")
    grouped = bought.group_by("order_id").aggregate(
        [("user_id", "count_distinct"), ("timestamp", "count_distinct"), ("channel", "count_distinct"),
         ("item_id", "count_distinct"), ("item_id", "count")]
    )  # fmt: skip
    for column in ("user_id_count_distinct", "timestamp_count_distinct", "channel_count_distinct"):
        assert pc.max(grouped[column]).as_py() == 1
    assert grouped["item_id_count_distinct"].equals(grouped["item_id_count"]), "an item is in an order once"
    assert pc.max(grouped["item_id_count"]).as_py() > 1


def test_a_customer_has_one_visit_a_day_and_order_lines_are_its_end(raw_files: Path) -> None:
    table = pq.read_table(raw_files / "events.parquet").filter(pc.field("event_type") != "return")
    day = pc.floor_temporal(table["timestamp"], unit="day")
    visits = pa.table({"user": table["user_id"], "day": day, "session": table["session_id"]})
    seen = visits.group_by(["user", "day"]).aggregate([("session", "count_distinct")])
    assert pc.max(seen["session_count_distinct"]).as_py() <= 1
    own = table.to_pandas().sort_values(["user_id", "timestamp"], kind="stable")
    own["day"] = own.timestamp.dt.floor("D")
    last = own.groupby(["user_id", "day"], sort=False).event_type.agg(["last", lambda e: (e == "purchase").any()])
    assert (last["last"][last.iloc[:, 1]] == "purchase").all()


def test_returns_follow_what_was_bought(raw_files: Path) -> None:
    frame = pq.read_table(raw_files / "events.parquet").to_pandas()
    back, bought = frame[frame.event_type == "return"], frame[frame.event_type == "purchase"]
    assert len(back) > 20
    both = back.merge(bought, on=["order_id", "item_id", "user_id"], suffixes=("", "_bought"), how="left")
    assert len(both) == len(back)
    assert (both.timestamp > both.timestamp_bought).all()
    assert (both.price == both.price_bought).all()
    assert (both.quantity == both.quantity_bought).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preset": "demo_shopp"}, "Did you mean 'demo_shop'"),
        ({"sede": 1}, "Did you mean 'seed'"),
        ({"customers": 0}, "at least 1"),
        ({"customers": "many"}, "simulate.customers"),
        ({"customers": 2.5}, "whole number"),
        ({"events": -100}, "simulate.events"),
    ],
)
def test_senseless_settings_are_named(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(Simulation, settings, "simulate")


@pytest.mark.parametrize("preset", sorted(FROZEN))
def test_one_setting_says_how_many_events(preset: str, tmp_path: Path) -> None:
    truth = simulate(Simulation(preset=preset, events=30_000, customers=7), tmp_path)
    assert truth["events"] == pytest.approx(30_000, rel=0.12)
    assert pq.ParquetFile(tmp_path / "events.parquet").metadata.num_rows == truth["events"]


def test_a_large_shop_is_written_chunk_by_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids go on counting from chunk to chunk: no order, session or customer of one chunk becomes another's."""
    monkeypatch.setattr("shopkeeper.simulated.shop.CHUNK", 60)
    truth = simulate(Simulation(preset="seasonal", seed=2, customers=150, identities=True, campaign=True), tmp_path)
    file = pq.ParquetFile(tmp_path / "events.parquet")
    assert file.metadata.num_row_groups == 3
    table = file.read()
    assert table.num_rows == truth["events"]
    bought = table.filter(pc.field("event_type") == "purchase")
    for key in ("order_id", "session_id"):
        times = bought.group_by(key).aggregate([("timestamp", "count_distinct")]).filter(pc.field(key).is_valid())
        assert pc.max(times["timestamp_count_distinct"]).as_py() == 1
    users = pq.read_table(tmp_path / "users.parquet")["user_id"]
    assert len(users) == 150
    assert len(users.unique()) == 150
    persons = pq.read_table(tmp_path / "hidden" / "persons.parquet")
    assert len(persons["person"].unique()) == 150
