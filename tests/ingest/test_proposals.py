"""What `new-dataset` proposes of a shop's habits: returns, windows of churn, visitors, goods, discounts, currencies."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import yaml

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.ingest.exports import known
from shopkeeper.ingest.guesses.beside import basket_line
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.pipeline.preparing.orders import without_orders
from shopkeeper.schema import EVENT_TYPES

HEAD = "customer_id,sku,invoice,ordered_at,quantity,unit_price\n"


def guess(path: Path, text: str) -> tuple[dict, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    said = guess_dataset(path)
    return yaml.safe_load(said), said


def kinds(config: dict, folder: Path) -> dict[str, int]:
    p = Prepared.open(prepare_dataset(config, folder, folder / "out", progress=False))
    found = [EVENT_TYPES[kind - 1] for kind in p.events.event_type.tolist()]
    assert p.events.quantity is not None
    assert (p.events.quantity > 0).all()
    return {kind: found.count(kind) for kind in set(found)}


@pytest.mark.parametrize(
    ("mark", "rule", "made"),
    [("C", {"column": "invoice", "matches": "^C", "value": "return"}, {"purchase": 118, "return": 2}),
     ("", {"column": "quantity", "matches": r"^\s*-", "value": "return"}, {"purchase": 117, "return": 3})],
)  # fmt: skip
def test_negative_units_are_returns_by_the_mark_of_their_orders_if_one_tells_them(
    tmp_path: Path, mark: str, rule: dict, made: dict
):
    rows = [f"c{i % 9},s{i % 7},{1000 + i},2024-0{1 + i % 9}-11 10:00,2,5.5" for i in range(117)]
    rows += [f"c1,s1,{mark}{2000 + i},2024-09-2{i} 10:00,-1,5.5" for i in range(2)]
    rows += ["c2,s1,3000,2024-09-25 10:00,-9,5.5"]  # lost in the store: of no marked order
    config, said = guess(tmp_path / "log.csv", HEAD + "\n".join(rows) + "\n")
    assert config["event_type"] == {"value": "purchase", "rules": [rule]}
    assert ("begins with C; 1 others are rejected" in said) is bool(mark)
    if mark:
        made = made | {"purchase": 117}
    assert kinds(config, tmp_path) == made


def test_a_doubt_about_negative_amounts_can_be_typed_as_it_stands(tmp_path: Path):
    rows = [f"c{i % 9};2024-0{1 + i % 9}-1{i % 7};{-5 if i % 30 == 0 else 9}" for i in range(90)]
    config, said = guess(tmp_path / "log.csv", "customer;date;amount\n" + "\n".join(rows) + "\n")
    assert config["event_type"] == "purchase"
    told = said.partition("'amount' is negative in 3 rows, which are rejected; where these are returns: ")[2]
    config |= yaml.safe_load(told.splitlines()[0])
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    names = [EVENT_TYPES[kind - 1] for kind in p.events.event_type.tolist()]
    assert {name: names.count(name) for name in set(names)} == {"purchase": 87, "return": 3}


def test_where_kinds_of_events_are_told_those_of_negative_units_are_no_doubt(tmp_path: Path):
    rows = [f"c{i % 9},s{i % 7},{i},2024-0{1 + i % 9}-11 10:00,{-1 if i % 30 == 0 else 2},5" for i in range(90)]
    told = [f"{row},{'refund' if ',-1,' in row else 'order'}" for row in rows]
    head = HEAD.strip() + ",action\n"
    config, said = guess(tmp_path / "log.csv", head + "\n".join(told) + "\n")
    assert "negative" not in said
    assert kinds(config, tmp_path) == {"purchase": 87, "return": 3}
    config, said = guess(tmp_path / "all.csv", head + "\n".join(f"{row},order" for row in rows) + "\n")
    assert "is negative in 3 of the first 90 rows: taken for returns" in said
    assert kinds(config, tmp_path) == {"purchase": 87, "return": 3}


def weekly(weeks: int, every: int, customers: int = 30) -> str:
    start = datetime(2024, 1, 1, 9)
    rows = [(start + timedelta(days=7 * week + customer % 7), f"c{customer},s{customer % 7},{week}{customer}")
            for week in range(weeks) for customer in range(customers) if (week + customer) % every == 0]  # fmt: skip
    return HEAD + "".join(f"{who},{when:%Y-%m-%d %H:%M},1,5.5\n" for when, who in sorted(rows))


@pytest.mark.parametrize(
    ("weeks", "every", "churn", "lists"),
    [(52, 1, 7, 7), (52, 3, 21, 21), (120, 13, 91, 91),
     (60, 13, 91, 69),  # of 419 days a sixth
     (20, 6, 28, 23),  # wanted are 42 days, and there is no room
     (3, 1, None, 3)],
)  # fmt: skip
def test_windows_are_those_within_which_customers_come_back(
    tmp_path: Path, weeks: int, every: int, churn: int | None, lists: int
):
    config, said = guess(tmp_path / "log.csv", weekly(weeks, every))
    assert config.get("churn") == (churn and {"horizon_days": churn, "active_days": churn})
    assert config["temporal"] == {"validation_days": lists, "test_days": lists}
    assert ("the log has no room" in said) is (weeks == 20)
    assert ("of a shorter log a sixth" in said) is (lists not in (churn, 28))
    header, *rows = weekly(weeks, every).splitlines()
    (tmp_path / "parts").mkdir()
    for part in range(2):
        (tmp_path / "parts" / f"{part}.csv").write_text("\n".join([header, *rows[part::2]]) + "\n")
    parts = yaml.safe_load(guess_dataset(tmp_path / "parts"))
    assert parts.get("churn") == config.get("churn")
    assert parts["temporal"] == config["temporal"] or (weeks == 3 and parts["temporal"]["test_days"] == 28)


def test_a_known_exports_windows_are_of_the_shops_own_gaps_and_its_currency_is_read_or_asked(tmp_path: Path):
    names = [*dict(known())["prestashop_orders"].columns, "iso_code"]
    orders = ["id_order;id_customer;date_add;current_state;valid;total_discounts_tax_incl"]
    lines = []
    for number in range(400):
        when = datetime(2024, 1, 1, 9) + timedelta(days=number)
        orders.append(f"{number};{number % 10};{when:%Y-%m-%d %H:%M:%S};2;1;0.00")
        lines.append(f"{number};7;0;P7;Pot;1;12.00;EUR")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.csv").write_text("\n".join(orders) + "\n")
    detail = tmp_path / "shop" / "order_detail.csv"
    detail.write_text("\n".join([";".join(names), *lines]) + "\n")
    told = yaml.safe_load(guess_dataset(tmp_path / "shop"))
    assert told["currency"] == "EUR"
    assert told["churn"] == {"horizon_days": 14, "active_days": 14}  # each comes every ten days
    assert told["temporal"] == {"validation_days": 14, "test_days": 14}
    detail.write_text("\n".join([";".join(names[:-1]), *(line.removesuffix(";EUR") for line in lines)]) + "\n")
    said = guess_dataset(tmp_path / "shop")
    assert "currency: null # DOUBT: in which are the prices?" in said
    detail.write_text("\n".join([";".join(names), *lines[1:], lines[0].replace("EUR", "USD")]) + "\n")
    assert "DOUBT: prices are in 2 currencies (EUR 99.8%, USD 0.2%)" in guess_dataset(tmp_path / "shop")


@pytest.mark.parametrize(
    ("price", "line"),
    [("unit_price", "currency: null # DOUBT: in which"), ("price_EUR", "currency: EUR # as 'price_EUR' says"),
     ("Price (€)", "currency: EUR # as 'Price (€)' says"), ("pricechf", "currency: null # DOUBT: in which")],
)  # fmt: skip
def test_the_currency_is_that_of_the_heading_or_asked_for(tmp_path: Path, price: str, line: str):
    _, said = guess(tmp_path / "log.csv", weekly(20, 1).replace("unit_price", price))
    assert line in said
    assert "currency" not in guess(tmp_path / "views.csv", "user,item,time\nu,i,2024-01-02\n")[1]


def test_who_is_not_logged_in_is_read_by_the_other_id_and_order_numbers_in_records_are_read(tmp_path: Path):
    rows = []
    for n in range(60):
        who = {"anonymous_id": f"a{n % 20}"} | ({"customer_id": f"c{n % 20}"} if n % 20 < 12 and n > 25 else {})
        rows.append({
            "event": "purchase", "ts": f"2024-0{1 + n // 10}-11T10:00:00Z", "visitor": who, "order": {"id": f"o{n}"},
            "products": [{"sku": f"s{n % 6}", "name": f"Cup {n % 6}", "category": f"g{n % 2}", "price": 5, "qty": 1}],
        })  # fmt: skip
    config, _ = guess(tmp_path / "calls.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert config["columns"]["user_id"] == "person"
    assert config["columns"]["order_id"] == "order.id"
    assert config["items"] == {"from_events": {"name": "products.name", "category": "products.category"}}
    assert config["identity"] == {"from_events": {"account": "visitor.customer_id", "key": "visitor.anonymous_id"}}
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert (p.manifest["n_events"], p.n_users) == (
        60,
        32,
    )  # 20 visitors, 12 of whom have logged in: one each at a cutoff
    assert set(p.items["category"].to_pylist()[1:]) == {"g0", "g1"}
    for row in rows[:26]:  # nobody is seen before a login and after it: there is nothing to link
        if int(row["visitor"]["anonymous_id"][1:]) < 12:
            row["visitor"]["customer_id"] = row["visitor"]["anonymous_id"].replace("a", "c")
    assert "identity" not in guess(tmp_path / "more.jsonl", "".join(json.dumps(row) + "\n" for row in rows))[0]


def test_a_discount_that_is_not_read_is_a_doubt_whose_way_out_prepares(tmp_path: Path):
    text = "".join(f"{line},{'discount' if n == 0 else 0.5}\n" for n, line in enumerate(weekly(30, 1).splitlines()))
    config, said = guess(tmp_path / "log.csv", text)
    (doubt,) = [line for line in said.splitlines() if "'discount' is not used" in line]
    told = yaml.safe_load("{" + doubt.partition("before: ")[2] + "}")
    changed = config | told | {"columns": config["columns"] | told["columns"]}
    p = Prepared.open(prepare_dataset(changed, tmp_path, tmp_path / "out", progress=False))
    assert p.events.price is not None
    assert set(p.events.price.tolist()) == {5.0}
    assert "is not used: is" not in guess(tmp_path / "none.csv", text.replace(",0.5\n", ",0\n"))[1]


def baskets(days: int) -> str:
    """A grocer's log without numbers of orders: each of ten customers takes three things, a day or more apart."""
    rows = [f"{n % 10},s{(n + i) % 9},2024-0{1 + n // 28}-{1 + n % 28:02},a{n % 3},g{(n + i) % 9 % 2},d,1,2.5"
            for n in range(0, days) for i in range(3)]  # fmt: skip
    return "customer_id,sku,day_date,price_group,category,department,quantity,price\n" + "\n".join(rows) + "\n"


