"""What is wrong in steps and kinds of files is named in one line; further events; what may be extended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.schema import EVENT_CODE

CONFIG: dict[str, Any] = {
    "name": "shop",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when"},
    "event_type": "purchase",
    "max_rejected_share": 0.5,
}
HEADER = "who,what,when,order,state\n"


def made(folder: Path, text: str, **changes: Any) -> Prepared:
    (folder / "log.csv").write_text(text)
    return Prepared.open(prepare_dataset({**CONFIG, **changes}, folder, folder / "out", progress=False))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"fill": {"by": "a", "columns": ["b"]}, "text": {"column": "c"}}], "steps[0] names fill and text"),
        ([{"fill": {}}], "steps[0].fill is empty; set by, columns"),
        ([{"fil": {"by": "a", "columns": ["b"]}}], "Did you mean 'fill'"),
        ([{"text": {"column": "a", "remove": "("}}], "must be a regular expression"),
        ([{"time": {"date": "a", "offset": "b", "unit": "days", "into": "c"}}], "steps[0].time.unit is 'days'"),
        ([{"discount": {"by": "a", "price": "b", "into": "c"}}], "needs the value of a line"),
        ([{"also": {"column": "a", "event": "cancel", "into": "c"}}], "steps[0].also.event is 'cancel'"),
        (
            [
                {"fill": {"by": "a", "columns": ["b"]}},
                {"discount": {"by": "b", "total": "c", "order": "e", "into": "d"}},
            ],
            "steps look at the lines of one a and of one b",
        ),
    ],
)
def test_a_wrong_step_is_named(steps: list[dict[str, Any]], said: str):
    with pytest.raises(UserError) as error:
        parse({**CONFIG, "steps": steps})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_kinds_of_files_have_times_all_or_none_of_them():
    with pytest.raises(UserError, match=r"logs\[1\] has no columns\.timestamp, and others have"):
        parse({
            **CONFIG, "columns": {"user_id": "who", "item_id": "what"},
            "logs": [{"files": ["a.csv"], "columns": {"timestamp": "when"}}, {"files": ["b.csv"]}],
        })  # fmt: skip


def test_a_row_is_several_further_events_and_each_looks_at_the_row_itself(tmp_path: Path):
    steps = [
        {"text": {"column": "state", "into": "back", "remove": "[^0-9: -]"}},
        {"also": {"column": "state", "matches": "back", "event": "return", "into": "kind", "taking": {"when": "back"}}},
        {"also": {"column": "order", "matches": "^7$", "event": "view", "into": "kind"}},
    ]
    rules = [{"column": "kind", "matches": f"^{kind}$", "value": kind} for kind in ("return", "view")]
    text = HEADER + "a,x,2025-01-01,7,back 2025-01-05\na,y,2025-01-02,8,\n"
    p = made(tmp_path, text, steps=steps, event_type={"value": "purchase", "rules": rules})
    found = [(str(t)[:10], int(kind)) for t, kind in
             zip(p.table("events.parquet")["timestamp"].to_pylist(), p.events.event_type, strict=True)]  # fmt: skip
    code = EVENT_CODE
    assert sorted(found) == sorted([
        ("2025-01-01", code["purchase"]), ("2025-01-01", code["view"]), ("2025-01-05", code["return"]),
        ("2025-01-02", code["purchase"]),
    ])  # fmt: skip


def test_a_column_that_is_optional_may_be_missing_and_another_may_not(tmp_path: Path):
    changes = {"columns": {**CONFIG["columns"], "session_id": "visit"}}
    with pytest.raises(UserError, match="no column 'visit'"):
        made(tmp_path, HEADER + "a,x,2025-01-01,7,\n", **changes)
    p = made(tmp_path, HEADER + "a,x,2025-01-01,7,\n", **changes, optional=["visit"])
    assert p.table("events.parquet")["session_id"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"logs": [{"files": ["log*.csv"]}], "raw": {"folder": ""}}, "logs"),
        ({"columns": {"user_id": "who", "item_id": "what"}, "order_by": ["order"]}, "order_by"),
    ],
)
def test_what_orders_rows_of_several_files_is_not_extended(tmp_path: Path, changes: dict[str, Any], key: str):
    told = {**CONFIG, "raw": {"folder": "", "files": ["log*.csv"]}, **changes}
    (tmp_path / "log.csv").write_text(HEADER + "a,x,2025-01-01,7,\n")
    old = prepare_dataset(told, tmp_path, tmp_path / "old", progress=False)
    (tmp_path / "log2.csv").write_text(HEADER + "a,x,2025-01-02,8,\n")
    with pytest.raises(UserError, match=f"`{key}` of dataset 'shop'"):
        extend_dataset(old, told, tmp_path, tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("places", [
    [f"{1_801_439_850_948_198_401 + n}" for n in (2, 0, 1)],  # neighbours of which are one float
    ["2.5", "-1", "0.25"],
])  # fmt: skip
def test_numbers_order_a_log_to_the_last_digit(tmp_path: Path, places: list[str]):
    rows = [f"a,{item},,{place},\n" for item, place in zip("zxy", places, strict=True)]
    told = {"columns": {"user_id": "who", "item_id": "what"}, "timestamp": {}, "order_by": ["order"]}
    p = made(tmp_path, HEADER + "".join(rows), **told)
    assert p.table("events.parquet")["item_id"].to_pylist() == ["x", "y", "z"]


def test_what_has_steps_is_extended_to_the_same_bytes_as_prepared_at_once(tmp_path: Path):
    told = {
        **CONFIG, "raw": {"folder": "", "files": ["log*.csv"]},
        "columns": {**CONFIG["columns"], "order_id": "order"},
        "steps": [{"fill": {"by": "order", "columns": ["who", "when"]}}, {"text": {"column": "who", "lower": True}}],
    }  # fmt: skip
    (tmp_path / "log.csv").write_text(HEADER + "A,x,2025-01-01,7,\n,y,,7,\n")
    old = prepare_dataset(told, tmp_path, tmp_path / "old", progress=False)
    (tmp_path / "log2.csv").write_text(HEADER + "a,x,2025-01-02,8,\n,z,,8,\n")
    extended = Prepared.open(extend_dataset(old, told, tmp_path, tmp_path / "new", progress=False))
    whole = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "whole", progress=False))
    assert extended.fingerprint == whole.fingerprint
    assert extended.users["user_id"].to_pylist() == ["a"]
    assert len(extended.events.item) == 4


def test_discounts_of_lines_alone_want_no_order_of_the_rows_and_one_of_the_order_does(tmp_path: Path):
    """Lines of basket 7 stand around one of 8: a line's own discount needs no neighbour."""
    text = "who,what,when,order,state,paid,off\na,x,2025-01-01,7,,5.00,-1.00\na,y,2025-01-01,8,,3.00,\n" \
        "a,z,2025-01-01,7,,2.00,0.50\n"  # fmt: skip
    columns = {**CONFIG["columns"], "order_id": "order", "price": "left"}
    own = {"by": "order", "total": "paid", "line": "off", "into": "left"}
    p = made(tmp_path, text, steps=[{"discount": own}], columns=columns)
    assert p.events.price.tolist() == [4.0, 3.0, 1.5]
    with pytest.raises(UserError, match="rows 2 and 4 are of one order, and other ones stand between them"):
        made(tmp_path, text, steps=[{"discount": {**own, "order": "state"}}], columns=columns)
