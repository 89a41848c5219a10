"""What `new-dataset` takes a log for: purchases, ratings, sessions; and whether people take things twice."""

from __future__ import annotations

from pathlib import Path

import yaml

from ingest.looked_at import log, written
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.schema import EVENT_CODE


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


def test_times_and_seconds_on_a_page_are_no_items(tmp_path: Path):
    rows = "".join(f"s{n // 4},/p/{n * 7 % 11},{1740787259831 + n * 60_011},{n / 8 + 1}\n" for n in range(200))
    told = yaml.safe_load(guess_dataset(written(tmp_path, "s.csv", "session_id,page,ts_ms,dwell_s\n" + rows)))
    columns = told["columns"]
    assert (columns["timestamp"], columns["user_id"], columns["item_id"]) == ("ts_ms", "session_id", "page")
    assert told["timestamp"] == {"unit": "ms"}
    unnamed = guess_dataset(written(tmp_path, "u.csv", "session_id,page,moment,dwell_s\n" + rows))
    assert yaml.safe_load(unnamed)["columns"]["item_id"] == "page"


def test_units_that_came_back_and_orders_that_were_cancelled_may_stand_in_columns_of_their_own(tmp_path: Path):
    rows = [
        f"{n // 2},2024-0{1 + n // 40}-{1 + n % 28:02d} 10:00,c{n % 7},w{n % 5},{2 + n % 3},{2 * (n % 10 == 0)},"
        f"{['complete', 'cancelled', 'Not cancelled'][n // 2 % 3]}"
        for n in range(200)
    ]
    header = "order,date,customer,product,quantity,returned_qty,status\n"
    told = yaml.safe_load(text := guess_dataset(written(tmp_path, "w.csv", header + "\n".join(rows) + "\n")))
    doubts = [
        line.removeprefix("# DOUBT: ") for line in text.splitlines() if "which count" in line or "above 0" in line
    ]
    assert len(doubts) == 2
    assert doubts[0].startswith("'returned_qty' is above 0 in 20 of the first 200 rows")
    assert doubts[1].startswith("'status' is cancelled in 66 of the first 200 rows")
    steps, kinds = doubts[0].partition("steps: ")[2].split(" and event_type: ")
    told |= {"steps": yaml.safe_load(steps), "event_type": yaml.safe_load(kinds), "max_rejected_share": 0.5}
    told |= yaml.safe_load("cancelled: " + doubts[1].partition("cancelled: ")[2])
    p = Prepared.open(prepare_dataset(told, tmp_path, tmp_path / "out", progress=False))
    events = p.events
    returned = events.event_type == EVENT_CODE["return"]
    kept = [row.split(",") for row in rows if not row.endswith(",cancelled")]
    assert len(events.item) - int(returned.sum()) == len(kept)
    assert int(returned.sum()) == sum(int(row[5]) > 0 for row in kept)
    assert events.quantity is not None
    assert set(events.quantity[returned].tolist()) == {2.0}