def test_what_was_bought_in_one_day_is_an_order_where_nothing_numbers_them(tmp_path: Path):
    config, said = guess(tmp_path / "log.csv", baskets(250))
    assert config["columns"]["order_id"] == ["customer_id", "day_date"]
    assert "# DOUBT: no column numbers orders: what a customer bought at one instant" in said
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert p.events.order is not None
    assert len(set(p.events.order.tolist())) == 250
    assert config["items"] == {"from_events": {"category": "category"}}  # `department` is less telling, groups differ
    one = "\n".join(baskets(250).splitlines()[::3]) + "\n"  # a thing a day
    assert "order_id" not in guess(tmp_path / "one.csv", one)[0]["columns"]
    bare = [",".join(line.split(",")[:3]) for line in baskets(250).splitlines()]
    config = guess(tmp_path / "bare.csv", "\n".join(bare) + "\n")[0]
    assert config["columns"]["order_id"] == ["customer_id", "day_date"]  # who, what and when: purchases, too
    for name, value in (("session", "s"), ("rating", "4")):  # looks and ratings are no orders
        text = "\n".join([f"{bare[0]},{name}", *(f"{line},{value}{n}" for n, line in enumerate(bare[1:]))]) + "\n"
        assert "order_id" not in guess(tmp_path / f"{name}.csv", text)[0]["columns"]


