"""Exports of web analytics: GA4, Yandex Metrica; files of their published shape, counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.arrange.order_numbers import SENT_BEFORE
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.overlap import LATER_FILE
from shopkeeper.people.rules import customer_rules
from sources.shop import config, events, lines, prepared


def ga4(name: str, micros: int, items: Any = None, who: str | None = None, **more: Any) -> dict[str, Any]:
    """A row as BigQuery dumps it: numbers of 64 bits as text, absent fields left out."""
    row: dict[str, Any] = {"event_date": "20251105", "event_timestamp": str(micros), "event_name": name}
    row["event_params"] = [{"key": "session_engaged", "value": {"string_value": "1"}},
                           {"key": "ga_session_id", "value": {"int_value": "1762351000"}}]  # fmt: skip
    if "currency" in more:
        row["event_params"].append({"key": "currency", "value": {"string_value": more.pop("currency")}})
    row |= {"user_id": who} if who else {}
    row |= {"user_pseudo_id": "123.456"} if more.pop("consent", True) else {}
    row |= {} if items is None else {"items": items}
    return row | ({"ecommerce": {"transaction_id": more["order"]}} if "order" in more else {})


CUP = {"item_id": "A1", "item_name": "Red Cup", "item_brand": "Cups", "price": 9.5, "quantity": "2"}
POT = {"item_id": "B2", "item_name": "Pot", "item_brand": "(not set)", "price": 20, "quantity": "1"}
T = 1_762_351_391_123_456  # 2025-11-05 14:03:11.123456 UTC
GA4 = [
    ga4("page_view", T - 9),
    ga4(" View_Item", T - 5, [{"item_id": "A1", "item_name": "Red Cup", "price": 9.5}]),
    ga4("purchase", T, [CUP, POT], currency="EUR", order="T1"),
    ga4("purchase", T + 60_000_000, [CUP, POT], currency="EUR", order="T1"),  # the page once more
    ga4("view_item", T + 5, [], consent=True),
    ga4("view_item", T + 6, [{"item_id": "B2"}], consent=False),
    ga4("add_to_cart", T + 7, [{"item_id": "(not set)"}]),
    ga4("view_item", T + 120_000_000, [{"item_id": "B2"}], who="ann"),
]
BOUGHT = [("123.456", "A1", "view", "2025-11-05T14:03:11.123451Z", 0.0, 9.5),
          ("123.456", "A1", "purchase", "2025-11-05T14:03:11.123456Z", 2.0, 19.0),
          ("123.456", "B2", "purchase", "2025-11-05T14:03:11.123456Z", 1.0, 20.0),
          ("ann", "B2", "view", "2025-11-05T14:05:11.123456Z", 0.0, 0.0)]  # fmt: skip


def check_ga4(p: Prepared) -> None:
    assert events(p) == BOUGHT
    assert p.manifest["changes"]["left_out"] == {"other kinds of events": 1, SENT_BEFORE: 2}
    assert p.manifest["rejected"] == {"item: no item_id": 2, "customer: no user_id": 1}
    table = p.table("events.parquet")
    assert table["session_id"].to_pylist() == ["123.456|1762351000"] * 4
    assert table["order_id"].to_pylist() == [None, "T1", "T1", None]
    assert table["currency"].to_pylist() == [None, "EUR", "EUR", None]
    assert p.items["name"].to_pylist() == ["Red Cup", "Pot"]


def test_ga4_as_json_lines_and_as_parquet(tmp_path: Path):
    loose = {"max_rejected_share": 0.5}
    check_ga4(prepared(tmp_path / "json", "ga4_bigquery", {"events_20251105.jsonl": lines(GA4)}, **loose))
    value = pa.struct({"string_value": pa.string(), "int_value": pa.int64(), "double_value": pa.float64()})
    item = pa.struct({"item_id": pa.string(), "item_name": pa.string(), "item_brand": pa.string(),
                      "item_category": pa.string(), "price": pa.float64(), "quantity": pa.int64()})  # fmt: skip
    schema = pa.schema({
        "event_date": pa.string(), "event_timestamp": pa.int64(), "event_name": pa.string(),
        "event_params": pa.list_(pa.struct({"key": pa.string(), "value": value})), "user_id": pa.string(),
        "user_pseudo_id": pa.string(), "items": pa.list_(item), "ecommerce": pa.struct({"transaction_id": pa.string()}),
    })  # fmt: skip
    whole = {"event_timestamp", "int_value", "quantity"}

    def stored(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: stored(inner, key) for key, inner in value.items()}
        return [stored(x) for x in value] if isinstance(value, list) else int(value) if name in whole else value

    rows = [stored({"items": [], **row}) for row in GA4]
    folder = tmp_path / "parquet"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "events.parquet")
    told = config("ga4_bigquery", ["events.parquet"], reader={"format": "parquet"}, **loose)
    check_ga4(Prepared.open(prepare_dataset(told, folder, folder / "out", progress=False)))


def test_a_purchase_of_ga4_that_is_sent_again_counts_once_with_all_of_its_equal_lines(tmp_path: Path):
    shirts = [{"item_id": "A1", "item_variant": size, "price": 9.5, "quantity": "1"} for size in "SM"]
    sent = [ga4("purchase", T + wait, shirts, order="T1") for wait in (0, 40_000_000, 90_000_000, 4 * 86_400_000_000)]
    p = prepared(tmp_path, "ga4_bigquery", {"events.jsonl": lines(sent)})
    assert p.events.price.tolist() == [9.5, 9.5]
    assert len(set(p.events.timestamp.tolist())) == 1


def test_an_item_of_ga4_that_has_a_name_alone_is_its_name(tmp_path: Path):
    named = [{"item_id": "(not set)", "item_name": "Jug", "price": 3}, {"item_name": "Jar", "price": 4}, CUP]
    p = prepared(tmp_path / "nested", "ga4_bigquery", {"e.jsonl": lines([ga4("purchase", T, named, order="T1")])})
    bought = [("A1", 19.0), ("Jar", 4.0), ("Jug", 3.0)]
    assert [(row[1], row[5]) for row in events(p)] == bought
    text = "event_timestamp,event_name,user_pseudo_id,transaction_id,item_id,item_name,price,quantity\n"
    text += "".join(f"{T},purchase,123.456,T1,{i.get('item_id', '')},{i['item_name']},{i['price']},"
                    f"{i.get('quantity', '')}\n" for i in named)  # fmt: skip
    p = prepared(tmp_path / "flat", "ga4_flat", {"events.csv": text})
    assert [(row[1], row[5]) for row in events(p)] == bought


def test_a_browser_of_ga4_is_a_person_once_somebody_has_signed_in(tmp_path: Path):
    (tmp_path / "e.jsonl").write_text(lines(GA4))
    told = config("ga4_bigquery", ["e.jsonl"], max_rejected_share=0.5)
    told["identity"] |= {"as_of": "2026-01-01"}
    change = customer_rules(told, tmp_path)
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False, change=change))
    assert {row[0] for row in events(p)} == {"ann"}
    assert p.manifest["changes"]["identity"]["links_known"] == 1


def test_ga4_flattened(tmp_path: Path):
    text = ("event_date,event_timestamp,event_name,user_id,user_pseudo_id,ga_session_id,transaction_id,item_id,"
            "item_name,price,quantity,currency\n"
            f"20251105,{T - 9},page_view,,123.456,1762351000,,,,,,\n"
            f"20251105,{T - 5},View_Item,,123.456,1762351000,,A1,Red Cup,9.5,,\n"
            f"20251105,{T},purchase,,123.456,1762351000,T1,A1,Red Cup,9.5,2,EUR\n"
            f"20251105,{T},purchase,,123.456,1762351000,T1,B2,Pot,20,1,EUR\n"
            f"20251105,{T + 120_000_000},view_item,ann,123.456,1762351000,,B2,Pot,,,\n")  # fmt: skip
    p = prepared(tmp_path, "ga4_flat", {"events.csv": text})
    assert events(p) == BOUGHT
    assert p.manifest["changes"]["left_out"] == {"other kinds of events": 1}


def cell(*values: Any) -> str:
    """A list as the Logs API writes it: quotes of texts escaped."""
    return "[" + ",".join(rf"\'{v}\'" if isinstance(v, str) else str(v) for v in values) + "]"


def visits(*rows: tuple[Any, ...], names: str) -> str:
    return (
        "\n".join(["\t".join(f"ym:s:{name}" for name in names.split()), *("\t".join(map(str, r)) for r in rows)]) + "\n"
    )


BROWSER = "16900719925474099312"  # over 2^63
DONE = [
    (1, BROWSER, cell("A1", "A1", "B2"), cell("detail", "add", "view_item_list"),
     cell("2025-11-05 10:00:00", "2025-11-05 10:01:00", "2025-11-05 10:02:00"), cell(9_500_000, 9_500_000, 0),
     cell(0, 2, 0)),
    (2, BROWSER, "[]", "[]", "[]", "[]", "[]"),
    (3, BROWSER, cell("A1"), cell("purchase"), cell("2025-11-06 00:30:00"), cell(9_490_000), cell(2)),
]  # fmt: skip
YANDEX = [(BROWSER, "A1", "view", "2025-11-05T07:00:00Z", 0.0, 9.5),
          (BROWSER, "A1", "add_to_cart", "2025-11-05T07:01:00Z", 2.0, 19.0),
          (BROWSER, "A1", "purchase", "2025-11-05T21:30:00Z", 2.0, 18.98)]  # fmt: skip


@pytest.mark.parametrize("part", ["eventsProduct", "product"])
def test_yandex_metrica_under_old_and_new_names(part: str, tmp_path: Path):
    names = f"visitID clientID {part}ID {part}Type {part}EventTime {part}Price {part}Quantity {part}Currency"
    done = [(*row, cell(*["RUB"] * n)) for row, n in zip(DONE, (3, 0, 1), strict=True)]
    broken = "4\t7\t['A1']\n"
    files = {
        "visits_part0.tsv": visits(*done[:2], names=names),
        "visits_part1.tsv": visits(*done[2:], names=names) + broken,
    }
    p = prepared(tmp_path, "yandex_metrica", files, max_rejected_share=0.5)
    assert events(p) == YANDEX
    assert p.manifest["changes"]["left_out"] == {"other kinds of events": 1, "empty lists": 1}
    assert p.manifest["rejected"] == {"row: 3 fields where the header has 8": 1}
    assert p.table("events.parquet")["currency"].to_pylist() == ["RUB"] * 3


def test_quotes_and_commas_inside_of_yandex_metricas_lists(tmp_path: Path):
    names = "clientID visitID eventsProductID eventsProductType eventsProductEventTime eventsProductPrice " \
        "eventsProductQuantity"  # fmt: skip
    time = "2025-11-05 10:00:0"
    plain = (7, 1, r"['A\'1','B,2','C\\3']", "['detail','purchase','add']", f"['{time}0','{time}1','{time}2']",
             "[1990000,2500000,0]", "[0,2,1]")  # fmt: skip
    uneven = (8, 2, "['A']", "['detail','add']", f"['{time}0']", "[1]", "[0]")
    p = prepared(tmp_path, "yandex_metrica", {"v.tsv": visits(plain, uneven, names=names)}, max_rejected_share=0.5)
    assert [row[1:3] + row[4:] for row in events(p)] == [
        ("A'1", "view", 0.0, 1.99), ("B,2", "purchase", 2.0, 5.0), ("C\\3", "add_to_cart", 1.0, 0.0)
    ]  # fmt: skip
    (why,) = p.manifest["rejected"]
    assert why == " ".join(f"ym:s:{name}" for name in names.split()[2:]) + ": lists of different lengths"


def test_purchases_of_yandex_metrica_have_the_order_of_their_place(tmp_path: Path):
    names = "visitID clientID purchaseID productsPurchaseID productsID productsEventTime productsPrice productsQuantity"
    times = cell(*["2025-11-05 10:00:00"] * 3)
    row = (1, BROWSER, cell("o2", "o1"), cell("o1", "o1", "o2"), cell("A1", "B2", "A1"), times,
           cell(9_500_000, 20_000_000, 9_500_000), cell(1, 1, 3))  # fmt: skip
    p = prepared(tmp_path, "yandex_metrica_purchases", {"visits.tsv": visits(row, names=names)})
    table = p.table("events.parquet")
    got = zip(table["order_id"].to_pylist(), table["price"].to_pylist(), table["quantity"].to_pylist(), strict=True)
    assert list(got) == [("o1", 9.5, 1.0), ("o1", 20.0, 1.0), ("o2", 9.5, 3.0)]


def test_an_order_of_two_requests_that_overlap_counts_once(tmp_path: Path):
    names = "visitID clientID productsPurchaseID productsID productsEventTime productsPrice productsQuantity"

    def visit(number: int, order: str) -> tuple[Any, ...]:
        return (number, 7, cell(order, order), cell("A1", "A1"), cell(*["2025-11-05 10:00:00"] * 2),
                cell(9_500_000, 9_500_000), cell(1, 1))  # fmt: skip

    files = {
        "visits_part0.tsv": visits(visit(1, "o1"), visit(2, "o2"), names=names),
        "visits_part1.tsv": visits(visit(2, "o2"), visit(3, "o3"), names=names),
    }
    p = prepared(tmp_path, "yandex_metrica_purchases", files)
    orders = p.table("events.parquet")["order_id"].to_pylist()
    assert sorted(orders) == ["o1", "o1", "o2", "o2", "o3", "o3"]
    assert p.manifest["changes"]["left_out"] == {LATER_FILE: 2}


def test_the_utc_of_yandex_metrica_is_three_hours_ahead_of_utc(tmp_path: Path):
    told = {"name": "v", "raw": {"folder": "", "files": ["v.tsv"]}, "reader": {"format": "tsv", "quote": ""},
            "columns": {"user_id": "ym:s:clientID", "timestamp": "ym:s:dateTimeUTC"}, "constants": {"item_id": "visit"},
            "timestamp": {"time_zone": "Europe/Moscow"}, "event_type": "view"}  # fmt: skip
    (tmp_path / "v.tsv").write_text(visits((BROWSER, "2025-11-05 10:00:00"), names="clientID dateTimeUTC"))
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False))
    assert events(p)[0][3] == "2025-11-05T07:00:00Z"


def test_parameters_of_every_kind_of_value_and_fields_that_only_some_events_have(tmp_path: Path):
    """A first event without items; values as text, whole, with a point, and a record of which one field is filled."""

    def event(number: int, session: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
        params = [] if session is None else [{"key": "ga_session_id", "value": session}]
        return {"event_date": "20251105", "event_timestamp": str(T + number), "event_name": "view_item",
                "event_params": params, "user_pseudo_id": "9.8", **more}  # fmt: skip

    nothing = {"string_value": None, "int_value": None, "float_value": None, "double_value": None}
    cup = [{"item_id": "A1", "price": 9.5, "quantity": None}]
    rows = [
        event(0, None) | {"event_name": "first_visit"},
        event(1, {"int_value": "17"}, items=cup),
        event(2, {**nothing, "string_value": "17"}, items=cup, user_id=""),
        event(3, {**nothing, "double_value": 17.0}, items=cup, user_id=None),
        event(4, {"string_value": 'say \\"1: 2\\"'}, items=cup, user_id="ann"),
        event(5, None, items=None),
        event(6, nothing, items=cup),
    ]  # fmt: skip
    p = prepared(tmp_path, "ga4_bigquery", {"events.jsonl": lines(rows)}, max_rejected_share=0.5)
    table = p.table("events.parquet").sort_by("timestamp").to_pylist()
    assert [row["session_id"] for row in table] == ["9.8|17", "9.8|17", "9.8|17", '9.8|say \\"1: 2\\"', None]
    assert [row["user_id"] for row in table] == ["9.8", "9.8", "9.8", "ann", "9.8"]
    assert p.manifest["rejected"] == {"item: no item_id": 1}

    renamed = [{("browser" if k == "user_pseudo_id" else k): v for k, v in row.items()} for row in rows]
    with pytest.raises(UserError, match=r"looks like Google Analytics 4's BigQuery export, without 'user_pseudo_id': "):
        prepared(tmp_path / "b", "ga4_bigquery", {"events.jsonl": lines(renamed)})


def test_a_file_of_another_export_or_with_a_column_renamed_says_so(tmp_path: Path):
    names = "visitID clientID productID productKind productEventTime"
    with pytest.raises(UserError, match=r"is for Segment's.*; this file looks like OTTO's .* \(source otto\)"):
        prepared(tmp_path / "a", "segment_track", {"v.jsonl": lines([{"session": 1, "events": []}])})
    with pytest.raises(UserError, match=r"looks like Yandex Metrica.*of 2025-10 or later, without 'ym:s:.*Type'"):
        prepared(tmp_path / "b", "yandex_metrica", {"v.tsv": visits((1, 2, "[]", "[]", "[]"), names=names)})
