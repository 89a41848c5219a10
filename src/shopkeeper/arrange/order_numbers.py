"""An order is a number of one customer on one day: receipt numbers start again, and a constant is no order number.

Lines of one customer under one number are one order while less than `order_days` days (of the shop's calendar) lie
between one line and the next, or less than an hour (an order that is written over midnight). What comes later under
the same number is another order, with a code of its own and the same text. `order_days: null` keeps each number one
order for ever. Data without time stamps has nothing to tell such orders apart by.

A purchase that its page sent again is the same order, though its customer has signed in since, its lines have other
quantities or its call another id. `rows: {orders: first}` says that a number is one order of the whole shop: the
purchases of its first sending count, and later ones are left out. A sending is one instant of one customer; its equal
lines are two lines. Refunds are no purchases, and stay. What many customers send is no order's number but a word such
as `undefined`: all of it counts, and is told.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.log import Ids, Log
from shopkeeper.ingest.overlap import differs
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.timeline.zones import local

logger = logging.getLogger(__name__)
if TYPE_CHECKING:
    from shopkeeper.arrange.engine_plan import Frame

HOUR = MICROSECONDS_PER_DAY // 24
CUSTOMERS = 5  # that one order may have: its browser, its account and a server's, on more than one device
SENT_BEFORE = "lines of purchases that had been sent before"
SHOWN = 3
MARK = "\x1f"  # between an order number and what tells its later orders apart, in frames of texts


def split_orders(log: Log, zone: str, days: int | None) -> int:
    """Give numbers that came back codes of their own, in place; returns how many orders were told apart so.

    Only numbers whose lines lie more than an hour apart are looked at, so a log without any costs a few passes.
    """
    ids, time = log.ids.get("order_id"), log.timestamp
    if ids is None or time is None or days is None or not len(log):
        return 0
    wide = np.append(_span(ids.codes, time, len(ids.values)) > HOUR, False)  # the last is for missing ids (-1)
    rows = np.flatnonzero(wide[ids.codes])
    if not len(rows):
        return 0
    rows = rows[np.lexsort((time[rows], ids.codes[rows], log.user[rows]))]
    code, user, at = ids.codes[rows], log.user[rows], time[rows]
    day = local(at, zone) // MICROSECONDS_PER_DAY
    same = (code[1:] == code[:-1]) & (user[1:] == user[:-1])
    again = np.append(False, same & (np.diff(day) >= days) & (np.diff(at) > HOUR))
    if not again.any():
        return 0
    begins = again | np.append(True, ~same)
    later = np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))  # where each row's order begins
    is_new = again[later]
    number = np.cumsum(again) - 1
    codes = ids.codes.copy()
    codes[rows[is_new]] = len(ids.values) + number[later[is_new]]
    log.ids["order_id"] = Ids(codes, pa.concat_arrays([ids.values, ids.values.take(pa.array(code[again]))]))
    return int(again.sum())


def keep_first_sendings(log: Log, config: DatasetConfig) -> None:
    """Drop purchases of orders that had been sent before, in place and counted, where the config says so.

    Raises `UserError` for data without times, which tell what was first.
    """
    if config.rows.orders != "first":
        return
    if log.timestamp is None:
        raise UserError(f"dataset '{config.name}': rows.orders is first, and no column of times says which that is")
    order = log.ids["order_id"].codes
    keep, shared = sent_first(order, log.timestamp, log.event_type, log.user, config.zone, config.order_days)
    if len(shared):
        names = log.ids["order_id"].values.take(pa.array(shared[:SHOWN])).to_pylist()
        logger.warning("%s order numbers (%s) are of more than %s customers each: all that was sent under them counts; "
                       "if they number no orders, missing: {order_id: %s} says so",
                       f"{len(shared):,}", ", ".join(names), CUSTOMERS, names)  # fmt: skip
    if len(again := order[~keep]):
        logger.info("%s lines of %s orders were sent again and are left out: the first sending of a purchase counts",
                  f"{len(again):,}", f"{len(np.unique(again)):,}")  # fmt: skip
        log.left_out[SENT_BEFORE] = len(again)
        log.keep(keep)


def sent_first(
    order: np.ndarray, time: np.ndarray, kind: np.ndarray, user: np.ndarray, zone: str, days: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which of n rows are no purchases, have no order, or are of their order's first sending, bool (n,); and codes of
    numbers that more than CUSTOMERS customers share, whose rows stay.

    All arguments are one number a row: codes of order (-1: none) and user, µs, and codes of event types. `days`: a
    number that comes back after as many days of the zone's calendar, and more than an hour, is another order; None:
    never.
    """
    keep = np.ones(len(order), bool)
    rows = np.flatnonzero((order >= 0) & (kind == EVENT_CODE["purchase"]))
    rows = rows[differs(order[rows], time[rows]) | differs(order[rows], user[rows])]
    if not len(rows):
        return keep, order[rows]
    rows = rows[np.lexsort((time[rows], order[rows]))]  # is stable: file order within an instant
    code, at, who = order[rows], time[rows], user[rows]
    new = code[1:] != code[:-1]
    if days is not None:
        new |= (np.diff(local(at, zone) // MICROSECONDS_PER_DAY) >= days) & (np.diff(at) > HOUR)
    first = np.maximum.accumulate(np.where(np.append(True, new), np.arange(len(rows)), 0))
    pairs = np.unique(np.stack([first, who]), axis=1)[0]  # a customer of an order each
    shared = np.bincount(pairs, minlength=len(rows))[first] > CUSTOMERS
    keep[rows] = shared | ((at == at[first]) & (who == who[first]))
    return keep, np.unique(code[shared])


def _span(codes: np.ndarray, time: np.ndarray, n: int) -> np.ndarray:
    """Time (µs) between the first and the last line of each number, int64 (n,): over runs of equal numbers."""
    starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    run = codes[starts]
    low, high = np.minimum.reduceat(time, starts)[run >= 0], np.maximum.reduceat(time, starts)[run >= 0]
    run = run[run >= 0]
    first, last = np.full(n, np.iinfo(np.int64).max), np.full(n, np.iinfo(np.int64).min)
    np.minimum.at(first, run, low)
    np.maximum.at(last, run, high)
    return np.where(last >= first, last - first, 0)


def split_orders_of(frame: Frame, user: str, order: str, days: int) -> Frame:
    """The same on a lazy frame of texts with columns `time`, `place` and `day` (local); drops `day`.

    Later orders are called `number`, MARK, customer, MARK, how many came before; `plain_numbers` takes that off.
    """
    import narwhals as nw

    def before(column: str) -> Any:
        return nw.col(column).shift(1).over(user, order, order_by=["time", "place"])

    again = (nw.col("day") - before("day") >= days) & (nw.col("time") - before("time") > HOUR)
    frame = frame.with_columns(again=nw.when(again.fill_null(False)).then(nw.lit(1)).otherwise(nw.lit(0)))
    frame = frame.with_columns(order_again=nw.col("again").cum_sum().over(user, order, order_by=["time", "place"]))
    called = nw.concat_str(nw.col(order), nw.col(user), nw.col("order_again").cast(nw.String), separator=MARK)
    later = ~nw.col(order).is_null() & (nw.col("order_again") > 0)
    frame = frame.with_columns(nw.when(later).then(called).otherwise(nw.col(order)).alias(order))
    return frame.drop("again", "order_again", "day")


def plain_numbers(names: pa.Array) -> pa.Array:
    """Order numbers without what `split_orders_of` added."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(names, pattern=f"(?s){MARK}.*", replacement="")
