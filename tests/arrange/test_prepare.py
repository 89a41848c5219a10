"""From raw files to the prepared folder: what is kept, in which order, under which numbers, and whether it is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import read_json, sha256_tree

SHOP = {
    "name": "shop",
    "source": "https://example.org/data",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when", "price": "price", "quantity": "n"},
    "timestamp": {"unit": "s"},
    "event_type": {"column": "kind", "map": {"buy": "purchase", "see": "view", "back": "return"}},
    "max_rejected_share": 0.5,
}
LOG = """who,what,when,kind,price,n
bob,pen,1600000020,buy,1.5,2
amy,ink,1600000010,see,,
bob,ink,1600000010,buy,2.0,1
amy,pen,1600000010,buy,1.5,1
bob,pen,1600000030,back,1.5,-2
amy,ink,1600000005,buy,-2.0,1
"""


def prepare(tmp_path: Path, text: str | bytes = LOG, name: str = "log.csv", **changes) -> Prepared:
    raw = tmp_path / "raw"
    raw.mkdir(exist_ok=True)
    (raw / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return Prepared.open(prepare_dataset({**SHOP, **changes}, raw, tmp_path / "out", progress=False))


def test_ids_are_numbered_by_first_appearance_in_time_then_file_order(tmp_path: Path):
    p = prepare(tmp_path)
    assert p.users["user_id"].to_pylist() == ["amy", "bob"]
    assert p.items["item_id"].to_pylist() == ["ink", "pen"]


def test_events_are_sorted_by_user_time_and_file_order(tmp_path: Path):
    p = prepare(tmp_path)
    assert p.offsets.tolist() == [0, 2, 5]
    assert p.events.item.tolist() == [1, 2, 1, 2, 2]
    assert p.events.timestamp.tolist() == [
        t * 10**6 for t in (1600000010, 1600000010, 1600000010, 1600000020, 1600000030)
    ]
    table = pq.read_table(p.path / "events.parquet")
    assert table["item_id"].to_pylist() == ["ink", "pen", "ink", "pen", "pen"]
    assert table["event_type"].to_pylist() == ["view", "purchase", "purchase", "purchase", "return"]


def test_a_return_is_linked_to_its_purchase_and_counts_positive_units(tmp_path: Path):
    p = prepare(tmp_path)
    assert pq.read_table(p.path / "events.parquet")["returns_row"].to_pylist() == [None, None, None, None, 3]
    assert p.events.quantity.tolist()[2:] == [1, 2, 2]
    assert np.isnan(p.events.quantity[0])
    assert p.manifest["returns"] == {"linked": 1, "without_purchase": 0}


def test_a_rejected_row_is_kept_with_file_line_column_reason_and_value(tmp_path: Path):
    p = prepare(tmp_path)
    assert pq.read_table(p.path / "rejected.parquet").to_pylist() == [
        {"file": "log.csv", "row": 7, "column": "price", "reason": "negative price", "value": "-2.0"}
    ]
    assert p.manifest["rejected"] == {"price: negative price": 1}


def test_the_manifest_counts_ties_types_and_the_span_of_time(tmp_path: Path):
    manifest = prepare(tmp_path).manifest
    assert manifest["ties"] == {"rows": 1, "share": 0.2, "of_purchases": 0.0}  # seen and bought at one instant
    assert manifest["event_types"] == {"view": 1, "purchase": 3, "return": 1}
    assert manifest["time_span"]["last"] == 1600000030 * 10**6
    assert manifest["unknown"] == {"price": 1, "quantity": 1}


def test_too_many_rejected_rows_stop_the_run_and_leave_nothing(tmp_path: Path):
    with pytest.raises(UserError, match=r"log.csv, row 7, column 'price': negative price .*max_rejected_share"):
        prepare(tmp_path, max_rejected_share=0.1)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_missing_raw_files_say_where_to_get_them_and_where_to_put_them(tmp_path: Path):
    with pytest.raises(UserError, match=r"log.csv is missing: get it from https://example.org/data.*SHOPKEEPER_RAW"):
        prepare_dataset(SHOP, tmp_path, tmp_path / "out")


def test_an_unknown_option_names_the_nearest_one(tmp_path: Path):
    with pytest.raises(UserError, match=r"unknown option `filters.kcore`. Did you mean 'k_core'"):
        prepare(tmp_path, filters={"kcore": 5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"user_id": "who"}}, "columns.item_id is missing"),
        ({"columns": {"user_id": "who", "item_id": "what"}}, "columns.timestamp does not say"),
        ({"columns": {**SHOP["columns"], "prise": "x"}}, "unknown option `columns.prise`. Did you mean 'price'"),
        (
            {"event_type": {"value": "purchased"}},
            "event_type.value is 'purchased', no known one. Did",
        ),
        (
            {"timestamp": {"unit": "seconds"}},
            "timestamp.unit is 'seconds', no known one. Did you mean 'ns'? Valid: d, ms",
        ),
        ({"schema": {"price": {"minimum": 0}}}, "unknown option `schema.price.minimum`. Did you mean 'min'"),
        ({"schema": {"price": {"min": "low"}}}, "schema.price.min is 'low'; it must be a number"),
        ({"schema": {"price": ["required"]}}, "schema.price is ['required']; give options and their values"),
        ({"schema": {"price": {"required_for": "purchase"}}}, "schema.price.required_for is 'purchase'; give a list"),
        ({"schema": {"price": {"required_for": ["buy"]}}}, "schema.price.required_for[0] is 'buy', no known one"),
        ({"schema": {"timestamp": {"min": 0}}}, "unknown option `schema.timestamp.min`"),
        (
            {"schema": {"order_id": {"required": True}}},
            "schema.order_id has rules, but no column; set columns.order_id",
        ),
        ({"reject": [{"column": "what", "matches": "(", "reason": "x"}]}, "column 'what' has a bad pattern"),
        ({"max_rejected_share": 7}, "max_rejected_share is 7"),
        ({"raw": None}, "give `raw`"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(tmp_path: Path, change: dict, message: str):
    with pytest.raises(UserError) as caught:
        prepare(tmp_path, **change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_can_be_required_for_some_event_types_only(tmp_path: Path):
    log = """who,what,when,kind,price,n,order
