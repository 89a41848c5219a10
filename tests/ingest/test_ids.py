"""One id for each customer, item, order: however files, tables and lists spell it, through every engine and rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.id_doubts import id_doubts
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.people.rules import customer_rules
from shopkeeper.splits.write import write_split

SHOP = {
    "name": "shop",
    "raw": {"folder": "", "files": ["*.log"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when"},
    "event_type": "purchase",
}


def made(folder: Path, files: dict[str, str], **changes) -> Prepared:
    raw = folder / "raw"
    raw.mkdir()
    for name, text in files.items():
        (raw / name).write_text(text)
    config = {**SHOP, **changes}
    change = customer_rules(config, raw)
    return Prepared.open(prepare_dataset(config, raw, folder / "out", progress=False, change=change))


def test_a_customer_whose_id_became_a_float_in_one_month_is_one_customer(tmp_path: Path):
    first = "who,what,when\n7,p1,2023-01-01\n8,p2,2023-01-02\n"
    second = "who,what,when\n7.0,p1,2023-02-01\n8.0,p2.0,2023-02-02\n,p2,2023-02-03\n"
    p = made(tmp_path, {"1.log": first, "2.log": second + " 7\xa0,p3,2023-02-04\n"}, max_rejected_share=0.5)
    assert p.users["user_id"].to_pylist() == ["7", "8"]
    assert p.items["item_id"].to_pylist() == ["p1", "p2", "p2.0", "p3"]  # a code with letters is no float
    assert p.manifest["n_rejected"] == 1


@pytest.mark.parametrize("name", ["erase.csv", "erase.txt"])
def test_who_asked_to_be_forgotten_is_found_under_every_spelling(tmp_path: Path, name: str):
    log = "who,what,when\n7,p1,2023-01-01\n7.0,p2,2023-01-02\n8,p1,2023-01-03\n\xa07 ,p1,2023-01-03\n"
    header = "" if name.endswith("txt") else "user_id\n"
    p = made(tmp_path, {"1.log": log, name: f"{header}7.0\xa0\n"}, erasure={"file": name})
    assert p.users["user_id"].to_pylist() == ["8"]
    assert p.manifest["changes"]["erasure"]["rows"] == 3


def test_tables_of_items_customers_consent_and_links_meet_the_log_in_one_spelling(tmp_path: Path):
    files = {
        "1.log": "who,what,when\n7.0,1,2023-01-05\n8,2.0,2023-01-06\nmail:a,1,2023-01-07\n",
        "items.csv": "item_id,brand\n1.0,acme\n 2,bolt\n",
        "users.csv": "user_id,city\n7,Rome\n8.0,Oslo\n",
        "consent.csv": "account,purpose,granted\n 7.0,ads,2020-01-01\n8.0,ads,2020-01-01\n",
        "links.csv": "account,key,valid_from\n7.0,mail:a\xa0,2020-01-01\n",
    }
    p = made(
        tmp_path,
        files,
        items={"file": "items.csv"},
        users={"file": "users.csv"},
        consent={"file": "consent.csv", "purpose": "ads"},
        identity={"file": "links.csv", "as_of": "2024-01-01"},
    )
    assert p.items["brand"].to_pylist() == ["acme", "bolt"]
    assert dict(zip(p.users["user_id"].to_pylist(), p.users["city"].to_pylist(), strict=True)) == {
        "7": "Rome", "8": "Oslo",
    }  # fmt: skip
    assert p.manifest["changes"]["consent"]["rows_after"] == 3


def test_a_name_that_is_declared_missing_is_no_customer_and_none_is_by_default(tmp_path: Path):
    log = "who,what,when,bill\nNA,p1,2023-01-01,0\n0,p2,2023-01-02,0\nann,p1,2023-01-03,5\n"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    columns = {**SHOP["columns"], "order_id": "bill"}
    as_written = made(tmp_path / "a", {"1.log": log}, columns=columns)
    assert as_written.users["user_id"].to_pylist() == ["NA", "0", "ann"]
    declared = {"user_id": ["NA"], "order_id": [0]}
    p = made(tmp_path / "b", {"1.log": log}, columns=columns, missing=declared, max_rejected_share=0.5)
    assert p.users["user_id"].to_pylist() == ["0", "ann"]
    assert p.manifest["rejected"] == {"who: no user_id": 1}
    assert pq.read_table(p.path / "events.parquet")["order_id"].to_pylist() == [None, "5"]
    assert pq.read_table(p.path / "rejected.parquet")["value"].to_pylist() == ["NA"]


def test_a_wrong_missing_setting_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"unknown option `missing.user`.*Did you mean 'user_id'"):
        made(tmp_path, {}, missing={"user": ["NA"]})
    with pytest.raises(UserError, match="missing is 'NA'; give a list"):
        prepare_dataset({**SHOP, "missing": "NA"}, tmp_path, tmp_path / "out")


def test_what_is_no_id_keeps_its_text(tmp_path: Path):
    log = "who,what,when,size\n1,p1,2023-01-01,2.0\n2,p1,2023-01-02,3.0\n"
    p = made(tmp_path, {"1.log": log}, extra={"size": "size"})
    assert pq.read_table(p.path / "events.parquet")["size"].to_pylist() == [2.0, 3.0]


def test_an_event_type_that_became_a_float_is_the_one_of_the_map(tmp_path: Path):
    log = "who,what,when,kind\n1,p1,2023-01-01,1.0\n2,p1,2023-01-02,2\n"
    p = made(tmp_path, {"1.log": log}, event_type={"column": "kind", "map": {1: "view", "2.0": "purchase"}})
    assert p.manifest["event_types"] == {"view": 1, "purchase": 1}


@pytest.mark.parametrize("engine", ["arrays", "polars", "duckdb"])
@pytest.mark.parametrize(("stores", "kind"), [(127, "int8"), (130, "int16"), (33_000, "int32")])
def test_a_chain_may_have_as_many_stores_as_it_likes(tmp_path: Path, engine: str, stores: int, kind: str):
    rows = [f"c{i % 9},s{i % 7},{1_600_000_000 + i},store{i}" for i in range(stores)]
    (tmp_path / "1.log").write_text("\n".join(["who,what,when,store", *rows]) + "\n")
    config = {**SHOP, "columns": {**SHOP["columns"], "channel": "store"}, "timestamp": {"unit": "s"}}
    out = prepare_dataset(config, tmp_path, tmp_path / "out", progress=False, engine=Engine(engine))
    p = Prepared.open(out)
    assert p.events.channel is not None
    assert p.events.channel.dtype == kind
    assert sorted(p.events.channel.tolist()) == list(range(1, stores + 1))
    assert p.manifest["channels"][-1] == f"store{stores - 1}"
    if stores == 130:
        spec = {"name": "leave_one_out", "target_events": ["purchase"]}
        requests, _ = Split.open(p, write_split(p, spec)).part("test")
        assert requests.channel is not None
        assert requests.channel.max() == 130


def test_a_name_that_stands_for_nobody_is_said_by_prepare_and_new_dataset(tmp_path: Path):
    rows = [f"{'NA' if i % 10 < 7 else f'c{i % 4}'},i{i % 9},2023-01-{1 + i % 28:02}" for i in range(60)]
    text = "\n".join(["who,what,when", *rows]) + "\n"
    line = "user_id: 70.0% of the rows have 'NA', which stands for nobody in many shops"
    assert made(tmp_path, {"1.log": text}).manifest["id_doubts"][0].startswith(line)
    (tmp_path / "views.csv").write_text(text.replace("who", "userId").replace("what", "itemId"))
    assert f"# DOUBT: {line}" in guess_dataset(tmp_path / "views.csv")


def test_spellings_that_cannot_be_known_and_numbers_that_came_back_are_said(tmp_path: Path):
    log = "who,what,when,bill\n7,AB,2023-01-01,1\n007,ab,2023-01-02,1\n7,4.00840E+12,2023-02-02,1\n"
    p = made(tmp_path, {"1.log": log}, columns={**SHOP["columns"], "order_id": "bill"})
    assert [line.split(", and")[0] for line in p.manifest["id_doubts"]] == [
        "user_id: 1 of 2 ids are another one but for leading zeros",
        "item_id: 1 of 3 ids are another one but for letter case",
        "item_id: 1 ids are written like 4.00840E+12 and have lost digits; read or export them as text",
        "order_id: 1 of 1 order numbers have lines more than a day apart; 1 orders of a later day are orders of their "
        "own (order_days)",
    ]


@pytest.mark.parametrize(("days", "own"), [(1, 2), (10, 1), (None, 0)])
def test_every_order_number_whose_lines_are_days_apart_is_counted_split_or_not(tmp_path: Path, days: int | None, own):
    rows = ["ann,a,2023-01-01,5", "ann,b,2023-01-08,5", "ann,c,2023-02-01,6", "ann,c,2023-03-01,6"]
    rows += [
        "bob,a,2023-04-01,7",
        "cy,a,2023-04-09,7",
        "bob,b,2023-05-01,8",
        "bob,c,2023-05-01 10:00,8",
        "bob,d,2023-06-01,",
    ]
    p = made(tmp_path, {"1.log": "\n".join(["who,what,when,bill", *rows])}, order_days=days,
             columns={**SHOP["columns"], "order_id": "bill"})  # fmt: skip
    (line,) = (line for line in p.manifest["id_doubts"] if line.startswith("order_id"))
    assert line.startswith(f"order_id: 3 of 4 order numbers have lines more than a day apart; {own} orders")


def test_numbers_that_a_tool_wrote_over_are_said_with_what_it_did(tmp_path: Path):
    ids = ["17", "17,0", "18,00", "4,0084E+12", "1,234,567", "1.234.567", "'007", '=""009""', "####", "1-Mar", "Mar-05"]
    rows = [f'c{i},"{name}",2023-01-0{i % 9 + 1}' for i, name in enumerate(ids)]
    p = made(tmp_path, {"1.log": "\n".join(["who,what,when", *rows]).replace('=""009""', '=""""009""""')})
    said = [line for line in p.manifest["id_doubts"] if "are written" in line]
    assert [line.split(" are written ")[0] for line in said] == [f"item_id: {n} of 11 ids" for n in (2, 1, 2, 2, 1, 2)]
    assert said[0].endswith("like 17,0, a number with a decimal comma; read or export them as text")


@pytest.mark.parametrize("name", ["17.0", "1.5", "12.345", "AB-1", "a,b", "O'Neil", "2023-01", "ma-05", "#12", "17"])
def test_plain_ids_are_no_such_doubt(tmp_path: Path, name: str):
    p = made(tmp_path, {"1.log": f'who,what,when\nann,"{name}",2023-01-01\nbob,x,2023-01-02\n'})
    assert not [line for line in p.manifest["id_doubts"] if "are written" in line]


@pytest.mark.parametrize("name", ["0", "N.A.", "not logged in", "Laufkundschaft", "Розничный покупатель", "c9"])
def test_who_holds_most_of_a_small_log_is_said_also_where_customers_are_few(tmp_path: Path, name: str):
    rows = [f"{name if i % 10 < 7 else f'c{i % 3}'},i{i % 9},2023-01-{1 + i % 28:02}" for i in range(30)]
    lines = made(tmp_path, {"1.log": "\n".join(["who,what,when", *rows])}).manifest["id_doubts"]
    line = f"'{name}', which stands for nobody" if name != "c9" else "one id holds 70.0% of all rows"
    assert any(line in said for said in lines)


def test_three_customers_of_equal_weight_are_no_doubt(tmp_path: Path):
    rows = [f"c{i % 3},i{i % 9},2023-01-{1 + i % 28:02}" for i in range(30)]
    assert made(tmp_path, {"1.log": "\n".join(["who,what,when", *rows])}).manifest["id_doubts"] == []


def test_the_shares_from_which_an_id_is_a_doubt():
    def said(*rows: int, first: str = "c") -> list[str]:
        ids = [first, *(f"c{n}" for n in range(len(rows) - 1))]
        return id_doubts("user_id", pa.array(ids), np.array(rows), sum(rows))

    assert said(5, 5) == []  # of two each holds half
    assert said(3, 2, 2) == []
    assert "one id holds 50.0% of all rows" in said(4, 2, 2)[0]
    others = [9] * 1100
    (line,) = said(100, *others, first="0")  # a hundredth of the rows: as many may be rejected as things are
    assert "which stands for nobody" in line
    assert "max_rejected_share" not in line
    assert "max_rejected_share: 0.03" in said(101, *others, first="0")[0]
    assert said(99, *others, first="0") == []
