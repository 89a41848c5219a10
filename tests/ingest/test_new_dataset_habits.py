"""What `new-dataset` takes a log for: purchases, ratings, sessions; and whether people take things twice."""

from __future__ import annotations

from pathlib import Path

import yaml

from ingest.looked_at import log, written
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.guesses.new_dataset import guess_dataset


def test_a_list_of_customer_and_date_is_purchases(tmp_path: Path):
    told = yaml.safe_load(guess_dataset(written(tmp_path, "c.csv", "customer,date\n" + "".join(
        f"c{n % 9},2024-01-{1 + n % 28:02d}\n" for n in range(90)))))  # fmt: skip
    assert (told["event_type"], told["constants"], told["filter_seen"]) == ("purchase", {"item_id": "all"}, False)


def test_a_table_of_orders_without_items_says_what_its_amounts_are(tmp_path: Path):
    rows = "".join(
        f"c{n % 9},2024-01-{1 + n % 28:02d},{1 + n % 4},{(1 + n % 4) * (9 + n % 3):.2f}\n" for n in range(90)
    )
    told = yaml.safe_load(guess_dataset(written(tmp_path, "c.csv", "customer,date,number_of_cds,amount\n" + rows)))
    assert (told["constants"], told["price_is"], told["event_type"]) == ({"item_id": "all"}, "total", "purchase")


def test_ratings_are_ratings_and_a_time_of_a_visit_is_no_session(tmp_path: Path):
    rows = "".join(f"c{n % 9},i{n},{n % 5},2024-01-{1 + n % 28:02d}\n" for n in range(90))
    told = yaml.safe_load(guess_dataset(written(tmp_path, "r.csv", "user,movie,rating,visit_date\n" + rows)))
    assert (told["event_type"], told["target_events"], told["filter_seen"]) == ("rating", ["rating"], True)
    assert told["columns"] == {"user_id": "user", "item_id": "movie", "timestamp": "visit_date"}


def test_whether_people_take_things_twice_is_seen(tmp_path: Path):
    once = guess_dataset(written(tmp_path, "once.csv", log(items=20)))
    assert "filter_seen: true # in 380 further events of a customer no item came back" in once
    again = guess_dataset(written(tmp_path, "again.csv", log(items=10)))
    assert "filter_seen: false # 52.6% of a customer's further events are of an item from before" in again
    few = guess_dataset(written(tmp_path, "few.csv", log(items=20, n=60)))
    assert yaml.safe_load(few)["filter_seen"] is False
    assert "filter_seen: false # true where people do not" in few


def test_what_was_looked_at_before_it_was_bought_was_seen(tmp_path: Path):
    header, *rows = log(items=20).splitlines()
    looks = [f"{row},{kind}" for row in rows for kind in ("click", "buy")]
    said = guess_dataset(written(tmp_path, "both.csv", "\n".join([f"{header},action", *looks]) + "\n"))
    assert "filter_seen: false # 100.0% of a customer's further events are of an item from before" in said
    others = [f"{row},buy" if n % 2 else f"{row.replace(',i', ',j')},click" for n, row in enumerate(rows)]
    said = guess_dataset(written(tmp_path, "apart.csv", "\n".join([f"{header},action", *others]) + "\n"))
    assert "filter_seen: true # in 190 further events of a customer no item came back" in said


def test_orders_that_are_counted_by_customer_put_a_log_without_times_in_order(tmp_path: Path):
    rows = [f"c{c},{n},i{(c + n + line) % 9}" for n in range(1, 6) for c in range(30) for line in range(2)]
    told = guess_dataset(written(tmp_path, "orders.csv", "customer,order_number,product\n" + "\n".join(rows) + "\n"))
    assert "order_by: [order_number] # DOUBT: no column looks like a time; it numbers each customer's orders" in told
    one_shops = [f"c{n % 30},{1000 + n},i{n % 9}" for n in range(300)]
    told = guess_dataset(written(tmp_path, "shop.csv", "customer,order_number,product\n" + "\n".join(one_shops) + "\n"))
    assert "order_by" not in told


def test_a_log_of_sessions_is_split_by_sessions(tmp_path: Path):
    told = yaml.safe_load(text := guess_dataset(written(tmp_path, "s.csv", log(20, "session_id,sku,time"))))
    assert told["columns"]["user_id"] == told["columns"]["session_id"] == "session_id"
    assert told["defaults"][-1] == {"override /split@_global_.split": "sessions"}
    assert "DOUBT: no column is called like a user_id; each session is taken for a customer" in text
    assert parse(told).columns["user_id"] == "session_id"
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False))
    assert p.n_users == 20
    assert "churn" not in told  # nothing is bought
    kinds = "\n".join(
        f"s{n // 3},g{n % 7},2025-01-{1 + n // 10:02d}T10:00:00Z,{['look', 'buy'][n % 3 == 2]}" for n in range(280)
    )
    asked = yaml.safe_load(guess_dataset(written(tmp_path, "k.csv", f"session_id,sku,time,action\n{kinds}\n")))
    assert asked["churn"]["horizon_days"] == asked["temporal"]["test_days"] == 4
    bought = log(20, "session_id,sku,time,customer,order,price").replace("Z\n", "Z,k,o,2\n")
    told = yaml.safe_load(guess_dataset(written(tmp_path, "b.csv", bought)))
    assert told["defaults"][-1] == {"override /split@_global_.split": "temporal"}
