"""`new-dataset` of exports that want something else than a temporal split of the files it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.new_dataset import guess_dataset


def proposed(file: Path, text: str) -> dict[str, Any]:
    file.write_text(text)
    told: dict[str, Any] = yaml.safe_load(guess_dataset(file))
    return told


def test_sessions_are_split_as_sessions_and_a_sources_own_files_are_not_named_again(tmp_path: Path):
    text = "sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n"
    told = proposed(tmp_path / "train-item-views.csv", text)
    assert told["defaults"][0] == {"/source@_here_": "diginetica"}
    assert told["defaults"][2] == {"override /split@_global_.split": "sessions"}
    assert "files" not in told["raw"]


def test_a_log_without_times_gets_no_time_zone(tmp_path: Path):
    orders = (
        "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order\n5,1,prior,1,2,8,\n"
    )
    (tmp_path / "orders.csv").write_text(orders)
    lines = "order_id,product_id,add_to_cart_order,reordered\n5,12,1,0\n"
    told = proposed(tmp_path / "order_products__prior.csv", lines)
    assert told["defaults"][0] == {"/source@_here_": "instacart"}
    assert told["defaults"][2] == {"override /split@_global_.split": "leave_one_out"}
    assert told["raw"]["files"] == ["order_products__prior.csv"]
    assert "timestamp" not in told


def test_an_export_that_is_no_log_is_said_with_what_to_use(tmp_path: Path):
    header = (
        "Date,Order #,N. Revenue (formatted),Status,Customer,Customer type,Product(s),Items sold,Coupon(s),Net Sales\n"
    )
    with pytest.raises(UserError, match=r"looks like WooCommerce's Analytics > Orders.*; use an export of orders"):
        proposed(tmp_path / "a.csv", header + '2025-11-05 14:03:11,1,28,completed,Ann,new,"2× Cup",2,,28\n')