@pytest.mark.parametrize("timed", [True, False])
def test_what_is_proposed_for_files_that_overlap_is_something_that_their_columns_can_take(tmp_path: Path, timed: bool):
    header = "customer,sku,session" + ",time" * timed
    rows = [
        f"c{n % 9},i{n % 7},s{n // 4}" + f",2024-01-{1 + n % 28:02d}T10:{n % 60:02d}:00Z" * timed for n in range(90)
    ]
    (tmp_path / "logs").mkdir()
    for name in "ab":
        (tmp_path / f"logs/{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    said = guess_dataset(tmp_path / "logs")
    assert "DOUBT: no column numbers orders: rows that stand in two of these files count twice" in said
    assert ("repeats: {seconds: 0, of: all}" in said) == timed
    assert ("see to it that files do not overlap" in said) != timed


def test_what_was_bought_in_one_day_is_an_order_in_a_log_of_several_kinds_too(tmp_path: Path):
    header, *bought = baskets(250).splitlines()
    rows = [f"{line},{kind}" for line in bought for kind in ("view", "view", "buy")]
    config, said = guess(tmp_path / "log.csv", "\n".join([f"{header},action", *rows]) + "\n")
    assert config["columns"]["order_id"] == ["customer_id", "day_date"]
    assert "# DOUBT: no column numbers orders: what a customer bought at one instant" in said
    manifest = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False)).manifest
    assert (manifest["sent_again"], manifest["ties"]["of_purchases"]) == (0, 0)  # two looks are no line sent twice
    torn = config | {"columns": {k: v for k, v in config["columns"].items() if k != "order_id"}}
    p = Prepared.open(prepare_dataset(torn, tmp_path, tmp_path / "torn", progress=False))
    assert without_orders(p) == pytest.approx(2 / 3)  # views in between or not
    looks = "\n".join([f"{header},action", *(row.replace("buy", "view") for row in rows)]) + "\n"
    assert "order_id" not in guess(tmp_path / "looks.csv", looks)[0]["columns"]