u1,i1,1600000000,see,,,
u1,i1,1600000001,buy,2.5,1,o1
u1,i2,1600000002,buy,2.5,,o1
u2,i2,1600000003,buy,2.5,1,
u2,i2,1600000004,back,,-1,
"""
    kinds = ["purchase", "return"]
    p = prepare(
        tmp_path, log, columns={**SHOP["columns"], "order_id": "order"}, max_rejected_share=1,
        schema={"quantity": {"required_for": kinds}, "order_id": {"required_for": kinds[:1]}},
    )  # fmt: skip
    rejected = pq.read_table(p.path / "rejected.parquet").select(["row", "column", "reason"]).to_pylist()
    assert rejected == [
        {"row": 4, "column": "n", "reason": "no quantity (required for purchase, return)"},
        {"row": 5, "column": "order", "reason": "no order_id (required for purchase)"},
    ]
    assert p.manifest["event_types"] == {"view": 1, "purchase": 1, "return": 1}


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match=r"cannot write .*out: No space left on device; free some space"):
        prepare(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    first = sha256_tree(prepare(tmp_path).path, skip=frozenset())
    assert sha256_tree(prepare(tmp_path).path, skip=frozenset()) == first


def test_order_only_data_has_no_times_and_keeps_the_order_of_the_file(tmp_path: Path):
    p = prepare(
        tmp_path, "7 b a b\n007 c\n7 d\n", "log.csv", reader={"format": "sequences"}, event_type="rating",
        columns={}, timestamp={},
    )  # fmt: skip
    assert p.events.timestamp is None
    assert not (p.path / "timestamp.npy").exists()
    assert p.users["user_id"].to_pylist() == ["7", "007"]
    assert p.items["item_id"].to_pylist() == ["b", "a", "c", "d"]
    assert p.events.item.tolist() == [1, 2, 1, 4, 3]


def test_filters_are_counted_before_and_after(tmp_path: Path):
    rows = "".join(f"u{u},i{i},{1600000000 + 10 * u + i},buy,1,1\n" for u in range(4) for i in range(u + 1))
    p = prepare(tmp_path, "who,what,when,kind,price,n\n" + rows, filters={"k_core": 2})
    assert p.manifest["filters"] == [
        {"filter": "k_core", "setting": 2, "rows_before": 10, "rows_after": 8, "users_before": 4, "users_after": 3,
         "items_before": 4, "items_after": 3}
    ]  # fmt: skip
    assert (p.manifest["n_events"], p.n_users, p.n_items) == (8, 3, 3)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "counts", "rejected"),
    [
        ("ml_100k", (100_000, 943, 1_682), 0),
        ("ml_1m", (999_611, 6_040, 3_416), 0),
        ("ml_1m_pairs", (1_000_209, 6_040, 3_706), 0),
        ("amazon_beauty", (198_502, 22_363, 12_101), 0),
        ("amazon_beauty_bert4rec", (353_962, 40_226, 54_542), 0),
        ("ml_latest_small", (100_004, 671, 9_066), 0),
        ("alibaba_2014", (182_880, 884, 9_531), 0),
        ("rees46", (17_434, 4_504, 6_493), 0),
        ("cdnow", (69_659, 23_570, 1), 0),
        ("cdnow_sample", (6_919, 2_357, 1), 0),
        ("obd", (10_000, 230, 34), 0),
        ("online_retail", (415_689, 4_314, 4_020), 525_461 - 415_689),
    ],
)
def test_shipped_datasets_have_their_published_counts(
    raw: Path, tmp_path: Path, name: str, counts: tuple, rejected: int
):
    import yaml

    config = yaml.safe_load((Path(__file__).parents[2] / "conf" / "dataset" / f"{name}.yaml").read_text())
    m = Prepared.open(prepare_dataset(config, raw, tmp_path / name, progress=False)).manifest
    assert (m["n_events"], m["n_users"], m["n_items"]) == counts
    assert m["n_rejected"] == rejected


@pytest.mark.real
@pytest.mark.parametrize("policy", ["random", "bts"])
@pytest.mark.parametrize(("campaign", "items"), [("men", 34), ("women", 46)])
def test_each_file_of_open_bandit_is_one_override_away(
    raw: Path, tmp_path: Path, policy: str, campaign: str, items: int
):
    import yaml

    config = yaml.safe_load((Path(__file__).parents[2] / "conf" / "dataset" / "obd.yaml").read_text())
    config["raw"] = {"folder": f"obd/{policy}/{campaign}", "files": [f"{campaign}.csv.gz"]}
    m = Prepared.open(prepare_dataset(config, raw, tmp_path / "obd", progress=False)).manifest
    assert (m["n_events"], m["n_items"], m["n_rejected"]) == (10_000, items, 0)


KILLED = """
import sys
from pathlib import Path
from shopkeeper.arrange.prepare import prepare_dataset
from tests.arrange.test_prepare import SHOP
prepare_dataset(SHOP, Path(sys.argv[1]), Path(sys.argv[2]), progress=False)
"""


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path: Path):
    rows = "".join(f"u{n % 997},i{n % 89},{1600000000 + n},buy,1,1\n" for n in range(200_000))
    whole = prepare(tmp_path, "who,what,when,kind,price,n\n" + rows)
    expected = sha256_tree(whole.path, skip=frozenset())
    for delay in (0.6, 0.9):
        out = tmp_path / "again"
        run = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "raw"), str(out)],
            cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."},
        )  # fmt: skip
        time.sleep(delay)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not out.exists() or read_json(out / "manifest.json")["fingerprint"] == whole.fingerprint
    prepare_dataset(SHOP, tmp_path / "raw", out, progress=False)
    assert sha256_tree(out, skip=frozenset()) == expected
    assert not list(tmp_path.glob(".*.tmp"))
