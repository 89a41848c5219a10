"""Where in the shop the customers stand who are asked (`split.asks`), each about one of their orders in a window.

    product   right after a page was looked at, at most a day before the order: what else is then ordered?
    category  as the order begins: what of one category is ordered, its first item's? That category alone competes.
    cart      some of the order is known, from one to all but one of its different items: what is the rest?
    checkout  all of it is known but one item.

An item lies in the basket from its first `add_to_cart` since the order before, else from its line in the order. A cart
is asked when the next item goes in; the lines that are in by then stand behind its history, which ends strictly before.
How many are in, says a hash of the customer. Neither they nor the page's own item may be recommended.

Shapes: S steps (orders), L different items of orders, B requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.ranges import lower_bound
from shopkeeper.errors import UserError
from shopkeeper.schema import EVENT_CODE
from shopkeeper.splits.parts import Lists, Part, part_of
from shopkeeper.splits.steps import Steps, first_of_each, last_of_each, uniform_hash
from shopkeeper.timeline import DAY, SplitSpec

PAGES = ("product", "category")


@dataclass(frozen=True)
class _Orders:
    """The orders that begin in a window, and their different items in the order in which they went in."""

    user: np.ndarray  # int64 (S,)
    time: np.ndarray  # int64 (S,) µs of the first line
    step: np.ndarray  # int64 (L,) position of its order, ascending
    item: np.ndarray  # int64 (L,)
    row: np.ndarray  # int64 (L,) first line
    entered: np.ndarray  # int64 (L,) row with which it went into the basket
    first: np.ndarray  # int64 (S + 1,): order s has the items first[s]:first[s + 1]
    lines: Lists  # rows of all lines, ascending, and of which order each is
    number: np.ndarray  # int64 (S,): among all steps of the log

    @property
    def place(self) -> np.ndarray:
        """As how manieth each item went in, from 0: int64 (L,)."""
        return np.arange(len(self.step)) - self.first[self.step]


def placed(p: Prepared, spec: SplitSpec, found: Steps, low: int, high: int) -> Part:
    """The requests of a window; `found` are all target steps of the log.

    Raises:
        UserError: the log lacks what this place needs: orders, views, categories.
    """
    if spec.asks in PAGES:
        return on_page(p, str(spec.asks), found, low, high)
    return _basket(p, spec, _orders(p, found, low, high), low)


def on_page(p: Prepared, asks: str, found: Steps, low: int, high: int) -> Part:
    """The same on the pages of items or of categories."""
    orders = _orders(p, found, low, high)
    return _product(p, found, orders, low) if asks == "product" else _category(p, orders)


def _orders(p: Prepared, found: Steps, low: int, high: int) -> _Orders:
    ts = p.events.timestamp
    assert ts is not None
    number = np.flatnonzero((ts[found.row] >= low) & (ts[found.row] < high))
    rows, of = found.lines(number)
    rows, of = rows[ts[rows] < high], of[ts[rows] < high]
    key = of * (p.n_items + 1) + p.events.item[rows]
    first = np.unique(key, return_index=True)[1]
    step, row = of[first], rows[first]
    item = p.events.item[row].astype(np.int64)
    user = p.event_user[found.row].astype(np.int64)
    before = np.append(-1, found.row[:-1])  # first line of the step before
    before = np.where(np.append(True, user[1:] != user[:-1])[: len(user)], p.offsets[user - 1] - 1, before)
    entered = _first_in_cart(p, item, before[number][step] + 1, row)
    order = np.lexsort((row, entered, step))
    step, item, row, entered = (column[order] for column in (step, item, row, entered))
    counts = np.concatenate([[0], np.cumsum(np.bincount(step, minlength=len(number)))]).astype(np.int64)
    return _Orders(user[number], ts[found.row[number]], step, item, row, entered, counts, (rows, of), number)


def _first_in_cart(p: Prepared, item: np.ndarray, since: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Row of the first `add_to_cart` of each item from row `since` on and before its line, else the line: int64."""
    M = len(p.events.item)
    carts = np.flatnonzero(p.events.event_type == EVENT_CODE["add_to_cart"])
    key = np.sort(p.events.item[carts].astype(np.int64) * M + carts)
    at = np.searchsorted(key, item * M + since)
    row = np.append(key, np.iinfo(np.int64).max)[at] - item * M
    return np.where(row < line, row, line)


