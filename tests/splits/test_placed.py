"""Requests from a page, a category, a cart, a checkout: against a plain loop, and what may never be known or shown."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from split_logs import START, random_log, spec, write_log
from split_loops import as_dict, distinct, opened, user_steps

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.item_pairs.item_to_item import ItemToItem
from shopkeeper.recommenders.windows import earlier_windows
from shopkeeper.schema import EVENT_CODE
from shopkeeper.splits.audit import AuditError, audit_split
from shopkeeper.splits.steps import uniform_hash
from shopkeeper.timeline import DAY, SplitSpec

CART, VIEW = EVENT_CODE["add_to_cart"], EVENT_CODE["view"]


def shop(folder: Path, seed: int, more: tuple[tuple[str, str, int, str, int], ...] = ()) -> Prepared:
    """Random visits, an hour apart or a day: looks, some of the things put into the cart, an order of several lines."""
    rng, rows = np.random.default_rng(seed), []
    for visit in range(300):
        user, time = f"u{rng.integers(0, 25)}", START + int(rng.uniform(0, 58) * 24) * DAY // 24
        bought = rng.integers(0, 30, rng.integers(1, 6)).tolist()
        for item in rng.permutation([*bought, *rng.integers(0, 30, 3).tolist()]):
            kind = rng.choice(["view", "add_to_cart"])
            rows.append((user, f"i{item}", time + int(rng.integers(0, 3)) * DAY // 24, kind, 0))
        torn = rng.random() < 0.3  # lines of one order at different times
        for n, item in enumerate(bought):
            rows.append((user, f"i{item}", time + DAY // 12 + torn * n * DAY // 24, "purchase", visit + 1))
    return write_log(folder, *zip(*rows, *more, strict=True))


def orders_of(p: Prepared, u: int, low: int, high: int) -> list[tuple[int, dict[int, int]]]:
    """The orders of a customer in a window: row of the one before, and when each different item went in, by line."""
    e, steps, found = p.events, user_steps(p, u), []
    for j, step in enumerate(steps):
        if not low <= e.timestamp[step[0]] < high:
            continue
        since = steps[j - 1][0] if j else int(p.offsets[u - 1]) - 1
        lines = distinct(p, [row for row in step if e.timestamp[row] < high])
        carts = {
            line: [r for r in range(since + 1, line) if e.event_type[r] == CART and e.item[r] == e.item[line]]
            for line in lines
        }
        found.append((since, {line: rows[0] if rows else line for line, rows in carts.items()}))
    return found


def history_end(p: Prepared, u: int, instant: int) -> int:
    first, past = int(p.offsets[u - 1]), int(p.offsets[u])
    return first + int((p.events.timestamp[first:past] < instant).sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("asks", ["cart", "checkout"])
def test_baskets_agree_with_a_loop_over_customers(tmp_path, seed, asks):
    p = shop(tmp_path / "log", seed)
    split, ts = opened(p, spec("temporal", asks=asks, k_core=None)), p.events.timestamp
    share = uniform_hash(np.arange(1, p.n_users + 1), 0)
    some_in_cart = 0
    for part in ("validation", "test"):
        low, high = p.cutoffs(SplitSpec.from_config(split.timeline["spec"])).window(part)
        want, baskets = {}, []
        for u in range(1, p.n_users + 1):
            for _, entered in orders_of(p, u, low, high):
                lines = sorted(entered, key=lambda line: (entered[line], line))
                known = len(lines) - 1 if asks == "checkout" else 1 + int(share[u - 1] * (len(lines) - 1))
                if len(lines) < 2 or ts[entered[lines[known]]] < low:
                    continue
                end = history_end(p, u, ts[entered[lines[known]]])
                want[u, int(p.offsets[u - 1]), end] = sorted(lines[known:])
                baskets.append({int(p.events.item[line]) for line in lines[:known]})
                some_in_cart += sum(entered[line] != line for line in lines)
                break
        requests, targets, _ = split.as_written(part)
        got = {
            (int(u), int(s), int(e)): targets.row[targets.offsets[b] : targets.offsets[b + 1]].tolist()
            for b, (u, s, e) in enumerate(zip(requests.user, requests.start, requests.end, strict=True))
        }
        assert got == want
        offsets, items = requests.barred
        assert [set(items[a:b].tolist()) for a, b in itertools.pairwise(offsets)] == baskets
    assert some_in_cart > 0


@pytest.mark.parametrize("seed", range(4))
def test_product_pages_agree_with_a_loop_over_customers(tmp_path, seed):
    p = shop(tmp_path / "log", seed)
    split, e = opened(p, spec("temporal", asks="product", k_core=None)), p.events
    low, high = p.cutoffs(SplitSpec.from_config(split.timeline["spec"])).window("test")
    want, shut = {}, []
    for u in range(1, p.n_users + 1):
        for since, entered in orders_of(p, u, low, high):
            first = min(entered)
            looks = [
                v
                for v in range(since + 1, first)
                if e.event_type[v] == VIEW
                and low <= e.timestamp[v] < e.timestamp[first] <= e.timestamp[v] + DAY
                and any(e.item[x] != e.item[v] and e.timestamp[entered[x]] > e.timestamp[v] for x in entered)
            ]
            if not looks:
                continue
            v = looks[-1]
            rest = [x for x in entered if e.item[x] != e.item[v] and e.timestamp[entered[x]] > e.timestamp[v]]
            want[u, int(p.offsets[u - 1]), history_end(p, u, e.timestamp[v] + 1)] = sorted(rest)
            shut.append({int(e.item[v])} | {int(e.item[x]) for x in entered if x not in rest})
            break
    assert len(want) > 3
    assert as_dict(split, "test") == want
    offsets, items = split.part("test")[0].barred
    assert [set(items[a:b].tolist()) for a, b in itertools.pairwise(offsets)] == shut


def test_a_look_counts_for_an_order_that_begins_at_most_a_day_later(tmp_path):
    looked, rows = START + 54 * DAY, []
    for user, later, order in (("on time", 0, 901), ("too late", 1, 902)):
        rows.append((user, "i1", looked, "view", 0))
        rows += [(user, item, looked + DAY + later, "purchase", order) for item in ("i2", "i3")]
    p = shop(tmp_path / "log", 0, tuple(rows))
    requests, _ = opened(p, spec("temporal", asks="product", k_core=None)).part("test")
    asked = set(p.users["user_id"].take(pa.array(requests.user - 1)).to_pylist())
    assert asked & {"on time", "too late"} == {"on time"}


def days_of(last: int) -> dict[str, object]:
    """Windows of eight days, the last one of them before a day."""
    end = datetime.fromtimestamp((START + last * DAY) / 1e6, UTC).isoformat()
    return {"validation_days": 8, "test_days": 8, "end": end, "k_core": None, "protocol": "published"}


@pytest.mark.parametrize("asks", ["product", "category"])
def test_an_earlier_window_asks_on_pages_what_the_split_would_have_asked_then(tmp_path, asks):
    """What models learn from and choose settings by (`recommenders/windows.py`)."""
    p = shop(tmp_path / "log", 3)
    kind = pa.array([f"kind {int(name[1:]) % 4}" for name in p.items["item_id"].to_pylist()])
    pq.write_table(p.items.append_column("category", kind), tmp_path / "log" / "items.parquet")
    p = Prepared.open(tmp_path / "log")
    split = opened(p, spec("temporal", asks=asks) | days_of(56))
    window = earlier_windows(split, [EVENT_CODE["purchase"]], 8, 1)[0]
    asked, targets = opened(p, spec("temporal", asks=asks) | days_of(48)).part("validation")
    assert len(asked) > 3
    for name in ("user", "start", "end", "instant"):
        np.testing.assert_array_equal(getattr(window.requests, name), getattr(asked, name))
    np.testing.assert_array_equal(window.targets.row, targets.row)
    for found, wanted in ((window.requests.barred, asked.barred), (window.requests.candidates, asked.candidates)):
        assert (found is None) == (wanted is None)
        if found is not None:
            np.testing.assert_array_equal(found[0], wanted[0])
            np.testing.assert_array_equal(found[1], wanted[1])


@pytest.fixture
def cameras(tmp_path) -> Prepared:
    """Half of the customers buy a camera with its case, half a lamp with its bulb; all buy bread all the time."""
    rows = []
    for day in range(60):
        for u in range(8):
            order = day * 100 + u + 1
            pair = ("camera", "case") if u % 2 else ("lamp", "bulb")
            bought = [*pair] if day % 3 == u % 3 else ["bread"]
            if day % 6 == 0 and u % 2:
                bought = ["case"]  # the third case to a camera
            rows += [(f"u{u}", item, START + day * DAY + u, order) for item in bought]
    user, item, time, order = zip(*rows, strict=True)
    p = write_log(tmp_path / "cameras", user, item, time, None, order)
    names = p.items["item_id"].to_pylist()
    kind = {"camera": "photo", "case": "photo", "lamp": "light", "bulb": "light", "bread": "food"}
    table = p.items.append_column("category", pa.array([kind[name] for name in names]))
    pq.write_table(table, tmp_path / "cameras" / "items.parquet")
    return Prepared.open(tmp_path / "cameras")


def test_beside_a_camera_stands_its_case_and_a_bulb_beside_a_lamp(cameras):
    split = opened(cameras, spec("temporal", asks="cart", k_core=None))
    names = [None, *cameras.items["item_id"].to_pylist()]
    tables = {}
    for name, model in (("rules", ItemToItem()), ("popularity", Popularity())):
        model.fit(cameras, split, Fit())
        tables[name] = evaluate_requests(model, split, "test", k=(1, 2))
    assert set(tables["rules"]["hit@1"].to_pylist()) == {1.0}
    assert np.mean(tables["popularity"]["hit@1"].to_numpy()) == 0.0  # bread
    first = [names[items[0]] for items in tables["rules"]["top_items"].to_pylist()]
    assert set(first) == {"case", "bulb"}
    offsets, barred = split.part("test")[0].barred
    for table in tables.values():
        for b, items in enumerate(table["top_items"].to_pylist()):
            assert not set(items) & set(barred[offsets[b] : offsets[b + 1]].tolist())


def test_a_basket_stands_behind_the_history_and_right_before_the_instant(cameras):
    split = opened(cameras, spec("temporal", asks="cart", k_core=None))
    written, targets, basket = split.as_written("test")
    asked, _ = split.part("test")
    n = np.diff(basket[0])
    assert (asked.lengths == written.lengths + n).all()
    assert (n == 1).all()
    last = asked.end - 1
    assert (asked.events.timestamp[last] == asked.instant - 1).all()
    assert (asked.events.item[last] == cameras.events.item[basket[1]]).all()
    assert (asked.events.order[last] == cameras.events.order[targets.row[targets.offsets[:-1]]]).all()
    assert (asked.events.item[targets.row] == targets.item).all()  # rows of the log keep their numbers
    assert (asked[2:4].last_items(1)[:, 0] == asked.last_items(1)[2:4, 0]).all()


def test_on_a_categorys_page_its_items_alone_compete(cameras):
    split = opened(cameras, spec("temporal", asks="category", k_core=None))
    requests, targets = split.part("test")
    code, names = cameras.first_category
    assert names == ["food", "light", "photo"]
    offsets, items = requests.candidates
    for b in range(len(requests)):
        page = set(code[items[offsets[b] : offsets[b + 1]]].tolist())
        assert page == set(code[targets.item[targets.offsets[b] : targets.offsets[b + 1]]].tolist())
        assert len(page) == 1
    model = Popularity()
    model.fit(cameras, split, Fit())
    lists = evaluate_requests(model, split, "test", k=(5,))["top_items"].to_pylist()
    assert [set(code[x].tolist()) for x in lists] == [
        set(code[targets.item[a : a + 1]].tolist()) for a in targets.offsets[:-1]
    ]


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        ("cart", "has no order of several items for validation"),
        ("checkout", "has no order of several items for validation"),
        ("product", "has no order of an item after a look at another one for validation"),
    ],
)
def test_where_nobody_stands_in_such_a_place_that_is_said_and_not_that_nothing_is_bought(tmp_path, asks, said):
    rows = [(f"u{u}", "i1", START + day * DAY + u + n, day * 10 + u + 1, kind)
            for day in range(60) for u in range(3) for n, kind in enumerate(("view", "purchase"))]  # fmt: skip
    user, item, time, order, kind = zip(*rows, strict=True)
    p = write_log(
        tmp_path, user, item, time, kind, [o if k == "purchase" else 0 for o, k in zip(order, kind, strict=True)]
    )
    with pytest.raises(UserError, match=said) as e:
        opened(p, spec("temporal", asks=asks, k_core=None))
    assert str(e.value).endswith("raise split.validation_days, or leave split.asks out")


def test_some_requests_keep_what_they_may_show(cameras):
    split = opened(cameras, spec("temporal", asks="category", k_core=None))
    requests, _ = split.part("test")
    some = np.array([3, 1])
    offsets, items = requests.take(some).candidates
    whole, all_items = requests.candidates
    for b, old in enumerate(some):
        assert items[offsets[b] : offsets[b + 1]].tolist() == all_items[whole[old] : whole[old + 1]].tolist()
    cart, _ = opened(cameras, spec("temporal", asks="cart", k_core=None)).part("test")
    both, hidden = cart[1:3].hidden(filter_seen=True)
    for b in range(2):
        history = cart.events.item[cart.start[b + 1] : cart.end[b + 1]].tolist()
        assert set(hidden[both[b] : both[b + 1]].tolist()) == set(history)
    assert cart.hidden(filter_seen=False) is cart.barred
    assert Requests.from_histories([[1]]).hidden(filter_seen=False) is None


def damaged(split, name, change):
    """The split with another table of test, in memory."""
    table = change(split.request_table("test"))

    class Damaged(type(split)):
        def request_table(self, part, columns=None):
            found = table if part == "test" else split.request_table(part)
            return found if columns is None else found.select(columns)

    return Damaged(split.path, split.prepared, split.timeline, split.train_end, split.catalogue)


def with_column(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize("leak", ["a target that may not be shown", "a target in the basket", "another order's lines"])
def test_the_audit_finds_a_basket_that_knows_too_much(cameras, leak):
    split = opened(cameras, spec("temporal", asks="cart", k_core=None))

    def change(table):
        if leak == "a target that may not be shown":
            return with_column(table, "barred", table["targets"])
        if leak == "a target in the basket":
            return with_column(table, "basket_rows", table["target_rows"])
        rows = table["basket_rows"].combine_chunks()
        earlier = pa.array(np.maximum(rows.values.to_numpy() - 6, 0))
        return with_column(table, "basket_rows", pa.ListArray.from_arrays(rows.offsets, earlier))

    with pytest.raises(AuditError, match=r"may not be recommended|holds what is asked for|lines of another order"):
        audit_split(cameras, damaged(split, "test", change))


def test_the_audit_finds_a_target_that_lies_in_the_cart_already(tmp_path):
    p = shop(tmp_path / "log", 0)
    split = opened(p, spec("temporal", asks="cart", k_core=None))
    requests, targets, _ = split.as_written("test")
    b = int(np.argmax(requests.lengths))
    kind, item = np.array(p.events.event_type), np.array(p.events.item)
    kind[requests.end[b] - 1], item[requests.end[b] - 1] = CART, targets.item[targets.offsets[b]]
    leaky = replace(p, events=replace(p.events, event_type=kind, item=item))
    with pytest.raises(AuditError, match="puts into the cart what is asked for"):
        audit_split(leaky, split)


def test_what_a_place_needs_is_said_in_one_line(tmp_path):
    bare = random_log(tmp_path / "bare", 0, orders=False)
    with pytest.raises(UserError, match=r"split\.asks=cart asks for the rest of an order, and tiny has no orders"):
        opened(bare, spec("temporal", asks="cart"))
    with pytest.raises(UserError, match=r"the items of tiny have none; .*attribute `category`"):
        opened(bare, spec("temporal", asks="category"))
    n = 100
    unseen = write_log(tmp_path / "unseen", ["u"] * n, [f"i{x % 7}" for x in range(n)], START + np.arange(n) * DAY)
    with pytest.raises(UserError, match="has no view events"):
        opened(unseen, spec("temporal", asks="product"))
    with pytest.raises(UserError, match=r"leave split\.targets=all out"):
        SplitSpec.from_config(spec("temporal", asks="cart", targets="all"))
    with pytest.raises(UserError, match=r"split\.asks is 'card', no known one.*cart"):
        SplitSpec.from_config(spec("temporal", asks="card"))


def test_a_split_that_asks_as_ever_keeps_its_name():
    plain = SplitSpec.from_config(spec("temporal"))
    assert SplitSpec.from_config(spec("temporal", asks="next")).folder == plain.folder
    assert "asks" not in plain.as_json()
    assert SplitSpec.from_config(spec("temporal", asks="cart")).folder != plain.folder