def test_lines_without_an_order_are_told_from_a_tenth_on_where_no_number_tells_them_apart():
    def share(of: float = 0.1, order: object = None, items: int = 2) -> float:
        manifest = {"ties": {"of_purchases": of}}
        events = SimpleNamespace(order=order)
        return without_orders(SimpleNamespace(manifest=manifest, events=events, n_items=items))  # type: ignore[arg-type]

    assert share() == 0.1
    assert share(of=0.099) == 0
    assert share(order=[1, 1, 2]) == 0
    assert share(items=1) == 0  # nothing to be asked for


def test_a_blank_says_nothing_of_an_item(tmp_path: Path):
    text = "".join(f'{line},{"kind" if n == 0 else (chr(34) * 2 if n % 5 else "g")}\n'
                   for n, line in enumerate(baskets(60).replace("category", "kind_of").splitlines()))  # fmt: skip
    config, _ = guess(tmp_path / "log.csv", text.replace(",kind\n", ",category\n", 1))
    assert config["items"] == {"from_events": {"category": "category"}}
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert set(p.items["category"].to_pylist()) <= {"g", None}


def test_lines_make_orders_from_a_hundredth_of_them_on():
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when", "price": "paid"}

    def proposed(rows: int) -> bool:  # two of which stand beside each other
        when = [str(max(n, 1)) for n in range(rows)]
        frame = pl.DataFrame({"who": ["a"] * rows, "when": when})
        return basket_line(frame, columns, {}, None, "purchase") is not None

    assert proposed(200)
    assert not proposed(201)
