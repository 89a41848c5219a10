"""What `new-dataset` makes of prices: of a piece or a line, with point or comma, and when it doubts."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ingest.looked_at import guess, rows
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.ingest.guesses.currencies import without_signs
from shopkeeper.ingest.guesses.totals import price_lines


def lines_of_orders(total: bool, n: int = 60, name: str = "line_amount", scale: float = 1) -> str:
    rows = [f"order,customer,sku,when,quantity,{name}"]
    for i in range(n):
        quantity, piece = 1 + i // 5 % 4, (3.5, 9.9, 41.0, 7.25, 120.0)[i % 5]
        rows.append(f"o{i},k{i % 7},K{i % 5},2023-01-{1 + i % 28:02d} 10:00:00,{quantity},"
                    f"{scale * piece * (quantity if total else 1):.2f}")  # fmt: skip
    return "\n".join(rows) + "\n"


def test_an_amount_that_rises_with_the_quantity_is_taken_for_the_lines_with_a_doubt(tmp_path: Path):
    config, text = guess(tmp_path, lines_of_orders(total=True))
    assert (config["columns"]["price"], config["price_is"]) == ("line_amount", "total")
    assert "# DOUBT: 'line_amount' rises with the quantity" in text


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize(("total", "kind"), [(True, "total"), (False, "unit")])
def test_amounts_in_thousands_are_read_as_the_readers_read_them(tmp_path: Path, separator: str, total: bool, kind: str):
    rows = [line.split(",") for line in lines_of_orders(total, scale=700).splitlines()]
    comma = separator != ","
    for row in rows[1:]:
        row[5] = f"{float(row[5]):,.2f}"
        row[5] = row[5].translate(str.maketrans(".,", ",.")) if comma else f'"{row[5]}"'
    assert sum("." in row[5] and "," in row[5] for row in rows[1:]) > 50
    config, text = guess(tmp_path, "\n".join(separator.join(row) for row in rows) + "\n")
    assert config["reader"].get("decimal") == ("," if comma else None)
    assert config.get("price_is", "unit") == kind
    assert ("rises with the quantity" in text) == total


def test_an_orders_total_on_each_of_its_lines_is_a_doubt(tmp_path: Path):
    rows = ["order,customer,sku,when,price"]
    own = ["order,customer,sku,when,price"]
    for order in range(40):
        prices = [2.5 + (order * 7 + line) % 5 for line in range(3)]
        for line, price in enumerate(prices):
            head = f"o{order},k{order % 7},K{(order * 7 + line) % 5},2023-01-{1 + order % 28:02d} 10:00:00"
            rows.append(f"{head},{sum(prices):.2f}")
            own.append(f"{head},{price:.2f}")
    doubt = "'price' is the same on all lines of an order"
    assert doubt in guess(tmp_path, "\n".join(rows) + "\n")[1]
    assert doubt not in guess(tmp_path, "\n".join(own) + "\n")[1]


@pytest.mark.parametrize(
    ("written", "currency"),
    [("{},{:02} €", "EUR"), ("$ {}.{:02}", None), ("CHF 1'{:03}.{:02}", "CHF"), ("{}.{:02}", None)],
)
def test_one_sign_of_currency_beside_all_amounts_is_taken_away(tmp_path: Path, written: str, currency: str | None):
    rows = [
        f"k{i % 7};K{i % 5};2023-01-{1 + i % 28:02d} 10:00:00;{written.format(12 + i % 5, i % 90)}" for i in range(60)
    ]
    config, text = guess(tmp_path, "\n".join(["customer;sku;when;price", *rows]) + "\n")
    assert config["currency"] == currency
    assert ("steps" in config) is (written != "{}.{:02}")
    p = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert p.events.price is not None
    assert round(float(p.events.price.max()), 2) == (1016.59 if "1'" in written else 16.59)
    assert "'price' is called like" not in text


def test_several_signs_of_currency_are_left_and_told(tmp_path: Path):
    rows = [f"k{i % 7};K{i % 5};2023-01-{1 + i % 28:02d} 10:00:00;{12 + i % 5} {'€£'[i % 2]}" for i in range(60)]
    config, text = guess(tmp_path, "\n".join(["customer;sku;when;price", *rows]) + "\n")
    assert "steps" not in config
    assert "'price' is called like a price and holds no plain numbers" in text


def test_a_doubt_about_nobody_leaves_the_config_whole(tmp_path: Path):
    rows = [f"{'guest' if i % 20 == 0 else f'k{i % 9}'},K{i % 5},2023-{1 + i // 28:02d}-{1 + i % 28:02d},2.5"
            for i in range(300)]  # fmt: skip
    config, text = guess(tmp_path, "\n".join(["customer,sku,when,price", *rows]) + "\n")
    assert "set missing: {user_id: ['guest']} and max_rejected_share: 0.06, as rows without one are rejected" in text
    assert config["max_rejected_share"] == 0.01
    assert config["churn"]["horizon_days"] > 0  # which stands before it
    told = config | {"missing": {"user_id": ["guest"]}, "max_rejected_share": 0.06}
    assert Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False)).n_users == 9


def test_net_beside_gross_and_whole_numbers_are_doubts(tmp_path: Path):
    head, rows = "customer,sku,when,price_net,price_gross", []
    for i in range(40):
        rows.append(f"k{i % 7},K{i % 5},2023-01-{1 + i % 28:02d} 10:00:00,{350 + i},{400 + i}")
    text = guess(tmp_path, "\n".join([head, *rows]) + "\n")[1]
    assert "there is 'price_gross': with tax or without?" in text
    assert "are these cents?" in text
    text = guess(tmp_path, "\n".join([head, *(f"{row}.50" for row in rows)]).replace("_gross", "") + "\n")[1]
    assert "with tax" not in text
    named = head.replace("price_net,price_gross", "price (gross),total (gross)")  # one side of the tax, two amounts
    assert "with tax" not in guess(tmp_path, "\n".join([named, *rows]) + "\n")[1]


@pytest.mark.parametrize(
    ("n", "name", "doubt"), [(60, "line_amount", False), (3, "line_amount", True), (3, "price", False)]
)
def test_a_price_for_a_piece_is_a_doubt_only_by_its_name_where_few_rows_can_tell(tmp_path: Path, n, name, doubt):
    config, text = guess(tmp_path, lines_of_orders(total=False, n=n, name=name))
    assert config.get("price_is", "unit") == "unit"
    assert ("for one piece or for the whole line?" in text) == doubt


@pytest.mark.parametrize(
    ("price", "decimal", "first"),
    [("1.234,5{n}", ",", 1234.5), ("14,9{n}", ",", 14.9), ("1,234.5{n}", None, 1234.5), ("12.5{n}", None, 12.5)],
)
@pytest.mark.parametrize("delimiter", [";", ","])
def test_prices_with_either_sign_are_read_as_they_are_written(
    price: str, decimal: str | None, first: float, delimiter: str, tmp_path: Path
):
    written = price if delimiter == ";" else f'"{price}"'
    config, text = guess(tmp_path, rows(written).replace(";", delimiter))
    assert config["columns"]["price"] == "price"
    assert config["reader"].get("decimal") == decimal
    if decimal and (delimiter == "," or "." in price):
        assert "DOUBT: numbers have a comma before their decimals" in text
    prepared = Prepared.open(prepare_dataset(config, tmp_path, tmp_path / "out", progress=False))
    assert prepared.events.price is not None
    assert prepared.events.price.min() == pytest.approx(first)


def test_what_is_called_a_price_and_is_no_number_is_a_doubt_and_not_left_out_in_silence(tmp_path: Path):
    config, text = guess(tmp_path, rows("about 12.5{n}"))
    assert "price" not in config["columns"]
    assert "DOUBT: 'price' is called like a price and holds no plain numbers, e.g. 'about 12.50'" in text
    assert "'price' does, write event_type" not in text  # ten different values are no kinds of events
    assert "is called like" not in guess(tmp_path, rows("12.5{n}").replace("price", "value"))[1]
    assert "holds no plain numbers" not in guess(tmp_path, rows("red").replace("price", "cost_centre"))[1]


def test_thousands_alone_do_not_say_what_the_comma_is(tmp_path: Path):
    config, text = guess(tmp_path, rows('"1,29{n}"').replace(";", ","))
    assert "decimal" not in config["reader"]
    assert "price" not in config["columns"] or "DOUBT" in text


def test_a_sign_is_taken_from_amounts_of_which_more_than_nineteen_in_twenty_carry_it():
    def found(bare: int, signed: int, sign: str = "€") -> dict[str, str]:
        return without_signs(pl.DataFrame({"paid": ["4 €"] * signed + ["5"] * bare + [f"6 {sign}"]}))[1]

    assert found(bare=1, signed=18) == {}
    assert found(bare=1, signed=19) == {"paid": "€"}
    assert found(bare=0, signed=40, sign="£") == {}  # sums of both mean nothing


def test_a_name_that_says_both_sides_of_the_tax_says_neither():
    frame = pl.DataFrame({"net_incl_tax": [1.5] * 9, "total_gross": [2.5] * 9})
    (doubt,) = price_lines(frame, {"price": "net_incl_tax"})
    assert "there is 'total_gross': with tax or without?" in doubt


@pytest.mark.parametrize(
    ("others", "price"),
    [(("shelf_price", "paid_price"), "paid_price"), (("list_price", "unit_price"), "unit_price"),
     (("unit_cost", "unit_price"), "unit_price"), (("shelf_price", "weight"), "shelf_price")],
)  # fmt: skip
def test_of_several_prices_the_one_that_was_paid_is_taken(tmp_path: Path, others: tuple[str, str], price: str):
    head = f"receipt_no,customer,article,date,{','.join(others)}\n"
    lines = (
        f"{n // 3},c{n % 9},s{n % 5},2024-03-{1 + n % 28:02} 10:00,{2 + n % 5}.50,{1 + n % 5}.99" for n in range(60)
    )
    config, _ = guess(tmp_path, head + "\n".join(lines) + "\n")
    assert config["columns"]["price"] == price