def _basket(p: Prepared, spec: SplitSpec, orders: _Orders, low: int) -> Part:
    ts = p.events.timestamp
    assert ts is not None
    if p.events.order is None:
        raise UserError(
            f"split.asks={spec.asks} asks for the rest of an order, and {p.name} has no orders; name their column in "
            f"conf/dataset/{p.name}.yaml (columns.order_id), or leave split.asks out"
        )
    n = np.diff(orders.first)
    known = n - 1 if spec.asks == "checkout" else 1 + np.floor(uniform_hash(orders.user, 0) * (n - 1)).astype(np.int64)
    several = np.flatnonzero(n > 1)
    instant = np.zeros(len(n), np.int64)
    instant[several] = ts[orders.entered[orders.first[several] + known[several]]]
    chosen = several[instant[several] >= low]
    chosen = chosen[first_of_each(orders.user[chosen])]
    inside = orders.place < known[orders.step]
    part = _asked(p, orders, chosen, instant[chosen], ~inside)
    request = _positions(chosen, len(n))[orders.step]
    mine = inside & (request >= 0)
    barred = _lists(request[mine], orders.item[mine].astype(np.int32), len(chosen))
    new = mine & (orders.row >= np.append(part.end, 0)[request])  # a line that the history does not hold already
    basket = _lists(request[new], orders.row[new], len(chosen))
    return replace(part, basket=basket, barred=barred)


def _product(p: Prepared, found: Steps, orders: _Orders, low: int) -> Part:
    ts = p.events.timestamp
    assert ts is not None
    views = np.flatnonzero(p.events.event_type == EVENT_CODE["view"])
    if len(views) == 0:
        raise UserError(
            f"split.asks=product asks on the page of an item, and {p.name} has no view events; let event_type.rules of "
            f"conf/dataset/{p.name}.yaml name them, or leave split.asks out"
        )
    # The order that a look comes before, and what goes into its basket last and before that.
    after = np.searchsorted(found.row, views)
    step = np.append(_positions(orders.number, len(found.row)), -1)[after]
    views, step = views[step >= 0], step[step >= 0]
    time = ts[views]
    near = (p.event_user[views] == orders.user[step]) & (time >= low) & (orders.time[step] - time <= DAY)
    views, step, time = views[near], step[near], time[near]
    item = p.events.item[views]
    last = orders.first[step + 1] - 1
    last = np.where(orders.item[last] == item, last - 1, last)
    free = (last >= orders.first[step]) & (ts[orders.entered[last]] > time) & (orders.time[step] > time)
    views, step = views[free], step[free]
    ends = last_of_each(step)
    views, step = views[ends], step[ends]
    ends = first_of_each(orders.user[step])
    views, step = views[ends], step[ends]
    instant = ts[views] + 1
    request = _positions(step, len(orders.user))[orders.step]
    page = np.append(p.events.item[views], 0)[request]
    wanted = (ts[orders.entered] >= np.append(instant, 0)[request]) & (orders.item != page)
    part = _asked(p, orders, step, instant, wanted)
    shut = (request >= 0) & ~wanted
    of = np.concatenate([np.arange(len(step)), request[shut]])
    barred = np.concatenate([p.events.item[views], orders.item[shut]]).astype(np.int32)
    order = np.argsort(of, kind="stable")
    return replace(part, barred=_lists(of[order], barred[order], len(step)))


def _category(p: Prepared, orders: _Orders) -> Part:
    code_V, names = p.first_category
    if not names:
        raise UserError(
            f"split.asks=category asks on the page of a category, and the items of {p.name} have none; give "
            f"conf/dataset/{p.name}.yaml an item attribute `category`, or leave split.asks out"
        )
    code = code_V[orders.item]
    by_line = np.lexsort((orders.row, code == 0, orders.step))  # the first line with a known category comes first
    looked = np.zeros(len(orders.user), np.int64)
    looked[orders.step[by_line][::-1]] = code[by_line][::-1]
    chosen = np.flatnonzero(looked > 0)
    chosen = chosen[first_of_each(orders.user[chosen])]
    part = _asked(p, orders, chosen, orders.time[chosen], code == looked[orders.step])
    return replace(part, page=np.array(names, object)[looked[chosen] - 1])


def _asked(p: Prepared, orders: _Orders, chosen: np.ndarray, instant: np.ndarray, wanted: np.ndarray) -> Part:
    """One request per chosen order, at its instant, for those of its items that are wanted, bool (L,)."""
    ts = p.events.timestamp
    assert ts is not None
    user = orders.user[chosen]
    width = p.n_items + 1
    position = _positions(chosen, len(orders.user))
    rows, of = orders.lines
    mine = np.isin(of * width + p.events.item[rows], (orders.step * width + orders.item)[wanted]) & (position[of] >= 0)
    end = lower_bound(ts, p.offsets[user - 1], p.offsets[user], instant)
    return part_of(p, position[of[mine]], rows[mine], user, end, instant)


def _positions(chosen: np.ndarray, n: int) -> np.ndarray:
    """Where each of n numbers stands among the chosen, -1 where it does not: int64 (n,)."""
    position = np.full(n, -1, np.int64)
    position[chosen] = np.arange(len(chosen))
    return position


def _lists(request: np.ndarray, values: np.ndarray, n: int) -> Lists:
    """Values by request (ascending), of n requests."""
    return np.concatenate([[0], np.cumsum(np.bincount(request, minlength=n))]).astype(np.int64), values
