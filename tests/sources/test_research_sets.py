"""Public sets as researchers have them: each in a few rows of its published shape, its traps counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from sources.shop import events, prepared


def test_retailrocket_has_milliseconds_and_rows_twice(tmp_path: Path):
    text = "timestamp,visitorid,event,itemid,transactionid\n" + (
        "1433221332117,257597,view,355908,\n1433221332117,257597,view,355908,\n"
        "1433221337106,257597,addtocart,355908,\n1433222276276,257597,transaction,355908,4000\n"
        "1433222276276,257597,transaction,15335,4000\n1433222276277,257597,transaction,15335,\n"
    )
    p = prepared(tmp_path, "retailrocket", {"events.csv": text}, max_rejected_share=0.5)
    assert [row[1:4] for row in events(p)] == [
        ("355908", "view", "2015-06-02T05:02:12.117000Z"),
        ("355908", "add_to_cart", "2015-06-02T05:02:17.106000Z"),
        ("15335", "purchase", "2015-06-02T05:17:56.276000Z"),
        ("355908", "purchase", "2015-06-02T05:17:56.276000Z"),
    ]
    assert p.manifest["rejected"] == {"transactionid: no order_id (required for purchase)": 1}
    assert p.table("events.parquet")["order_id"].to_pylist() == [None, None, "4000", "4000"]


def test_rees46_says_utc_and_lacks_brands(tmp_path: Path):
    text = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n" + (
        "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d7\n"
        "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d7\n"
        "2019-10-01 00:02:00 UTC,cart,3900821,2053013552326770905,appliances.water_heater,,33.20,541312140,72d7\n"
        "2019-10-01 00:03:00 UTC,purchase,3900821,2053013552326770905,appliances.water_heater,,33.20,541312140,72d7\n"
    )
    p = prepared(tmp_path, "rees46_events", {"2019-Oct.csv": text})
    assert [row[1:4] + row[5:] for row in events(p)] == [
        ("44600062", "view", "2019-10-01T00:00:00Z", 35.79),
        ("3900821", "add_to_cart", "2019-10-01T00:02:00Z", 33.2),
        ("3900821", "purchase", "2019-10-01T00:03:00Z", 33.2),
    ]
    brands = dict(zip(p.items["item_id"].to_pylist(), p.items["brand"].to_pylist(), strict=True))
    assert brands == {"44600062": "shiseido", "3900821": None}


def test_diginetica_adds_milliseconds_to_the_date_and_purchases_from_a_second_file(tmp_path: Path):
    views = "sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09\n"
    bought = "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n1;NA;1500000;2016-05-09;16421;31331\n"
    p = prepared(tmp_path, "diginetica", {"train-item-views.csv": views, "train-purchases.csv": bought})
    assert events(p) == [
        ("1", "81766", "view", "2016-05-09T00:08:46.309000Z", 0.0, 0.0),
        ("1", "31331", "view", "2016-05-09T00:17:11.018000Z", 0.0, 0.0),
        ("1", "31331", "purchase", "2016-05-09T00:25:00Z", 0.0, 0.0),
    ]
    assert p.table("events.parquet")["order_id"].to_pylist() == [None, None, "16421"]
    assert [f["name"] for f in p.manifest["raw_files"]] == ["train-item-views.csv", "train-purchases.csv"]


def test_a_copy_of_diginetica_without_headers_is_told_and_read(tmp_path: Path):
    views = "1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09\n"
    files = {"train-item-views.csv": views, "train-purchases.csv": "1;NA;1500000;2016-05-09;16421;31331\n"}
    p = prepared(tmp_path, "diginetica", files)
    assert [row[1:4] for row in events(p)] == [
        ("81766", "view", "2016-05-09T00:08:46.309000Z"),
        ("31331", "view", "2016-05-09T00:17:11.018000Z"),
        ("31331", "purchase", "2016-05-09T00:25:00Z"),
    ]
    for name in files:
        told = yaml.safe_load(guess_dataset(tmp_path / name))
        assert told["defaults"][0] == {"/source@_here_": "diginetica"}
        assert "reader" not in told


def test_a_date_or_an_offset_that_is_none_is_rejected_with_its_row(tmp_path: Path):
    views = "sessionId;userId;itemId;timeframe;eventdate\n1;NA;5;1;2016-05-09\n1;NA;5;x;2016-05-09\n1;NA;5;1;9 May\n"
    bought = "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n1;NA;1;2016-05-09;1;5\n"
    files = {"train-item-views.csv": views, "train-purchases.csv": bought}
    p = prepared(tmp_path, "diginetica", files, max_rejected_share=0.5)
    rejected = [tuple(r.values()) for r in p.table("rejected.parquet").to_pylist()]
    assert rejected == [
        ("train-item-views.csv", 3, "timeframe", "not ms", "x"),
        ("train-item-views.csv", 4, "eventdate", "not a date", "9 May"),
    ]


def test_yoochoose_reads_categories_as_text_and_zero_prices_as_unknown(tmp_path: Path):
    clicks = "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S\n"
    buys = "1,2014-04-07T11:00:00.000Z,214536500,12462,2\n1,2014-04-07T11:00:01.500Z,214536502,0,0\n"
    p = prepared(tmp_path, "yoochoose", {"yoochoose-clicks.dat": clicks, "yoochoose-buys.dat": buys})
    assert events(p) == [
        ("1", "214536502", "view", "2014-04-07T10:51:09.277000Z", 0.0, 0.0),
        ("1", "214536500", "view", "2014-04-07T10:54:09.868000Z", 0.0, 0.0),
        ("1", "214536500", "purchase", "2014-04-07T11:00:00Z", 2.0, 24924.0),
        ("1", "214536502", "purchase", "2014-04-07T11:00:01.500000Z", 0.0, 0.0),
    ]
    assert p.manifest["n_rejected"] == 0
    assert dict(zip(p.items["item_id"].to_pylist(), p.items["category"].to_pylist(), strict=True)) == {
        "214536502": "0",
        "214536500": "S",
    }


def test_ta_feng_has_american_dates_padded_ids_and_totals(tmp_path: Path):
    text = (
        '"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT","ASSET",'
        '"SALES_PRICE"\n"11/1/2000","01104905","45-49","115","110411","4710199010372","2","24","30"\n'
        '"11/13/2000","01104905","45-49","115","110411","0010199010372","1","24","15"\n'
        '"11/13/2000","01104905","45-49","115","110411","4710199010372","1","24","15"\n'
    )
    p = prepared(tmp_path, "ta_feng", {"ta_feng_all_months_merged.csv": text})
    assert events(p) == [
        ("01104905", "4710199010372", "purchase", "2000-10-31T16:00:00Z", 2.0, 30.0),
        ("01104905", "0010199010372", "purchase", "2000-11-12T16:00:00Z", 1.0, 15.0),
        ("01104905", "4710199010372", "purchase", "2000-11-12T16:00:00Z", 1.0, 15.0),
    ]
    orders = p.table("events.parquet")["order_id"].to_pylist()
    assert [orders.count(order) for order in dict.fromkeys(orders)] == [1, 2]


def test_instacart_is_put_into_the_order_of_orders_and_carts_and_has_no_times(tmp_path: Path):
    (tmp_path / "orders.csv").write_text(
        "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order\n"
        "900,1,prior,2,3,10,7.0\n901,1,prior,10,3,10,30.0\n5,1,prior,1,2,8,\n7,2,train,1,2,8,\n8,2,test,2,2,8,9.0\n"
    )
    (tmp_path / "products.csv").write_text("product_id,product_name,aisle_id,department_id\n11,Milk,1,2\n12,Tea,3,4\n")
    prior = "order_id,product_id,add_to_cart_order,reordered\n900,12,2,0\n900,11,1,0\n901,13,1,0\n5,12,1,0\n"
    train = "order_id,product_id,add_to_cart_order,reordered\n7,11,1,0\n"
    files = {"order_products__prior.csv": prior, "order_products__train.csv": train}
    p = prepared(tmp_path, "instacart", files)
    assert p.events.timestamp is None
    names, users = p.items["item_id"].to_pylist(), p.users["user_id"].to_pylist()
    history = [(users[u - 1], names[i - 1]) for u, i in zip(p.event_user, p.events.item, strict=True)]
    assert [item for user, item in history if user == "1"] == ["12", "11", "12", "13"]
    assert [item for user, item in history if user == "2"] == ["11"]
    assert dict(zip(names, p.items["name"].to_pylist(), strict=True)) == {"12": "Tea", "11": "Milk", "13": None}


def test_dunnhumby_pays_sales_value_less_the_makers_coupon_at_hour_and_minute(tmp_path: Path):
    text = (
        "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID,RETAIL_DISC,TRANS_TIME,WEEK_NO,"
        "COUPON_DISC,COUPON_MATCH_DISC\n2375,26984851472,1,1004906,2,3.00,364,-0.60,1631,1,-0.50,-0.5\n"
        "2375,26984851472,1,1033142,1,0.82,364,0,1631,1,0,0\n2375,26984851999,32,1033142,1,0.82,364,0.1,5,5,0,0\n"
    )
    p = prepared(tmp_path, "dunnhumby", {"transaction_data.csv": text})
    assert events(p) == [
        ("2375", "1004906", "purchase", "2000-01-01T16:31:00Z", 2.0, 2.5),
        ("2375", "1033142", "purchase", "2000-01-01T16:31:00Z", 1.0, 0.82),
        ("2375", "1033142", "purchase", "2000-02-01T00:05:00Z", 1.0, 0.82),
    ]


def test_hms_lost_zeros_come_back_and_equal_rows_are_pieces(tmp_path: Path):
    row = "2018-09-20,000058a1,{},0.050830508474576264,2\n"
    text = (
        "t_dat,customer_id,article_id,price,sales_channel_id\n" + 2 * row.format("663713001") + row.format("0541518023")
    )
    p = prepared(tmp_path, "hm", {"transactions_train.csv": text})
    assert [row[1] for row in events(p)] == ["0541518023", "0663713001", "0663713001"]
    assert len(set(p.table("events.parquet")["order_id"].to_pylist())) == 1


def test_amazon_2023_with_a_header_and_without(tmp_path: Path):
    rows = "AGKHL,B00YQ6X8EO,5.0,1588687728923\nAGKHL,B081TJ8YS3,4.0,1588615855070\n"
    header = "user_id,parent_asin,rating,timestamp\n"
    with_header = prepared(tmp_path / "a", "amazon_2023", {"All_Beauty.csv": header + rows})
    without = prepared(tmp_path / "b", "amazon_2023", {"All_Beauty.csv": rows})
    assert events(with_header) == events(without)
    assert [row[1:4] for row in events(without)] == [
        ("B081TJ8YS3", "rating", "2020-05-04T18:10:55.070000Z"),
        ("B00YQ6X8EO", "rating", "2020-05-05T14:08:48.923000Z"),
    ]
    longer = "timestamp,rating,user_id,parent_asin,history\n1588615855070,4.0,AGKHL,B081TJ8YS3,\n"
    other_order = prepared(tmp_path / "c", "amazon_2023", {"All_Beauty.csv": longer})
    assert events(other_order) == events(without)[:1]
    with pytest.raises(UserError, match=r"no column 'parent_asin'.*looks like Amazon reviews 2023"):
        prepared(tmp_path / "d", "amazon_2023", {"All_Beauty.csv": header.replace("parent_", "") + rows})


def test_tmalls_days_that_lost_their_zero_are_days(tmp_path: Path):
    text = "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type\n" + (
        "328862,323294,833,2882,2661,829,0\n328862,844400,1271,2882,2661,0829,3\n328862,575153,1271,2882,,1111,2\n"
    )
    p = prepared(tmp_path, "tmall_ijcai15", {"user_log_format1.csv": text})
    assert [row[1:4] for row in events(p)] == [
        ("323294", "view", "2014-08-28T16:00:00Z"),
        ("844400", "favourite", "2014-08-28T16:00:00Z"),
        ("575153", "purchase", "2014-11-10T16:00:00Z"),
    ]


def test_taobaos_other_two_sets(tmp_path: Path):
    text = "use_ID,sel_ID,ite_ID,cat_ID,act_ID,time\n1,2,3,4,0,20150826\n1,2,3,4,1,20150901\n"
    p = prepared(tmp_path / "a", "taobao_ijcai16", {"ijcai2016_taobao.csv": text})
    assert [row[2:4] for row in events(p)] == [("view", "2015-08-25T16:00:00Z"), ("purchase", "2015-08-31T16:00:00Z")]
    text = "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,buy,1511561733\n1,2333346,2520771,pv,-1500000000\n"
    p = prepared(tmp_path / "b", "taobao_user_behavior", {"UserBehavior.csv": text}, max_rejected_share=0.5)
    assert [row[2:4] for row in events(p)] == [("view", "2017-11-24T17:21:10Z"), ("purchase", "2017-11-24T22:15:33Z")]
    assert p.manifest["n_rejected"] == 1
