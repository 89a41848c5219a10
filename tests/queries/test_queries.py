"""Searches in a log: which texts are kept, what is hidden, and what histories, splits and models know of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from garden import CONFIG, garden, split_of, texts_of

from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.queries import bucket_id, normal_query
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_tree
from shopkeeper.people.rules import customer_rules
from shopkeeper.people.search import find_customer
from shopkeeper.schema import EVENT_CODE
from shopkeeper.splits.audit import audit_by_perturbation, audit_split
from shopkeeper.splits.audit_error import AuditError

SEARCH = EVENT_CODE["search"]
KINDS = ("view", "purchase")
KEPT = ["mower blade", "rose fertilizer", "teichfolie 2", "盆栽 はさみ"]


def log(tmp_path: Path, rows: list[str], **config) -> Prepared:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "log.csv").write_text("\n".join(["u,i,e,t,q", *rows]) + "\n", encoding="utf-8")
    (raw / "items.csv").write_text("i,name\nrose,a rose\n")
    return Prepared.open(prepare_dataset({**CONFIG, **config}, raw, tmp_path / "out", progress=False))


def asked(*queries: str, customers: int = 5) -> list[str]:
    """Rows in which as many customers ask each of these."""
    return [f"u{n},,search,2024-01-0{n + 1}T10:0{k},{q}" for n in range(customers) for k, q in enumerate(queries)]


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_one_query_is_one_item_however_it_is_spelled(tmp_path: Path):
    p = garden(tmp_path)
    assert sorted(texts_of(p)) == KEPT
    assert p.manifest["queries"] == {"texts": 4, "events": 480, "buckets": 0, "events_in_buckets": 0}
    assert p.queries is not None
    assert sum(p.queries["events"].to_pylist()) == 480
    rows = p.events.event_type == SEARCH
    assert set(np.unique(p.events.item[rows])) == set(p.queries["item"].to_pylist())


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Red\u00a0 SHOES\t", "red shoes"),
        ("ＳＨＯＥＳ", "shoes"),
        ("cafe\u0301", "café"),
        ("Straße", "straße"),
        ("ЗЕЛЁНЫЙ чай", "зелёный чай"),
        ("007", "007"),
        ("\u200b \u2060", ""),
        ("", ""),
    ],
)
def test_case_blanks_and_compatibility_forms_do_not_count_in_a_query(typed: str, kept: str):
    assert normal_query(typed) == kept
    assert normal_query(kept) == kept


def test_what_few_customers_ask_is_nowhere_in_what_is_prepared(tmp_path: Path):
    rows = [*asked("boots"), *asked("jane doe jane@example.org", customers=4)]
    rows += ["u1,,search,2024-02-01,Order of Mr Smithson"] * 9  # often, by one customer
    p = log(tmp_path, rows)
    assert texts_of(p) == ["boots"]
    assert p.manifest["queries"] == {"texts": 1, "events": 5, "buckets": 2, "events_in_buckets": 13}
    found = written(tmp_path / "out").lower()
    assert b"boots" in found
    assert b"jane" not in found
    assert b"smithson" not in found
    assert bucket_id("order of mr smithson", 500) in p.items["item_id"].to_pylist()


def test_how_many_customers_and_buckets_there_must_be_is_a_setting(tmp_path: Path):
    rows = [*asked("boots", customers=2), *asked("a", "b", "c", "d", "e", "f", "g", customers=1)]
    p = log(tmp_path, rows, queries={"customers": 2, "buckets": 3})
    assert texts_of(p) == ["boots"]
    hidden = [name for name in p.items["item_id"].to_pylist() if name.startswith("query#")]
    assert set(hidden) <= {"query#1", "query#2", "query#3"}


def test_a_query_of_3000_characters_is_no_text_to_keep(tmp_path: Path):
    p = log(tmp_path, asked("x" * 3000, "y" * 200, "z" * 201))
    assert texts_of(p) == ["y" * 200]
    assert p.manifest["n_rejected"] == 0
    assert b"z" * 201 not in written(tmp_path / "out")


def test_a_search_without_text_is_rejected_unless_it_has_an_item(tmp_path: Path):
    rows = [*asked("boots"), "u1,,search,2024-02-01,", "u1,,search,2024-02-02,\u00a0 ", "u1,rose,search,2024-02-03,"]
    p = log(tmp_path, rows)
    assert p.manifest["rejected"] == {"q: no query": 2}
    assert p.items["item_id"].to_pylist() == ["query:boots", "rose"]


def test_a_text_beside_what_is_no_search_is_not_read(tmp_path: Path):
    p = log(tmp_path, [*asked("boots"), "u1,rose,view,2024-02-01,jane doe", "u1,,view,2024-02-02,jane doe"])
    assert p.manifest["rejected"] == {"i: no item_id": 1}
    assert p.items["item_id"].to_pylist() == ["query:boots", "rose"]
    assert b"jane" not in written(tmp_path / "out")


def test_of_a_search_with_a_text_and_an_item_the_text_counts(tmp_path: Path):
    p = log(tmp_path, [row.replace(",,search", ",rose,search") for row in asked("boots")])
    assert p.items["item_id"].to_pylist() == ["query:boots"]


def test_a_log_of_searches_alone_needs_no_items(tmp_path: Path):
    columns = {"user_id": "u", "timestamp": "t", "query": "q"}
    p = log(tmp_path, asked("boots", "rose"), columns=columns, event_type="search", items={})
    assert p.items["item_id"].to_pylist() == ["query:boots", "query:rose"]


def test_an_item_that_is_called_like_a_query_is_rejected(tmp_path: Path):
    p = log(tmp_path, [*asked("boots"), "u1,query:boots,view,2024-02-01,", "u1,query#3,view,2024-02-01,"])
    assert p.manifest["rejected"] == {"i: item_id begins like a query's (query: or query#)": 2}


def test_what_a_rule_rejects_by_its_query_is_not_written_down(tmp_path: Path):
    rule = {"column": "q", "matches": "@", "reason": "an address"}
    p = log(tmp_path, [*asked("boots"), "u1,,search,2024-02-01,jane@example.org"], reject=[rule])
    assert p.manifest["rejected"] == {"q: an address": 1}
    assert p.table("rejected.parquet")["value"].to_pylist() == [""]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": {"typed": "q"}}, "column 'q' holds queries, whose texts are kept only where several customers"),
        ({"queries": {"customers": 0}}, "queries.customers"),
        ({"queries": {"custmers": 2}}, "customers"),
        ({"columns": {"user_id": "u", "item_id": "i"}, "queries": {"buckets": 9}}, "columns.query does not say"),
        ({"columns": {"user_id": "u", "item_id": "i", "query": ["q", "e"]}}, "columns.query names several columns"),
    ],
)
def test_settings_of_queries_that_make_no_sense_are_named(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(UserError, match=message):
        log(tmp_path, asked("boots"), **changes)


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_every_engine_writes_the_same_queries(tmp_path: Path, engine: str):
    p = garden(tmp_path, customers=8, more="c1,,search,2024-01-09T00:00,my own words\n")
    prepare_dataset(CONFIG, tmp_path, tmp_path / engine, progress=False, engine=Engine(engine))
    assert sha256_tree(tmp_path / engine) == sha256_tree(p.path)


def test_extending_does_not_see_the_whole_log_and_refuses_queries(tmp_path: Path):
    p = garden(tmp_path, customers=8)
    more = {**CONFIG, "raw": {"folder": "", "files": ["log.csv", "items.csv"]}}
    with pytest.raises(UserError, match="which queries are kept as text hangs on the whole log"):
        extend_dataset(p.path, more, tmp_path, tmp_path / "more", progress=False)


def test_an_erased_customer_takes_the_queries_along(tmp_path: Path):
    rows = [*asked("boots"), *asked("u3"), *asked("rare", customers=5)[:4], "eve,,search,2024-02-01,rare"]
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "erase.txt").write_text("u3\n")
    config = {**CONFIG, "erasure": {"file": "erase.txt"}}
    (raw / "log.csv").write_text("\n".join(["u,i,e,t,q", *rows]) + "\n")
    (raw / "items.csv").write_text("i,name\nrose,a rose\n")
    out = tmp_path / "data" / "prepared" / "garden"
    prepare_dataset(CONFIG, raw, out, progress=False)
    assert texts_of(Prepared.open(out)) == ["boots", "u3", "rare"]
    assert {t.where for t in find_customer({"u3"}, tmp_path).traces} >= {"column user_id", "column query"}
    prepare_dataset(config, raw, out, progress=False, change=customer_rules(config, raw))
    assert texts_of(Prepared.open(out)) == []  # four customers are left, and nobody's searches for the one who went
    assert find_customer({"u3"}, tmp_path).gone


def test_products_are_recommended_where_purchases_are_asked_for_and_queries_where_searches_are(tmp_path: Path):
    p = garden(tmp_path, more="c1,,search,2024-01-09T00:00,my own words\n")
    bought, typed = split_of(p), split_of(p, "search")
    names = np.array(["", *p.items["item_id"].to_pylist()])
    assert not any(name.startswith("query") for name in names[bought.catalogue])
    assert sorted(names[typed.catalogue]) == [f"query:{text}" for text in KEPT]
    assert set(names[bought.beside]) == {*names[typed.catalogue], bucket_id("my own words", 500)}
    for split in (bought, typed):
        assert set(split.known) == set(range(1, p.n_items + 1))
        rows = split.training_rows()[1]
        assert (p.events.event_type[rows] == SEARCH).any()
        assert (p.events.event_type[rows] == EVENT_CODE["view"]).any()
        assert audit_by_perturbation(p, split)["passed"]


def test_a_query_that_becomes_frequent_later_is_not_suggested_before(tmp_path: Path):
    late = "".join(f"c{n},,search,2024-02-{25 + n // 10}T09:{10 + n},tulips\n" for n in range(20))
    early = "".join(f"c{n},,search,2024-01-09T09:0{n},tulips\n" for n in range(4))
    p = garden(tmp_path, more=early + late)
    assert "tulips" in texts_of(p)
    split = split_of(p, "search")
    tulips = p.items["item_id"].to_pylist().index("query:tulips") + 1
    assert tulips not in split.catalogue
    assert tulips in split.beside
    wrong = replace(
        split,
        catalogue=np.sort(np.append(split.catalogue, tulips)).astype(np.int32),
        beside=split.beside[split.beside != tulips],
    )
    with pytest.raises(AuditError, match=f"query {tulips} was asked by 4 customers of training"):
        audit_split(p, wrong)


def test_where_nobody_asks_the_same_there_is_nothing_to_suggest(tmp_path: Path):
    p = garden(tmp_path, queries={"customers": 41})
    assert split_of(p).catalogue.size
    with pytest.raises(UserError, match=r"no query of garden was asked by 41 customers .* lower queries\.customers"):
        split_of(p, "search")


def test_a_log_without_searches_has_nothing_of_all_this(tmp_path: Path):
    columns = {"user_id": "u", "item_id": "i", "timestamp": "t"}
    rows = [f"u{n},rose,{kind},2024-01-{d:02},x" for n in range(5) for d in range(1, 31) for kind in KINDS]
    p = log(tmp_path, rows, columns=columns)
    split = split_of(p)
    assert p.queries is None
    assert p.kind_V is None
    assert split.beside is None
    assert split.known is split.catalogue
    assert "queries" not in p.manifest
    assert sorted(path.name for path in split.path.iterdir()) == [
        "catalogue.npy", "test.parquet", "timeline.json", "train_end.npy", "validation.parquet",
    ]  # fmt: skip
    assert "queries and products are told apart" not in split.timeline["audit"]["checks"]
    assert pq.read_schema(p.path / "items.parquet").names == ["item", "item_id", "name"]
